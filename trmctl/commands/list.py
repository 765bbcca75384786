"""`trmctl list`."""

import time
from pathlib import Path
from typing import Any

import click

from trmctl.options import output_option
from trmctl.output import data, table
from trmctl.stores import ask, opened, storage, store_options


@click.command("list")
@click.argument("pattern", default="*")
@store_options
@output_option("table", "wide", "json", "yaml", "name")
def command(pattern: str, store: str | None, config: str | None, overrides: tuple[str, ...], output: str) -> None:
    """List the runs in a store.

    Those that last said something come first. PATTERN is a name such as 'arc-*'. Without a store, the runs on this
    machine are listed.
    """
    from fnmatch import fnmatchcase

    options = storage(store, config, overrides)
    found = local_runs(Path(options.path)) if options.remote is None else stored_runs(options)
    rows = [run for run in found if fnmatchcase(run["name"], pattern) or fnmatchcase(run["run"], pattern)]
    if output in ("json", "yaml"):
        data({"runs": rows}, output)
    elif output == "name":
        for run in rows:
            click.echo(run["run"])
    elif rows:
        show(rows, wide=output == "wide")
    else:
        click.echo("no runs", err=True)


def stored_runs(options: Any) -> list[dict[str, Any]]:
    """Return the runs in a store."""
    from trmkit.store.catalog import runs

    store = opened(options)
    return [
        {
            "run": run.key, "name": run.name, "state": run.state, "step": run.step, "total": run.total,
            "metric": run.metric or None, "value": run.value, "updated": run.modified,
        }
        for run in ask(lambda: runs(store))
    ]  # fmt: skip


def local_runs(folder: Path) -> list[dict[str, Any]]:
    """Return the runs on this machine."""
    from trmctl.runs import every, label, last_change, progress

    found = sorted(every(folder), key=last_change, reverse=True)
    return [
        {"run": label(run), "name": run.root.parent.name, **progress(run), "updated": last_change(run)} for run in found
    ]


def show(rows: list[dict[str, Any]], *, wide: bool) -> None:
    """Print runs as a table."""
    header = ["RUN", "STATE", "STEP", "BEST", "AGE"] + (["METRIC", "UPDATED"] if wide else [])
    lines = []
    for run in rows:
        total = f"/{run['total']}" if run["total"] else ""
        value = "" if run["value"] is None else f"{run['value']:.4f}"
        line = [run["run"], run["state"], f"{run['step']}{total}", value, age(time.time() - run["updated"])]
        if wide:
            line += [run["metric"] or "", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run["updated"]))]
        lines.append(line)
    table(header, lines)


def age(seconds: float) -> str:
    """Return a time that has passed as people say it."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"
