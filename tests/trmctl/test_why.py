"""Why a run does not train: what was seen on running controllers, and what is said of it."""

import json
from typing import Any

import pytest

from tests.trmctl.cluster_objects import (
    add_event,
    add_job,
    add_pod,
    add_trainjob,
    add_workflow,
    condition,
    created,
    failed,
    running,
    succeeded,
    unschedulable,
)
from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cluster import CLUSTER_QUEUE, EVENT, KUEUE_WORKLOAD, LOCAL_QUEUE, WORKFLOW, Object
from trmctl.diagnosis.evidence import Evidence, gather
from trmctl.diagnosis.why import Finding, explain, well
from trmctl.jobs import find
from trmctl.phase import QUEUE

JOB = "demo-0123abcd"
POD = f"{JOB}-worker-0"
SUSPENDED = [created(), condition("Suspended")]


def evidence(cluster: FakeCluster) -> Evidence:
    return gather(cluster, find(cluster, "demo"), now=lambda: cluster.now)


def findings(cluster: FakeCluster) -> list[Finding]:
    return explain(evidence(cluster))


def first(cluster: FakeCluster) -> Finding:
    found = findings(cluster)
    assert found
    assert all(one.title and one.next for one in found)
    return found[0]


def accepted(*conditions: Object, workers: int = 1) -> FakeCluster:
    """Return a cluster with a job whose pods are made."""
    cluster = FakeCluster()
    add_job(cluster, JOB, *(conditions or [created()]), workers=workers)
    return cluster


@pytest.mark.parametrize(
    ("reason", "message", "title"),
    [
        ("ErrImagePull", 'failed to pull and unpack image "x": not found', "the image cannot be pulled"),
        ("ImagePullBackOff", 'Back-off pulling image "X"', "the image cannot be pulled"),
        (
            "ErrImagePull",
            "failed to authorize: 401 Unauthorized",
            "the registry does not let the cluster have the image",
        ),
        ("ErrImagePull", "dial tcp: lookup r.example: no such host", "the registry cannot be reached from the machine"),
        ("InvalidImageName", "couldn't parse image name", "the name of the image is no name of an image"),
        ("ErrImageNeverPull", "", "the image is not on the machine, and pulling it is forbidden"),
        ("CreateContainerConfigError", 'secret "trm-s3" not found', "a Secret, or a key of it, is missing"),
        ("CreateContainerConfigError", "couldn't find key K in Secret n/s", "a Secret, or a key of it, is missing"),
        ("CrashLoopBackOff", "back-off 40s restarting", "a container ends again and again"),
        ("RunContainerError", "exec format error", "the container cannot be started"),
    ],
)
def test_a_container_that_waits_says_for_what(reason: str, message: str, title: str) -> None:
    cluster = accepted()
    add_pod(cluster, 0, "Pending", waiting=(reason, message))
    found = first(cluster)
    assert found.title == title
    assert reason in found.evidence[0]


def test_the_cause_of_a_back_off_is_taken_from_the_events() -> None:
    cluster = accepted()
    add_pod(cluster, 0, "Pending", waiting=("ImagePullBackOff", 'Back-off pulling image "X"'))
    add_event(cluster, "Failed", 'Failed to pull image "X": 403 Forbidden: denied', POD, kind="Pod")
    assert first(cluster).title == "the registry does not let the cluster have the image"


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("0/1 nodes are available: 1 Insufficient cpu. no new claims", "no machine has that much free"),
        (
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
            "no machine has enough free GPUs or network devices",
        ),
        ("1 node(s) didn't match Pod's node affinity/selector", "no machine has the labels asked for"),
        ("0/1 nodes are available: 1 node(s) were unschedulable.", "the machines are cordoned"),
        ("1 node(s) had untolerated taint(s)", "the machines have a taint that the run does not tolerate"),
        ("1 node(s) had untolerated taint {gpu: true}", "the machines have a taint that the run does not tolerate"),
        ('persistentvolumeclaim "absent" not found', "a PersistentVolumeClaim is missing"),
        ("node(s) didn't match pod topology spread constraints", "there are fewer machines than pods, and each wants"),
        ("something nobody has seen", "no machine takes its pods"),
    ],
)
def test_a_pod_without_a_machine_says_what_machines_lack(message: str, title: str) -> None:
    cluster = accepted()
    add_pod(cluster, 0, "Pending", conditions=unschedulable(message))
    found = first(cluster)
    assert found.title.startswith(title)
    assert message in found.evidence


