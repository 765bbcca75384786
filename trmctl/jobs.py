"""The runs in a cluster: found by what a person types, whatever kind of job they are; their pods, their run file."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from trmctl import pods as p
from trmctl.cluster import (
    CONFIG_MAP,
    CRON_WORKFLOW,
    EVENT,
    KUEUE_WORKLOAD,
    POD,
    PYTORCHJOB,
    TRAINJOB,
    TRMRUN,
    WORKFLOW,
    Cluster,
    Kind,
    Object,
)
from trmctl.output import talk
from trmctl.phase import QUEUE, State, state_of
from trmkit.errors import ClusterError, ClusterForbiddenError, ClusterMissingError
from trmkit.render import names

KINDS = (TRMRUN, PYTORCHJOB, TRAINJOB, WORKFLOW, CRON_WORKFLOW)
PODS = {
    PYTORCHJOB: "training.kubeflow.org/job-name",
    TRAINJOB: "jobset.sigs.k8s.io/jobset-name",
    WORKFLOW: "workflows.argoproj.io/workflow",
    TRMRUN: names.JOB,
}
"""Kind -> label of the pods, by which they are found: the job's name."""


@dataclass(frozen=True)
class Job:
    """A run in a cluster: a PyTorchJob, a TrainJob, a workflow, or a TrmRun, which stands for the job it has."""

    kind: Kind
    body: Object

    @property
    def name(self) -> str:
        """Name of the object."""
        return p.name(self.body)

    @property
    def namespace(self) -> str:
        """Namespace of the object."""
        return str(p.about(self.body).get("namespace", ""))

    @property
    def uid(self) -> str:
        """What tells it from another job that had its name."""
        return p.uid(self.body)

    @property
    def child(self) -> str:
        """Name of the job whose pods train: its own, or of a TrmRun, that of its job."""
        return str((self._told.get("job") or {}).get("name") or self.name) if self.kind == TRMRUN else self.name

    @property
    def _told(self) -> dict[str, Any]:
        return self.body.get("status") or {}

    @property
    def _run(self) -> dict[str, Any]:
        return (self.body.get("spec") or {}).get("run") or {}

    @property
    def labels(self) -> dict[str, str]:
        """Its labels; of a TrmRun those that its job has, or will have."""
        found: dict[str, str] = p.about(self.body).get("labels") or {}
        if self.kind != TRMRUN:
            return found
        told = self._told.get("run") or {}
        name, identity = str(self._run.get("name", "")), str(told.get("id", ""))
        return {**found, names.NAME: name, **({names.ID: identity} if identity else {})}

    @property
    def annotations(self) -> dict[str, str]:
        """Its annotations."""
        found: dict[str, str] = p.about(self.body).get("annotations") or {}
        store = str((self._told.get("run") or {}).get("store", "")) if self.kind == TRMRUN else ""
        return {**found, names.STORE: store} if store else found

    @property
    def run_name(self) -> str:
        """The run file's `name`."""
        return str(self.labels.get(names.NAME, ""))

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.labels.get(names.ID, ""))

    @property
    def key(self) -> str:
        """`name/id`: where the run lives in a store."""
        return f"{self.run_name}/{self.run_id}"

    @property
    def beside(self) -> str:
        """Name of the job whose checkpoints this one scores; empty: it is none of these."""
        return str(self.labels.get(names.BESIDE, ""))

    @property
    def created(self) -> float:
        """When it was made, in seconds since 1970."""
        return p.seconds(p.about(self.body).get("creationTimestamp")) or 0.0

    @property
    def queue(self) -> str:
        """Kueue LocalQueue it waits in; empty: none."""
        return str(self.labels.get(QUEUE, ""))

    @property
    def nodes(self) -> int:
        """Pods that it is made of; 0: that depends, as in a workflow."""
        spec = self.body.get("spec") or {}
        if self.kind == TRMRUN:
            return int((self._run.get("cluster") or {}).get("nodes") or 1)
        if self.kind == TRAINJOB:
            return int((spec.get("trainer") or {}).get("numNodes") or 1)
        return sum(int(one.get("replicas") or 1) for one in (spec.get("pytorchReplicaSpecs") or {}).values())

    @property
    def gpus(self) -> int:
        """GPUs of all its pods together."""
        spec = self.body.get("spec") or {}
        if self.kind == TRMRUN:
            return self.nodes * int((self._run.get("cluster") or {}).get("gpus_per_node") or 0)
        if self.kind == TRAINJOB:
            return self.nodes * _gpus((spec.get("trainer") or {}).get("resourcesPerNode") or {})
        total = 0
        for one in (spec.get("pytorchReplicaSpecs") or {}).values():
            containers = ((one.get("template") or {}).get("spec") or {}).get("containers") or ()
            total += int(one.get("replicas") or 1) * sum(_gpus(each.get("resources") or {}) for each in containers)
        return total

    def state(self, pods: Sequence[Object] | None = None, workload: Object | None = None) -> State:
        """Return how it is doing."""
        return state_of(self.body, pods, workload)


