"""`trmctl fetch`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from trmctl.output import talk
from trmctl.stores import PATIENCE, StoredRun, ask, find, storage, store_options
from trmkit.errors import StoreError


@click.command("fetch")
@click.argument("run")
@store_options
@click.option("--best", "which", flag_value="best", help="The checkpoint with the best score.")
@click.option("--last", "which", flag_value="last", help="The newest checkpoint that is whole [default].")
@click.option("--step", type=click.IntRange(0), metavar="N", help="The checkpoint of this update.")
@click.option("--report", "which", flag_value="report", help="Only the files: run file, numbers, scores, report.")
@click.option("--all", "which", flag_value="all", help="The files and every checkpoint.")
@click.option("--to", metavar="FOLDER", help="Where runs go [default: storage.path, `runs`].")
def command(
    run: str,
    store: str | None,
    config: str | None,
    overrides: tuple[str, ...],
    which: str | None,
    step: int | None,
    to: str | None,
) -> None:
    """Bring a run from a store, verified.

    It goes to FOLDER/NAME/ID, where every command finds it. Every file is compared with its SHA-256 before it gets its
    name. An interrupted fetch goes on where it stopped when it is given again. RUN is a name, an id, NAME/ID, or
    s3://bucket/prefix/NAME/ID.

    \b
    Example:
      trmctl fetch sudoku-4x4 --best --store s3://my-bucket/trm
    """
    if step is not None and which is not None:
        raise click.UsageError(f"--step and --{which} ask for different things")
    options = storage(store, config, overrides)
    found = find(options, run)
    target = Path(to or options.path) / found.run.name / found.run.run_id
    with progress() as (arrived, total):
        brought = bring(found, target, "step" if step is not None else which or "last", step, arrived, total)
    for line in brought:
        talk(line)
    click.echo(target)


def bring(found: StoredRun, target: Path, which: str, step: int | None, arrived: Any, total: Any) -> list[str]:
    """Bring what is asked for; return where it comes from, in words. StoreError: it is not there, or not whole."""
    from trmkit.store.fetch import Fetch
    from trmkit.store.layout import CHECKPOINTS
    from trmkit.store.publish import checkpoints
    from trmkit.store.take import Wanted, take_checkpoints, take_files

    fetch = Fetch(found.store, PATIENCE, arrived, total)
    lines = take_files(fetch, found.run.key, target)
    if which == "report":
        return lines
    known = ask(lambda: checkpoints(found.store, f"{found.run.key}/{CHECKPOINTS}"))
    if not known:
        raise StoreError(f"{found.store.url}/{found.run.key}: has no checkpoint yet", next="fetch --report, or wait")
    return lines + take_checkpoints(fetch, known, target, Wanted(which, step))


@contextmanager
def progress() -> Iterator[tuple[Any, Any]]:
    """Show a bar with the rate on a terminal; return what to tell of bytes that arrived, and of bytes to come."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=0)

        def more(count: int) -> None:
            bar.update(task, total=(bar.tasks[0].total or 0) + count)

        yield lambda count: bar.advance(task, count), more
