"""`trmctl status`."""

import time
from typing import Any

import click

from trmctl.options import Place, cluster_options, output_option
from trmctl.runs_in_cluster import run_argument


@click.command("status")
@run_argument
@cluster_options
@output_option("table", "json", "yaml", "name")
def command(run: str, where: Place, output: str) -> int:
    """Show a run in a cluster on one screen.

    Phase and its reason, progress, age of the newest checkpoint, pods by rank, and what was said last. Ends with 0
    while it goes on or when it is done, with 1 when it failed, with 6 when trying again may help.

    \b
    Example:
      trmctl status sudoku
    """
    from trmctl import jobs
    from trmctl.diagnosis.evidence import gather
    from trmctl.output import data, talk
    from trmctl.progress import storage, stored
    from trmctl.screens.overview import overview

    cluster = where.open()
    job = jobs.find(cluster, run)
    seen = gather(cluster, job)
    found = overview(seen, stored(job, storage(cluster, job)))
    other = jobs.beside(cluster, job)
    if other is not None:
        found["notes"].append(f"{other.name} scores its checkpoints: {other.state().phase.lower()}")
    if output == "name":
        click.echo(job.name)
    elif output == "table":
        show(found)
        for note in found["notes"]:
            talk(f"note: {note}")
    else:
        data(found, output)
    return seen.state.exit_code if seen.state.finished else 0


def show(found: dict[str, Any]) -> None:
    """Print the screen."""
    from trmctl.output import plain, table
    from trmctl.screens.overview import facts
    from trmctl.times import age

    now = time.time()
    for name, text in facts(found, now):
        click.echo(plain(f"{name:<11} {text}"))
    if found["pods"]:
        click.echo()
        table(
            ["RANK", "POD", "PHASE", "RESTARTS", "NODE", "AGE", ""],
            [
                [
                    str(pod["rank"]), pod["pod"], pod["phase"], str(pod["restarts"]), pod["node"] or "",
                    age(now - pod["created"]) if pod["created"] else "", pod["note"],
                ]
                for pod in found["pods"]
            ],
        )  # fmt: skip
    if found["events"]:
        click.echo()
        table(
            ["SEEN", "EVENT", "OF", "MESSAGE"],
            [
                [age(now - one["at"]) if one["at"] else "", one["reason"], one["object"], one["message"][:200]]
                for one in found["events"]
            ],
        )
