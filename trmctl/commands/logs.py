"""`trmctl logs`."""

import click

from trmctl.options import Place, cluster_options
from trmctl.runs_in_cluster import ranks as as_ranks
from trmctl.runs_in_cluster import run_argument
from trmctl.times import duration


@click.command("logs")
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the run is over, across pods that are made again.")
@click.option("--rank", "ranks", type=as_ranks, default="0", show_default=True, help="Pods: 0,3-5 or all.")
@click.option("-p", "--previous", is_flag=True, help="Of the container before, where it was started again in its pod.")
@click.option("--since", type=duration, help="Only lines of the last 30m, 2h.")
@click.option("--tail", type=click.IntRange(1), metavar="N", help="Only the last lines.")
@click.option("--timeout", type=duration, help="With -f: longest time to wait for the end.")
@cluster_options
def command(
    run: str,
    follow: bool,
    ranks: list[int] | None,
    previous: bool,
    since: float | None,
    tail: int | None,
    timeout: float | None,
    where: Place,
) -> int:
    """Print what a run in a cluster says.

    With -f it waits for the pods, says meanwhile what they wait for, and ends with the run's exit code: 0 done, 1
    failed, 6 preempted. Ctrl-C leaves the run alone.

    \b
    Example:
      trmctl logs -f sudoku --rank 0,3-5
    """
    from trmctl.follow import follow as follow_run
    from trmctl.jobs import find
    from trmctl.output import talk
    from trmctl.screens.printing import print_logs

    if follow and (previous or tail):
        raise click.UsageError("-f goes with neither --previous nor --tail")
    cluster = where.open()
    job = find(cluster, run)
    if follow:
        return follow_run(cluster, job, talk, ranks=ranks, timeout=timeout, since=since, wait=where.wait)
    return print_logs(cluster, job, ranks, previous=previous, since=since, tail=tail)
