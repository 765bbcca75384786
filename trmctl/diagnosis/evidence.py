"""What there is to know of a run in a cluster, asked for once: the material of `status` and `why`."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from trmctl import jobs, progress
from trmctl import pods as p
from trmctl.cluster import CLUSTER_QUEUE, KUEUE_WORKLOAD, LOCAL_QUEUE, Cluster, Object
from trmctl.jobs import Job
from trmctl.phase import Phase, State
from trmkit.errors import ClusterForbiddenError, ClusterMissingError

T = TypeVar("T")


HIDDEN = "you may not see Kueue's workloads"
"""Note: whether Kueue has taken a job up cannot be told."""


@dataclass(frozen=True)
class Evidence:
    """Everything that an answer may be based on."""

    job: Job
    state: State
    pods: Sequence[Object]
    events: Sequence[Object] = ()
    workload: Object | None = None
    """What Kueue knows."""
    queue: Object | None = None
    """The LocalQueue, where it could be read."""
    cluster_queue: Object | None = None
    queue_missing: bool = False
    now: float = 0.0
    """Seconds since 1970."""
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    """Rank -> what its pod says on its metrics port."""
    attempts: Sequence[dict[str, Any]] = ()
    """The launcher's ledger, from the store."""
    notes: Sequence[str] = ()
    """What could not be looked at, and why."""

    @property
    def age(self) -> float:
        """Seconds since the job was made."""
        return self.now - self.job.created


def gather(cluster: Cluster, job: Job, *, deep: bool = True, now: Callable[[], float] = time.time) -> Evidence:
    """Ask for everything; what this user may not see is left out and noted. `deep` asks pods and store as well."""
    notes: list[str] = []

    def may(what: str, ask: Callable[[], T], otherwise: T) -> T:
        try:
            return ask()
        except ClusterForbiddenError:
            notes.append(f"you may not see {what}")
        except ClusterMissingError:
            notes.append(f"the cluster has no {what}")
        return otherwise

    pods: list[Object] = may("pods", lambda: jobs.pods(cluster, job), [])
    workload = jobs.workload(cluster, job)
    if job.queue and workload is None and not cluster.allowed("list", KUEUE_WORKLOAD, job.namespace):
        notes.append(HIDDEN)
    state = job.state(pods, workload)
    none: list[Object] = []
    events = may("events", lambda: jobs.events(cluster, job, pods), none) if deep or not is_well(state) else none
    queue = cluster_queue = None
    missing = False
    if job.queue and state.phase in (Phase.QUEUED, Phase.PENDING):
        absent: Object | None = None
        before = len(notes)
        queue = may("LocalQueues", lambda: cluster.get(LOCAL_QUEUE, job.queue, job.namespace), absent)
        missing = queue is None and len(notes) == before
        named = ((queue or {}).get("spec") or {}).get("clusterQueue")
        if named:
            cluster_queue = may("ClusterQueues", lambda: cluster.get(CLUSTER_QUEUE, named), absent)
    metrics = progress.metrics(cluster, job, pods) if deep and state.phase in (Phase.RUNNING, Phase.STARTING) else {}
    attempts = progress.attempts(job, progress.storage(cluster, job)) if deep else []
    return Evidence(
        job, state, pods, events, workload, queue, cluster_queue, missing, now(), metrics, attempts, tuple(notes)
    )


def is_well(state: State) -> bool:
    """Say whether there is nothing to explain."""
    return state.phase in (Phase.RUNNING, Phase.SUCCEEDED, Phase.DELETING, Phase.PAUSED)


def image_of(pod: Object) -> str:
    """Return the image of the trainer's container."""
    containers = (pod.get("spec") or {}).get("containers") or ()
    wanted = p.container(pod)
    return next((str(one.get("image", "")) for one in containers if one.get("name") == wanted), "")
