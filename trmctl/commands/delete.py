"""`trmctl delete`."""

import time

import click

from trmctl.options import Place, cluster_options
from trmctl.runs_in_cluster import complete, wait_until
from trmctl.times import duration


@click.command("delete")
@click.argument("run", required=False, shell_complete=complete)
@click.option("--finished", is_flag=True, help="All runs that are over, instead of one.")
@click.option("--older-than", type=duration, help="With --finished: for so long [default: each run's ttl_seconds].")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--wait", is_flag=True, help="Wait until it is gone; its pods save first.")
@click.option("--timeout", type=duration, default="15m", show_default=True, help="With --wait: longest time.")
@cluster_options
def command(
    run: str | None,
    finished: bool,
    older_than: float | None,
    dry_run: bool,
    wait: bool,
    timeout: float,
    where: Place,
) -> None:
    """Remove a run, or all that are over, from a cluster.

    The job, its pods and its ConfigMap go; what is in the store stays. `--finished` is for jobs that failed for good:
    the operator removes those that succeeded, and never these.

    \b
    Example:
      trmctl delete sudoku --wait
      trmctl delete --finished --older-than 3d
    """
    from trmctl import acting, jobs
    from trmctl.cluster import CONFIG_MAP
    from trmctl.output import talk
    from trmkit.errors import ClusterMissingError

    if finished == (run is not None):
        raise click.UsageError("give a run, or --finished")
    if older_than is not None and not finished:
        raise click.UsageError("--older-than goes with --finished")
    cluster = where.open()
    if run is not None:
        try:
            chosen = [jobs.find(cluster, run)]
        except ClusterMissingError as missing:  # cancelled, perhaps: then its run file stayed
            try:
                name, _ = jobs.find_run_text(cluster, run)
            except ClusterMissingError:
                raise missing from None
            if not dry_run:
                cluster.delete(CONFIG_MAP, name)
            click.echo(name)
            return
    else:
        over = [job for job in jobs.jobs(cluster) if acting.overdue(job, time.time(), older_than)]
        chosen = [job for job in over if not acting.is_needed(cluster, job)]
    for job in chosen:
        if not dry_run:
            acting.delete(cluster, job)
        click.echo(job.name)
    if wait and not dry_run:
        gone = f"{len(chosen)} jobs and their pods are gone"
        wait_until(lambda: all(acting.is_gone(cluster, job) for job in chosen), gone, timeout, where.wait)
    talk(f"{len(chosen)} {'to remove' if dry_run else 'removed'}; what they have stored stays")