def test_half_a_gang_is_counted() -> None:
    cluster = accepted(*running(), workers=2)
    add_pod(cluster, 0)
    add_pod(cluster, 1, "Pending", conditions=unschedulable("0/2 nodes are available: 2 Insufficient nvidia.com/gpu."))
    found = first(cluster)
    assert found.title.startswith("1 of 2 pods get no machine: no machine has enough free GPUs")
    assert "cluster.queue" in found.next


@pytest.mark.parametrize(
    ("reason", "message", "title"),
    [
        (
            "FailedCreatePod", 'pods "P" is forbidden: violates PodSecurity "restricted:latest": a != b',
            "the namespace's PodSecurity level forbids the pods",
        ),
        ("FailedCreatePod", "is forbidden: exceeded quota: team, requested: cpu=2", "the namespace's quota is used up"),
        ("FailedCreatePod", "failed quota: team: must specify limits.memory", "the namespace's quota wants limits"),
        ("FailedCreatePod", "no PriorityClass with name nope was found", "the PriorityClass is not there"),
        ("FailedCreatePod", 'error looking up service account a/b: serviceaccount "b" not found', "the service"),
        ("FailedCreatePod", 'object is being deleted: pods "P" already exists', "pods of an earlier job of this name"),
        ("FailedCreatePod", 'Pod "P" is invalid: metadata.labels', "the cluster refuses the pods as they are rendered"),
        ("FailedCreateService", "must be no more than 63 characters", "the job's name is too long"),
    ],
)  # fmt: skip
def test_pods_that_cannot_be_made_leave_only_an_event(reason: str, message: str, title: str) -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB)
    add_event(cluster, reason, message, count=14)
    found = first(cluster)
    assert found.title.startswith(title)
    assert message in found.evidence


def test_a_job_that_nobody_takes_up_means_that_the_operator_is_down_but_not_at_once() -> None:
    for add in (add_job, add_trainjob, lambda cluster: add_workflow(cluster, "")):
        cluster = FakeCluster()
        add(cluster)
        assert findings(cluster) == []
        cluster.now += 60
        found = first(cluster)
        assert (found.title, "operator is down" in found.next) == ("nobody has taken it up", True)


def test_a_volume_that_cannot_be_mounted_is_told_by_the_pods_event_alone() -> None:
    cluster = accepted()
    add_pod(cluster, 0, "Pending", waiting=("ContainerCreating", ""))
    assert findings(cluster) == []
    text = 'MountVolume.SetUp failed for volume "c" : configmap "absent-config" not found'
    add_event(cluster, "FailedMount", text, POD, kind="Pod")
    assert first(cluster).title == "a ConfigMap is missing"


def words(code: int, reason: str, message: str = "text") -> str:
    return json.dumps({"exit": code, "reason": reason, "message": message, "step": 7})


