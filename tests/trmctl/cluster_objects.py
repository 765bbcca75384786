"""Makes the objects that a cluster would have of a run, in the states that were seen on running controllers."""

from typing import Any

from tests.trmctl.fake_cluster import FakeCluster, stamp
from trmctl.cluster import CONFIG_MAP, EVENT, POD, PYTORCHJOB, TRAINJOB, WORKFLOW, Kind, Object
from trmkit.render import names

RUN_FILE = """\
name: demo
model: {family: trm, hidden_size: 64, num_heads: 4}
data: {source: sudoku-generated, side: 4}
train: {steps: 1000, batch_size: 8}
"""


def meta(job: str, name: str = "demo", run_id: str = "0123abcd", **more: Any) -> dict[str, Any]:
    """Return the metadata of an object of a run."""
    labels = {names.MANAGED_BY: names.MANAGER, names.JOB: job, names.NAME: name, names.ID: run_id}
    return {"name": job, "labels": labels, "annotations": {names.SPEC_HASH: "cafe"}, **more}


def condition(kind: str, status: str = "True", reason: str = "", message: str = "", at: str = "") -> Object:
    """Return a condition."""
    found = {"type": kind, "status": status, "reason": reason or f"PyTorchJob{kind}", "message": message}
    return {**found, "lastTransitionTime": at} if at else found


def add_job(
    cluster: FakeCluster,
    job: str = "demo-0123abcd",
    *conditions: Object,
    workers: int = 2,
    gpus: int = 0,
    name: str = "demo",
    run_id: str = "0123abcd",
    status: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
) -> Object:
    """Put a PyTorchJob with these conditions, and its ConfigMap, into the cluster."""
    resources = {"limits": {"memory": "1Gi", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}}
    container = {"name": "pytorch", "image": "trm:1", "resources": resources}
    worker = {"replicas": workers, "restartPolicy": "ExitCode", "template": {"spec": {"containers": [container]}}}
    about = meta(job, name, run_id)
    about["labels"] |= labels or {}
    spec = {"runPolicy": policy or {"cleanPodPolicy": "Running"}, "pytorchReplicaSpecs": {"Worker": worker}}
    found: dict[str, Any] = {"metadata": about, "spec": spec}
    if conditions or status:
        found["status"] = {"conditions": list(conditions), **(status or {})}
    cluster.put(CONFIG_MAP, {"metadata": meta(job, name, run_id), "data": {names.RUN_FILE_KEY: RUN_FILE}})
    return cluster.put(PYTORCHJOB, found)


def created(job: str = "demo-0123abcd") -> Object:
    """Return the condition that every accepted PyTorchJob has."""
    return condition("Created", message=f"PyTorchJob {job} is created.")


def running(job: str = "demo-0123abcd") -> list[Object]:
    """Return the conditions of a PyTorchJob that runs."""
    return [created(job), condition("Running", message=f"PyTorchJob team/{job} is running.")]


def succeeded(job: str = "demo-0123abcd", at: str = "") -> list[Object]:
    """Return the conditions of a PyTorchJob that is done."""
    done = condition("Succeeded", message=f"PyTorchJob team/{job} successfully completed.", at=at)
    return [created(job), condition("Running", "False"), done]


def failed(job: str = "demo-0123abcd", at: str = "") -> list[Object]:
    """Return the conditions of a PyTorchJob that failed for good."""
    message = f'job "{job}" is failing because "Worker" replica(s) failed.'
    return [created(job), condition("Running", "False"), condition("Failed", message=message, at=at)]


def add_pod(
    cluster: FakeCluster,
    rank: int,
    phase: str = "Running",
    *,
    job: str = "demo-0123abcd",
    uid: str = "",
    waiting: tuple[str, str] | None = None,
    terminated: dict[str, Any] | None = None,
    conditions: list[Object] | None = None,
    restarts: int = 0,
    terminating: bool = False,
    log: list[str] | None = None,
) -> Object:
    """Put the pod of a worker into the cluster; a running one has a log."""
    name = f"{job}-worker-{rank}"
    state: dict[str, Any] = {"running": {"startedAt": stamp(cluster.now)}}
    if waiting:
        state = {"waiting": {"reason": waiting[0], **({"message": waiting[1]} if waiting[1] else {})}}
    if terminated:
        state = {"terminated": terminated}
    started = phase != "Pending" or waiting is not None
    container = {"name": "pytorch", "ready": phase == "Running", "restartCount": restarts, "state": state}
    status = {"phase": phase, "conditions": conditions or [], "containerStatuses": [container] if started else []}
    about = meta(job)
    about["name"] = name
    about["labels"] |= {
        "training.kubeflow.org/job-name": job,
        "training.kubeflow.org/replica-index": str(rank),
        "training.kubeflow.org/replica-type": "worker",
    }
    about["uid"] = uid or f"{name}-1"
    owner = cluster.see(PYTORCHJOB, job)["metadata"]["uid"]
    about["ownerReferences"] = [{"kind": "PyTorchJob", "name": job, "uid": owner}]
    if terminating:
        about["deletionTimestamp"] = stamp(cluster.now)
    if log is not None or phase == "Running":
        cluster.logs[name] = log if log is not None else [f"rank {rank} says hello"]
    spec = {"containers": [{"name": "pytorch", "image": "trm:1"}], "nodeName": f"node-{rank}"}
    return cluster.put(POD, {"metadata": about, "spec": spec, "status": status})


def unschedulable(message: str) -> list[Object]:
    """Return the condition of a pod that finds no machine."""
    return [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]


def add_event(
    cluster: FakeCluster,
    reason: str,
    message: str,
    about: str = "demo-0123abcd",
    *,
    kind: str = "PyTorchJob",
    type: str = "Warning",
    count: int | None = 1,
) -> Object:
    """Put an event about an object into the cluster."""
    number = len(cluster.names(EVENT))
    body = {
        "metadata": {"name": f"{about}.{number}"},
        "involvedObject": {"kind": kind, "name": about},
        "reason": reason, "message": message, "type": type, "count": count, "lastTimestamp": stamp(cluster.now),
    }  # fmt: skip
    return cluster.put(EVENT, body)


def add_trainjob(
    cluster: FakeCluster, *conditions: Object, job: str = "demo-0123abcd", status: dict[str, Any] | None = None
) -> Object:
    """Put a TrainJob into the cluster, and have it served."""
    cluster.served |= {TRAINJOB}
    spec = {"runtimeRef": {"name": "trm"}, "trainer": {"numNodes": 2, "resourcesPerNode": {"limits": {"cpu": "4"}}}}
    found = {"conditions": list(conditions), **(status or {})}
    return cluster.put(TRAINJOB, {"metadata": meta(job), "spec": spec, "status": found})


def add_workflow(cluster: FakeCluster, phase: str, message: str = "", job: str = "demo-0123abcd") -> Object:
    """Put an Argo workflow into the cluster."""
    body = {"metadata": meta(job), "spec": {}, "status": {"phase": phase, "message": message}}
    return cluster.put(WORKFLOW, body)


def job_kind(cluster: FakeCluster, job: str = "demo-0123abcd") -> Kind:
    """Return the kind of the job that the cluster has under a name."""
    return next(kind for kind in (PYTORCHJOB, TRAINJOB, WORKFLOW) if job in cluster.names(kind))
