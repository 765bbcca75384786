"""`trmctl pause`."""

import click

from trmctl.options import Place, cluster_options
from trmctl.runs_in_cluster import run_argument, wait_until
from trmctl.times import duration


@click.command("pause")
@run_argument
@click.option("--wait", is_flag=True, help="Wait until its pods are gone; they save first.")
@click.option("--timeout", type=duration, default="15m", show_default=True, help="With --wait: longest time.")
@cluster_options
def command(run: str, wait: bool, timeout: float, where: Place) -> None:
    """Have a run in a cluster save and give back its machines.

    Its pods get SIGTERM, save a checkpoint and leave; `trmctl resume` has it go on from there. Of a workflow, steps
    that run go on, and no new one begins.

    \b
    Example:
      trmctl pause sudoku --wait
    """
    from datetime import UTC, datetime

    from trmctl import acting, jobs
    from trmctl.output import talk

    cluster = where.open()
    job = jobs.find(cluster, run)
    acting.pause(cluster, job, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    if wait:
        wait_until(lambda: not jobs.pods(cluster, job), f"{job.name}: its pods leave", timeout, where.wait)
    talk(f"{job.name}: {'paused' if wait else 'its pods save and leave'}; trmctl resume {job.name} has it go on")