@pytest.mark.parametrize(
    ("terminated", "title"),
    [
        ({"exitCode": 1, "reason": "OOMKilled"}, "it ran out of memory"),
        ({"exitCode": 137, "reason": "OOMKilled"}, "it ran out of memory"),
        ({"exitCode": 1, "reason": "Error", "message": words(1, "OutOfMemory")}, "it ran out of memory"),
        ({"exitCode": 1, "reason": "Error", "message": words(1, "OutOfAttempts")}, "it was started again and again"),
        ({"exitCode": 1, "reason": "Error", "message": words(1, "Deadline")}, "its time was up"),
        ({"exitCode": 2, "reason": "Error", "message": words(2, "Config")}, "its run file cannot be used there"),
        (
            {"exitCode": 143, "reason": "Error", "message": words(143, "RendezvousTimeout")},
            "its pods did not find each",
        ),
        ({"exitCode": 143, "reason": "Error", "message": words(143, "Stalled")}, "no step was made for too long"),
        ({"exitCode": 128, "reason": "StartError", "message": "exec: torchrun"}, "its command cannot be started"),
        ({"exitCode": 1, "reason": "Error", "message": words(1, "Failed", "s3://b: AccessDenied")}, "the store cannot"),
        ({"exitCode": 9, "reason": "Error", "message": "no JSON at all {"}, "it ended with exit code 9"),
    ],
)
def test_an_ending_is_told_by_its_reason(terminated: dict[str, Any], title: str) -> None:
    cluster = accepted(*failed())
    add_pod(cluster, 0, "Failed", terminated=terminated)
    assert first(cluster).title.startswith(title)


def test_the_pod_that_failed_is_named_before_those_that_left_because_of_it() -> None:
    cluster = accepted(*failed(), workers=2)
    add_pod(cluster, 0, "Failed", terminated={"exitCode": 143, "message": words(143, "PeerLost")})
    add_pod(cluster, 1, "Failed", terminated={"exitCode": 1, "message": words(1, "Failed", "loss is nan")})
    found = first(cluster)
    assert found.title == "its training failed"
    assert found.evidence == (f"{JOB}-worker-1: exit code 1 (Failed)", "loss is nan")


def test_pods_made_again_lose_their_words_and_events_keep_them() -> None:
    cluster = accepted(created(), condition("Restarting"))
    add_pod(cluster, 0, "Pending")
    add_event(cluster, "OOMKilled", "Error pod container pytorch terminated", count=3)
    assert first(cluster).title == "it ran out of memory"
    cluster = accepted(created(), condition("Restarting"))
    add_pod(cluster, 0, "Pending")
    add_event(cluster, "Error", f"Error pod container pytorch: {words(143, 'Stalled')}")
    assert first(cluster).title.startswith("no step was made")


def test_attempts_without_progress_are_a_loop() -> None:
    cluster = accepted(*running())
    add_pod(cluster, 0)
    seen = evidence(cluster)
    ledger = [{"number": n, "step": 500, "reason": "PeerLost"} for n in range(4)]
    looped = Evidence(seen.job, seen.state, seen.pods, attempts=ledger)
    assert explain(looped)[0].title == "it is started again and again without getting further"
    going = Evidence(seen.job, seen.state, seen.pods, attempts=[{**one, "step": n} for n, one in enumerate(ledger)])
    assert explain(going) == []


def queued(*conditions: Object, exists: bool = True, taken: bool = True, **spec: Any) -> FakeCluster:
    """Return a cluster with a job that waits in a queue of Kueue."""
    cluster = FakeCluster()
    cluster.served |= {CLUSTER_QUEUE}
    job = add_job(cluster, JOB, *SUSPENDED, labels={QUEUE: "batch"})
    if exists:
        status = {"pendingWorkloads": 3, "admittedWorkloads": 2}
        cluster.put(LOCAL_QUEUE, {"metadata": {"name": "batch"}, "spec": {"clusterQueue": "all"}, "status": status})
        cluster.put(CLUSTER_QUEUE, {"metadata": {"name": "all"}, "spec": spec})
    if taken:
        labels = {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}
        body = {"metadata": {"name": "w", "labels": labels}, "status": {"conditions": list(conditions)}}
        cluster.put(KUEUE_WORKLOAD, body)
    return cluster


def test_waiting_in_a_queue_says_who_else_waits() -> None:
    found = first(queued(condition("QuotaReserved", "False", "Pending", "insufficient unused quota for gpu")))
    assert found.title == "it waits in queue 'batch'"
    assert found.evidence == ("insufficient unused quota for gpu", "3 wait and 2 run in this queue")


