"""`trmctl watch`."""

from typing import TYPE_CHECKING

import click

from trmctl.options import Place, cluster_options
from trmctl.runs_in_cluster import run_argument
from trmctl.times import duration

if TYPE_CHECKING:
    from rich.console import Group

    from trmctl.screens.watcher import LocalWatcher, Watcher


@click.command("watch")
@run_argument
@click.option("--every", type=duration, default="5s", show_default=True, help="Time between two looks.")
@click.option(
    "--curve", "curves", multiple=True, metavar="METRIC", help="A metric to draw, as train_learning_rate. Repeatable."
)
@click.option("--here", is_flag=True, help="A run on this machine, by its name or folder; do not ask a cluster.")
@click.option("--runs", default="runs", show_default=True, metavar="DIR", help="Folder of the runs here.")
@cluster_options
def command(run: str, every: float, curves: tuple[str, ...], here: bool, runs: str, where: Place) -> int:
    """Draw the curves of a run as it trains, here or in a cluster.

    Loss, scores, supervision steps until halt, and how long an update takes on each rank, read from its pods through
    the API server, or from the files of a run here; no Prometheus is needed. Off a terminal it prints a line at a time.
    Ctrl-C leaves the run alone. A run that no cluster has is looked for here. `trmctl dashboard` shows more, in the
    browser.

    \b
    Example:
      trmctl watch sudoku
      trmctl watch runs/arc-demo/0123abcd
    """
    from rich.live import Live

    from trmctl.output import console, plain, talk
    from trmctl.screens.watcher import screen
    from trmkit.errors import ClusterError, StoreError

    watcher: LocalWatcher | Watcher
    try:
        watcher = watch_here(run, runs, curves) if here else watch_there(run, curves, where)
    except ClusterError as error:
        try:
            watcher = watch_here(run, runs, curves)
        except StoreError:
            raise error from None
        talk(f"the run in {runs}/, because in the cluster: {error.message}")
    printer = console()
    try:
        with Live(console=printer, auto_refresh=False, screen=printer.is_terminal) as live:
            while (seen := watcher.look()) and not seen.over:
                if printer.is_terminal:
                    shown: Group = screen(seen, printer.width, printer.height)
                    live.update(shown, refresh=True)
                else:
                    click.echo(plain(seen.line))
                where.wait(every)
    except KeyboardInterrupt:
        talk(f"the run goes on; again: trmctl watch {run}{' --here' if here else ''}")
        return 130
    talk(seen.line)
    return seen.exit_code


def watch_here(run: str, runs: str, curves: tuple[str, ...]) -> "LocalWatcher":
    """Return what looks at a run on this machine. StoreError: it is not there."""
    from pathlib import Path

    from trmctl.runs import find, label
    from trmctl.screens.watcher import LocalWatcher

    found = find(run, Path(runs))
    return LocalWatcher(found.root.absolute().parent.parent, label(found), curves)


def watch_there(run: str, curves: tuple[str, ...], where: Place) -> "Watcher":
    """Return what looks at a run in a cluster. ClusterError: it is not there."""
    from trmctl.jobs import find
    from trmctl.screens.watcher import Watcher

    cluster = where.open()
    return Watcher(cluster, find(cluster, run), curves)