def _gpus(resources: dict[str, dict[str, str]]) -> int:
    found = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    return sum(int(count) for name, count in found.items() if name.endswith("/gpu") and str(count).isdigit())


def jobs(cluster: Cluster, namespace: str | None = None, selector: str = names.OURS) -> list[Job]:
    """Return the runs in a namespace, the newest first; one request for each kind, those not served left out.

    A job that a TrmRun is for is not listed beside it. ClusterForbiddenError: no kind may be listed.
    """
    found: list[Job] = []
    refused: list[ClusterError] = []
    absent: set[Kind] = set()
    for kind in KINDS:
        if kind == CRON_WORKFLOW and WORKFLOW in absent:
            continue
        try:
            labels = "" if kind == TRMRUN and selector == names.OURS else selector
            found += [Job(kind, body) for body in cluster.list(kind, namespace, labels=labels)]
        except ClusterMissingError:
            absent.add(kind)
        except ClusterForbiddenError as error:
            refused += [error] if kind != TRMRUN else []
    if refused and not found:
        raise refused[0]
    known = {(job.namespace, job.name) for job in found if job.kind == TRMRUN}
    found = [job for job in found if (job.namespace, job.labels.get(names.TRMRUN)) not in known]
    return sorted(found, key=lambda job: (-job.created, job.name))


def find(cluster: Cluster, text: str, namespace: str | None = None) -> Job:
    """Return the run meant by a job's name, a run's name, its id, or name/id; of several the newest.

    ClusterMissingError: there is none; close names are in the message.
    """
    known = jobs(cluster, namespace)
    matching = [job for job in known if text in (job.name, job.child)]
    matching = matching or [job for job in known if text in (job.run_name, job.run_id, job.key)]
    if not matching:
        from trmkit.spec.tree import did_you_mean

        close = did_you_mean(text, {each for job in known for each in (job.name, job.run_name, job.key)})
        there = ", ".join(list(dict.fromkeys(job.run_name or job.name for job in known))[:20]) or "none"
        raise ClusterMissingError(
            f"there is no run {text!r} in namespace {namespace or cluster.namespace} of {cluster.where}{close}",
            next=f"the runs there: {there}; trmctl list also asks the store",
        )
    matching.sort(key=lambda job: bool(job.beside))  # who scores comes after who trains
    whole = [job for job in matching if job.kind == WORKFLOW and job.name != text and not job.state().finished]
    matching = whole + [job for job in matching if job not in whole]  # a pipeline goes before the job it waits for
    if len([job for job in matching if not job.beside]) > 1:
        others = ", ".join(f"{job.name} ({job.kind.kind})" for job in matching[1:6])
        talk(f"taking {matching[0].name} ({matching[0].kind.kind}), first; there are also {others}")
    return matching[0]


def beside(cluster: Cluster, job: Job) -> Job | None:
    """Return the job that scores the checkpoints of this one; None: there is none."""
    if job.kind not in (PYTORCHJOB, TRAINJOB) or job.beside:
        return None
    found = cluster.list(job.kind, job.namespace, labels=f"{names.BESIDE}={job.name}")
    return Job(job.kind, found[0]) if found else None


