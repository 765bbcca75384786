"""`trmctl why`."""

from dataclasses import replace

import click

from trmctl.options import Place, cluster_options, output_option
from trmctl.runs_in_cluster import run_argument


@click.command("why")
@run_argument
@cluster_options
@output_option("table", "json", "yaml")
def command(run: str, where: Place, output: str) -> None:
    """Say why a run in a cluster does not train.

    It looks at the job, its pods, their events, the queue and the launcher's ledger, and says what blocks first, with
    what shows it and what helps. What is known to be harmless is left out.

    \b
    Example:
      trmctl why sudoku
    """
    from trmctl.diagnosis.evidence import gather
    from trmctl.diagnosis.why import explain, well
    from trmctl.jobs import beside, find
    from trmctl.output import data, plain, talk

    cluster = where.open()
    seen = gather(cluster, find(cluster, run))
    found = explain(seen)
    other = beside(cluster, seen.job) if not found else None
    if other is not None:
        also = gather(cluster, other)
        found = [replace(one, title=f"{other.name}, which scores it: {one.title}") for one in explain(also)]
    if output != "table":
        findings = [{"title": one.title, "evidence": list(one.evidence), "next": one.next} for one in found]
        state = {"phase": str(seen.state.phase), "reason": seen.state.reason, "message": seen.state.message}
        data({"run": seen.job.name, **state, "findings": findings, "notes": list(seen.notes)}, output)
        return
    for one in found:
        click.echo(plain(one.title[:1].upper() + one.title[1:]))
        for line in one.evidence:
            click.echo(plain(f"  {line}"))
        click.echo(plain(f"  next: {one.next}") if one.next else "")
    if not found:
        click.echo(plain(f"Nothing is wrong: {well(seen)}"))
    for note in seen.notes:
        talk(f"note: {note}")
