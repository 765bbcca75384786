"""`trmctl resume`."""

import click

from trmctl.options import Place, cluster_options
from trmctl.runs_in_cluster import run_argument, wait_until
from trmctl.times import duration


@click.command("resume")
@run_argument
@click.option("--wait", is_flag=True, help="Wait until it runs again.")
@click.option("--timeout", type=duration, default="15m", show_default=True, help="With --wait: longest time.")
@cluster_options
def command(run: str, wait: bool, timeout: float, where: Place) -> None:
    """Have a paused run go on where it was.

    Where it waits in a queue, it waits there again until there is room.

    \b
    Example:
      trmctl resume sudoku
    """
    from trmctl import acting, jobs
    from trmctl.output import talk
    from trmctl.phase import Phase

    cluster = where.open()
    job = jobs.find(cluster, run)
    acting.resume(cluster, job)

    def runs() -> bool:
        now = jobs.again(cluster, job)
        state = now.state(jobs.pods(cluster, now)) if now else None
        return state is None or state.finished or state.phase == Phase.RUNNING

    if wait:
        wait_until(runs, f"{job.name} runs", timeout, where.wait)
    talk(f"{job.name}: {'runs' if wait else 'goes on'}; trmctl logs -f {job.name} follows it")
