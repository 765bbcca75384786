"""`trmctl cancel`."""

import click

from trmctl.options import Place, cluster_options
from trmctl.runs_in_cluster import run_argument, wait_until
from trmctl.times import duration


@click.command("cancel")
@run_argument
@click.option("--now", is_flag=True, help="A workflow: without its exit handler.")
@click.option("--wait", is_flag=True, help="Wait until it is gone; its pods save first.")
@click.option("--timeout", type=duration, default="15m", show_default=True, help="With --wait: longest time.")
@cluster_options
def command(run: str, now: bool, wait: bool, timeout: float, where: Place) -> None:
    """End a run in a cluster; what it has stored stays.

    Its pods get SIGTERM and save first. The job is removed, as that is the only way to end one; its ConfigMap and its
    checkpoints stay, so the same run file, submitted again, goes on from there. A workflow is stopped and stays.

    \b
    Example:
      trmctl cancel sudoku --wait
    """
    from trmctl import acting, jobs
    from trmctl.cluster import WORKFLOW
    from trmctl.output import talk

    cluster = where.open()
    job = jobs.find(cluster, run)
    if not acting.cancel(cluster, job, now=now):
        talk(f"{job.name} was over already; trmctl delete {job.name} removes it")
        return

    def over() -> bool:
        current = jobs.again(cluster, job)
        if job.kind == WORKFLOW:
            return current is None or current.state().finished
        return current is None and not jobs.pods(cluster, job)

    if wait:
        wait_until(over, f"{job.name} ends", timeout, where.wait)
    talk(f"{job.name}: {'ended' if wait else 'ends'}; what it has stored stays")
