"""What can be done to a run in a cluster: pause, resume, cancel, delete. All may be asked again without harm."""

from collections.abc import Sequence
from contextlib import suppress

from trmctl import jobs
from trmctl.cluster import (
    CONFIG_MAP,
    KUEUE_WORKLOAD,
    PYTORCHJOB,
    TRAINJOB,
    TRMRUN,
    WORKFLOW,
    Cluster,
    Kind,
    Object,
)
from trmctl.jobs import Job
from trmctl.phase import PAUSED
from trmkit.errors import ClusterConflictError, ClusterForbiddenError, ClusterMissingError, ClusterRefusedError
from trmkit.render import names
from trmkit.render.names import SPEC_HASH, TTL


def pause(cluster: Cluster, job: Job, now: str) -> None:
    """Have the pods save and leave; `now` is noted on the job. ClusterRefusedError: it is over.

    Kueue owns the `suspend` of jobs that wait in a queue, so theirs is stopped through their Workload.
    ClusterConflictError: it has none yet, or the job was made anew since it was read.
    """
    state = job.state()
    if state.finished:
        raise ClusterRefusedError(f"{job.name} is over ({state.phase.lower()})", next="trmctl list shows what runs")
    if job.kind == TRMRUN:  # its controller does it, and would undo what is done to its job
        cluster.patch(TRMRUN, job.name, {"spec": {"suspend": True}}, job.namespace)
        return
    for child in children(cluster, job):
        pause(cluster, child, now)
    _hold(cluster, job, True, now)


def resume(cluster: Cluster, job: Job) -> None:
    """Have a paused run go on, or wait in its queue again. ClusterRefusedError: it is over."""
    state = job.state()
    if state.finished:
        raise ClusterRefusedError(
            f"{job.name} is over ({state.phase.lower()})", next="trmctl submit goes on from its newest checkpoint"
        )
    if job.kind == TRMRUN:
        cluster.patch(TRMRUN, job.name, {"spec": {"suspend": False}}, job.namespace)
        return
    for child in children(cluster, job):
        resume(cluster, child)
    _hold(cluster, job, False, None)


def _hold(cluster: Cluster, job: Job, wanted: bool, note: str | None) -> None:
    """Hold a job back, or let it go on. Its note is written last: whoever dies before has not said that it is done."""
    known = queued_as(cluster, job)
    if known is not None:
        cluster.patch(KUEUE_WORKLOAD, known["metadata"]["name"], {"spec": {"active": not wanted}}, job.namespace)
    mark: Object = {"metadata": {"uid": job.uid, "annotations": {PAUSED: note}}}
    cluster.patch(job.kind, job.name, mark if known else {**mark, **suspend(job, wanted)}, job.namespace)


def children(cluster: Cluster, job: Job) -> list[Job]:
    """Return the jobs that go with one: those a pipeline has handed in and waits for, or the one that scores.

    ClusterRefusedError: it is a sweep, of many runs.
    """
    if job.kind != WORKFLOW:
        other = jobs.beside(cluster, job)
        return [other] if other is not None and not other.state().finished else []
    if "-sweep-" in job.name or "-ladder-" in job.name:
        raise ClusterRefusedError(
            f"{job.name} is of many runs: they are paused one by one", next=f"trmctl list; or trmctl cancel {job.name}"
        )
    same = f"{names.OURS},{names.ID}={job.run_id},{names.NAME}={job.run_name}"
    return [one for one in _labelled(cluster, (PYTORCHJOB, TRAINJOB), job, same) if not one.state().finished]


def queued_as(cluster: Cluster, job: Job) -> Object | None:
    """Return what Kueue knows of a job; None: it waits in no queue, or there is no Kueue.

    Kueue takes back a `suspend` of ours, so without its Workload nothing could be paused. ClusterForbiddenError: that
    may not be read. ClusterConflictError: it has not been made yet.
    """
    if job.queue and not cluster.allowed("list", KUEUE_WORKLOAD, job.namespace):
        raise ClusterForbiddenError(
            f"{job.name} waits in queue {job.queue!r}, and this user may not read Kueue's workloads",
            next="ask for get, list and patch of workloads.kueue.x-k8s.io",
        )
    known = jobs.workload(cluster, job)
    if known is None and job.queue and cluster.serves(KUEUE_WORKLOAD):
        raise ClusterConflictError(
            f"{job.name} waits in queue {job.queue!r}, and Kueue has not taken it up yet",
            next="try again in a moment; kubectl get workloads shows what Kueue knows of",
        )
    return known