def again(cluster: Cluster, job: Job) -> Job | None:
    """Return the job as it is now; None: it is gone, and perhaps another one has its name."""
    body = cluster.get(job.kind, job.name, job.namespace)
    return None if body is None or p.uid(body) != job.uid else Job(job.kind, body)


def pods(cluster: Cluster, job: Job) -> list[Object]:
    """Return the pods of a run by rank."""
    if job.kind not in PODS:  # what starts by the clock has none of its own
        return []
    return p.by_rank(cluster.list(POD, job.namespace, labels=f"{PODS[job.kind]}={job.child}"))


def workload(cluster: Cluster, job: Job) -> Object | None:
    """Return what Kueue knows of a job that waits in a queue; None: nothing."""
    if not job.queue:
        return None
    with suppress(ClusterMissingError, ClusterForbiddenError):
        selector = f"kueue.x-k8s.io/job-uid={job.uid}"
        return next(iter(cluster.list(KUEUE_WORKLOAD, job.namespace, labels=selector)), None)
    return None


def events(cluster: Cluster, job: Job, pods: Sequence[Object]) -> list[Object]:
    """Return what was said of a job, its pods and its queueing, the oldest first."""
    return of_job(job, pods, cluster.list(EVENT, job.namespace))


def of_job(job: Job, pods: Sequence[Object], said: Sequence[Object]) -> list[Object]:
    """Return those of the events `said` that are about a job, its pods or its queueing, the oldest first."""
    prefix = {job.name, job.child, *(p.name(pod) for pod in pods)}
    found = []
    for event in said:
        about = event.get("involvedObject") or {}
        name = str(about.get("name", ""))
        same = (
            about.get("uid") in (None, "", job.uid) if name == job.name and about.get("kind") == job.kind.kind else True
        )
        of_another = job.kind != WORKFLOW and name.startswith(
            (
                f"{job.name}-pipeline",
                f"{job.name}-features",
                f"{job.name}-follow",
                f"{job.name}-sweep-",
                f"{job.name}-ladder-",
            )
        )
        if same and not of_another and (name in prefix or name.startswith((f"{job.name}-", f"pytorchjob-{job.name}-"))):
            found.append(event)
    return sorted(found, key=lambda event: when(event) or 0.0)


def when(event: Object) -> float | None:
    """Return when an event was last seen; events of two styles say it in different places."""
    series = event.get("series") or {}
    made = p.about(event).get("creationTimestamp")
    for stamp in (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"), made):
        if stamp:
            return p.seconds(stamp)
    return None


def run_file(cluster: Cluster, job: Job) -> str | None:
    """Return the text of the run's file; None: it is not in the cluster."""
    if job.kind != TRMRUN:
        return run_text(cluster, job.name, job.namespace)
    from trmkit.spec.yaml_write import write

    return write(job.body["spec"]["run"])


def run_text(cluster: Cluster, name: str, namespace: str | None = None) -> str | None:
    """Return the text of the run file that a ConfigMap holds; None: there is none."""
    return _run_text(cluster.get(CONFIG_MAP, name, namespace))


def find_run_text(cluster: Cluster, text: str) -> tuple[str, str | None]:
    """Return name and run file of a run whose job is gone. ClusterMissingError: its ConfigMap is gone, too."""
    found = sorted(
        cluster.list(CONFIG_MAP, labels=names.OURS),
        key=lambda one: str(p.about(one).get("creationTimestamp", "")),
        reverse=True,
    )
    for config in found:
        labels = p.about(config).get("labels") or {}
        if names.BESIDE in labels:  # it has the run file of a job that goes with another
            continue
        run, identity = labels.get(names.NAME, ""), labels.get(names.ID, "")
        if text in (p.name(config), run, identity, f"{run}/{identity}"):
            return p.name(config), _run_text(config)
    raise ClusterMissingError(
        f"there is no run {text!r} in namespace {cluster.namespace} of {cluster.where}, and no run file of one",
        next="trmctl list shows the runs; those in a store go on with trmctl fetch and trmctl submit",
    )


def _run_text(config: Object | None) -> str | None:
    text = ((config or {}).get("data") or {}).get(names.RUN_FILE_KEY)
    return str(text) if text is not None else None
