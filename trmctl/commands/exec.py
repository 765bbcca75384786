"""`trmctl exec`."""

import click

from trmctl.options import Place, cluster_options
from trmctl.runs_in_cluster import run_argument


@click.command("exec", context_settings={"ignore_unknown_options": True})
@run_argument
@click.argument("words", metavar="[COMMAND]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--rank", type=click.IntRange(0), default=0, show_default=True, help="Of which pod.")
@cluster_options
def command(run: str, words: tuple[str, ...], rank: int, where: Place) -> int:
    """Run a command in a pod of a run.

    Without one it is a shell. It ends with the exit code of the command.

    \b
    Example:
      trmctl exec sudoku --rank 1 -- df -h /tmp
    """
    from trmctl import jobs
    from trmctl import pods as p
    from trmkit.errors import ClusterMissingError

    cluster = where.open()
    job = jobs.find(cluster, run)
    running = {p.rank(pod): pod for pod in jobs.pods(cluster, job) if p.is_running(pod)}
    if rank not in running:
        there = ", ".join(str(known) for known in running) or "none"
        raise ClusterMissingError(
            f"{job.name}: rank {rank} does not run; ranks that do: {there}", next=f"trmctl why {job.name}"
        )
    pod = running[rank]
    return cluster.execute(p.name(pod), p.container(pod), list(words) or ["/bin/sh"], job.namespace)