def suspend(job: Job, wanted: bool) -> Object:
    """Return the change that suspends a job, or lets it go on."""
    return {"spec": {"runPolicy": {"suspend": wanted}}} if job.kind == PYTORCHJOB else {"spec": {"suspend": wanted}}


def cancel(cluster: Cluster, job: Job, *, now: bool = False) -> bool:
    """End a run; False: it had ended. A workflow is stopped, with its exit handler, or `now`, without.

    A job has no way to be ended but its deletion. Its ConfigMap stays, and so does all that is in the store: the same
    run file, submitted again, goes on from there. The job that scores goes with the one that trains, also when only
    it goes on still.
    """
    if job.kind == TRMRUN and not job.state().finished:
        cluster.delete(TRMRUN, job.name, job.namespace)
        for one in of_trmrun(cluster, job):
            cancel(cluster, one, now=now)
        return True
    if job.state().finished:
        other = jobs.beside(cluster, job)
        return other is not None and cancel(cluster, other, now=now)
    if job.kind != WORKFLOW and not job.beside:
        with suppress(ClusterMissingError):  # or Kubernetes would remove it with the job it belongs to
            cluster.patch(
                CONFIG_MAP,
                job.name,
                {"metadata": {"ownerReferences": None, "annotations": {SPEC_HASH: None}}},
                job.namespace,
            )
    if job.kind == WORKFLOW:
        change = {"spec": {"shutdown": "Terminate" if now else "Stop", "suspend": None}}
        cluster.patch(WORKFLOW, job.name, change, job.namespace)
        return True
    return cluster.delete(job.kind, job.name, job.namespace)


def delete(cluster: Cluster, job: Job) -> None:
    """Remove a job and its ConfigMap from the cluster, of a TrmRun its job, too; what is in the store stays."""
    cluster.delete(job.kind, job.name, job.namespace)
    for one in of_trmrun(cluster, job) if job.kind == TRMRUN else ():
        cluster.delete(one.kind, one.name, one.namespace)
    cluster.delete(CONFIG_MAP, job.child, job.namespace)


def of_trmrun(cluster: Cluster, job: Job) -> list[Job]:
    """Return the jobs that a TrmRun has; the one that scores goes with the one that trains."""
    found = _labelled(cluster, (PYTORCHJOB, TRAINJOB, WORKFLOW), job, f"{names.TRMRUN}={job.name}")
    return [one for one in found if not one.beside]


def _labelled(cluster: Cluster, kinds: Sequence[Kind], near: Job, labels: str) -> list[Job]:
    """Return jobs of some kinds in the namespace of another one; those not served have none."""
    served = [kind for kind in kinds if cluster.serves(kind)]
    return [Job(kind, body) for kind in served for body in cluster.list(kind, near.namespace, labels=labels)]


def is_gone(cluster: Cluster, job: Job) -> bool:
    """Say whether the job and all its pods are gone."""
    return jobs.again(cluster, job) is None and not jobs.pods(cluster, job)


def is_needed(cluster: Cluster, job: Job) -> bool:
    """Say whether a job that is over still has one that scores its checkpoints, which would go with it."""
    other = jobs.beside(cluster, job)
    return other is not None and not other.state().finished


def overdue(job: Job, now: float, older_than: float | None) -> bool:
    """Say whether a job is over for longer than `older_than` seconds; None: than its own time to live.

    The operator itself never removes jobs that failed for good: it does not note when those ended.
    """
    state = job.state()
    if not state.finished:
        return False
    if older_than is None:
        spec = job.body.get("spec") or {}
        ttl = (spec.get("runPolicy") or {}).get("ttlSecondsAfterFinished", job.annotations.get(TTL))
        if ttl is None or not str(ttl).isdigit():
            return False
        older_than = float(ttl)
    return now - (state.since or job.created) > older_than