@pytest.mark.parametrize(
    ("cluster", "title"),
    [
        (queued(exists=False, taken=False), "there is no queue 'batch' in this namespace"),
        (queued(taken=False), "Kueue has not taken it up in queue 'batch'"),
        (queued(stopPolicy="Hold"), "queue 'batch' is stopped (Hold)"),
        (
            queued(condition("QuotaReserved", "False", "Pending", "request > maximum capacity (8 > 4)")),
            "it can never be let into queue 'batch' as it is",
        ),
        (queued(condition("Evicted", "True", "Preempted", "by a higher priority")), "Kueue took its place away"),
    ],
)  # fmt: skip
def test_a_queue_that_does_not_let_a_run_in_says_why(cluster: FakeCluster, title: str) -> None:
    assert first(cluster).title == title


def test_what_this_user_may_not_see_is_noted() -> None:
    cluster = queued()
    cluster.denied = {("get", "localqueues"), ("list", "events")}
    seen = evidence(cluster)
    assert set(seen.notes) == {"you may not see LocalQueues", "you may not see events"}
    assert explain(seen)[0].title == "it waits in queue 'batch'"


def test_a_trainjob_whose_name_is_too_long_and_one_that_used_its_restarts() -> None:
    cluster = FakeCluster()
    add_trainjob(cluster)
    add_event(cluster, "TrainJobResourcesCreationFailed", "JobSet name is too long, job names …", kind="TrainJob")
    assert first(cluster).title == "the job's name is too long"
    cluster = FakeCluster()
    add_trainjob(cluster, condition("Failed", reason="ReachedMaxRestarts", message="jobset failed"))
    assert "ReachedMaxRestarts" in first(cluster).evidence


def test_the_step_of_a_workflow_that_failed_is_named() -> None:
    cluster = FakeCluster()
    add_workflow(cluster, "Failed", "child 'x' failed")
    nodes = {"n": {"type": "Pod", "phase": "Failed", "displayName": "train", "message": "Error (exit code 6)"}}
    cluster.edit(WORKFLOW, JOB, status={"phase": "Failed", "nodes": nodes})
    assert (first(cluster).title, first(cluster).evidence) == ("step train failed", ("Error (exit code 6)",))


def test_a_pod_that_is_evicted_says_so() -> None:
    cluster = accepted(*running(), workers=1)
    target = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "evicting"}]
    add_pod(cluster, 0, terminating=True, conditions=target)
    assert first(cluster).title == "a pod is put off its machine"


def test_pods_that_run_for_long_without_a_step_are_reported() -> None:
    cluster = accepted(*running())
    add_pod(cluster, 0)
    cluster.ports[(POD, 9400, "/metrics")] = "trm_store_lag 1\n"
    assert findings(cluster) == []
    cluster.now += 3600
    assert first(cluster).title == "it runs and reports no step"


@pytest.mark.parametrize(("conditions", "said"), [(running(), "its pods run"), (succeeded(), "it is done")])
def test_harmless_noise_is_not_reported(conditions: list[Object], said: str) -> None:
    cluster = accepted(*conditions)
    over = "Succeeded" in [one["type"] for one in conditions]
    noise = "recvVector failed: Connection was likely closed\nRendezvousConnectionError"
    add_pod(cluster, 0, **({"phase": "Succeeded", "terminated": {"exitCode": 0, "message": noise}} if over else {}))
    add_event(cluster, "PyTorchJobRestarting", "job is restarting because 1 Worker replica(s) failed.")
    add_event(cluster, "FailedScheduling", "0/1 nodes are available", POD, kind="Pod", count=None)
    add_event(cluster, "Pulled", "Container image is already there", POD, kind="Pod", type="Normal")
    seen = evidence(cluster)
    assert explain(seen) == []
    assert said in well(seen)


def test_events_that_lack_everything_are_read_too() -> None:
    cluster = accepted(created(), condition("Restarting"))
    cluster.put(EVENT, {"metadata": {"name": "e"}, "involvedObject": {"name": JOB}})
    assert explain(evidence(cluster)) == []
