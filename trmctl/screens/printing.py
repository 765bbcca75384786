"""Prints logs that are there, and runs as people read them."""

from collections.abc import Sequence

import click

from trmctl import jobs
from trmctl import pods as p
from trmctl.cluster import Cluster
from trmctl.follow import coloured
from trmctl.jobs import Job
from trmctl.output import plain, talk
from trmkit.errors import ClusterMissingError, ClusterNotReadyError


def print_logs(
    cluster: Cluster, job: Job, ranks: Sequence[int] | None, *, previous: bool, since: float | None, tail: int | None
) -> int:
    """Print the logs of the pods that have one; of the others say why not. ClusterMissingError: there is no pod."""
    known = jobs.pods(cluster, job)
    wanted = [pod for pod in known if ranks is None or p.rank(pod) in ranks]
    if not wanted:
        there = f"its ranks: {', '.join(str(p.rank(pod)) for pod in known)}" if known else "it has no pods now"
        advice = "choose one with --rank" if known else f"trmctl why {job.name}; trmctl logs -f waits for them"
        raise ClusterMissingError(f"{job.name}: no pod to read; {there}", next=advice)
    printed = 0
    for pod in wanted:
        mark = coloured(p.mark(pod), p.rank(pod)) if len(wanted) > 1 else ""
        where = p.name(pod), p.container(pod), job.namespace
        try:
            for line in cluster.log(*where, previous=previous, since=since, tail=tail):
                click.echo(mark + plain(line))
            printed += 1
        except (ClusterNotReadyError, ClusterMissingError) as error:
            talk(f"{p.mark(pod)}: {error.message}")
    return 0 if printed else ClusterMissingError.exit_code
