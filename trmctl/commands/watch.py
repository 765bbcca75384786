"""`trmctl watch`."""

from typing import TYPE_CHECKING

import click

from trmctl.options import Place, cluster_options
from trmctl.runs_in_cluster import run_argument
from trmctl.times import duration

if TYPE_CHECKING:
    from rich.console import Group


@click.command("watch")
@run_argument
@click.option("--every", type=duration, default="5s", show_default=True, help="Time between two looks.")
@click.option(
    "--curve", "curves", multiple=True, metavar="METRIC", help="A metric to draw, as train_learning_rate. Repeatable."
)
@cluster_options
def command(run: str, every: float, curves: tuple[str, ...], where: Place) -> int:
    """Draw the curves of a run in a cluster as it trains.

    Loss, scores, and how long a step takes on each rank, read from its pods through the API server; no Prometheus is
    needed. Off a terminal it prints a line at a time. Ctrl-C leaves the run alone.

    \b
    Example:
      trmctl watch sudoku
    """
    from rich.live import Live

    from trmctl.jobs import find
    from trmctl.output import console, plain, talk
    from trmctl.screens.watcher import Watcher, screen

    cluster = where.open()
    watcher = Watcher(cluster, find(cluster, run), curves)
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
        talk(f"the run goes on; again: trmctl watch {watcher.job.name}")
        return 130
    talk(seen.line)
    return seen.state.exit_code if seen.state.finished else 4
