"""One word for how a run is doing, whatever kind of job it is."""

import json
from typing import Any

import pytest

from tests.trmctl.cluster_objects import (
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
from trmctl.cluster import POD, Object
from trmctl.phase import PAUSED, QUEUE, Phase, state_of

SUSPENDED = [created(), condition("Running", "False", "PyTorchJobSuspended"), condition("Suspended")]


def pods_of(cluster: FakeCluster) -> list[Object]:
    return cluster.list(POD)


@pytest.mark.parametrize(
    ("conditions", "phase"),
    [
        ([], Phase.PENDING),
        ([created()], Phase.PENDING),
        (running(), Phase.RUNNING),
        ([created(), condition("Restarting"), condition("Running", "False")], Phase.RESTARTING),
        (SUSPENDED, Phase.PAUSED),
        ([created(), condition("Suspended", "False", "PyTorchJobResumed"), condition("Running")], Phase.RUNNING),
        (succeeded(), Phase.SUCCEEDED),
        (failed(), Phase.FAILED),
        (list(reversed(failed())), Phase.FAILED),
    ],
)
def test_the_conditions_of_a_pytorchjob_are_read_by_type_not_by_order(conditions: list[Object], phase: Phase) -> None:
    assert state_of(add_job(FakeCluster(), "demo-0123abcd", *conditions)).phase == phase


def test_a_job_that_is_being_deleted_says_so() -> None:
    job = add_job(FakeCluster(), "demo-0123abcd", *running())
    job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert state_of(job).phase == Phase.DELETING


def test_running_means_that_all_pods_run() -> None:
    cluster = FakeCluster()
    job = add_job(cluster, "demo-0123abcd", *running())
    add_pod(cluster, 0)
    add_pod(cluster, 1, "Pending", conditions=unschedulable("0/1 nodes are available"))
    half = state_of(job, pods_of(cluster))
    assert (half.phase, half.message) == (Phase.STARTING, "1 of 2 pods run")
    add_pod(cluster, 1)
    assert state_of(job, pods_of(cluster)).phase == Phase.RUNNING


def test_a_pod_that_ended_or_leaves_means_restarting() -> None:
    cluster = FakeCluster()
    job = add_job(cluster, "demo-0123abcd", *running())
    add_pod(cluster, 0)
    add_pod(cluster, 1, terminating=True)
    assert state_of(job, pods_of(cluster)).phase == Phase.RESTARTING
    add_pod(cluster, 1, "Failed", terminated={"exitCode": 143})
    assert state_of(job, pods_of(cluster)).phase == Phase.RESTARTING


def test_suspended_with_pods_is_stopping() -> None:
    cluster = FakeCluster()
    job = add_job(cluster, "demo-0123abcd", *SUSPENDED)
    add_pod(cluster, 0, terminating=True)
    assert state_of(job, pods_of(cluster)).phase == Phase.STOPPING


def test_suspended_by_kueue_is_queued_until_a_person_paused_it() -> None:
    job = add_job(FakeCluster(), "demo-0123abcd", *SUSPENDED, labels={QUEUE: "batch"})
    assert state_of(job).phase == Phase.QUEUED
    waits = {"status": {"conditions": [condition("QuotaReserved", "False", "Pending", "no room")]}}
    assert state_of(job, [], waits).message == "no room"
    assert state_of(job, [], {"spec": {"active": False}}).phase == Phase.PAUSED
    job["metadata"]["annotations"][PAUSED] = "2026-01-01T00:00:00Z"
    assert state_of(job).phase == Phase.PAUSED


@pytest.mark.parametrize(
    ("conditions", "status", "phase"),
    [
        ([], {}, Phase.PENDING),
        ([], {"jobsStatus": [{"name": "node", "active": 1, "ready": 0}]}, Phase.STARTING),
        ([], {"jobsStatus": [{"name": "node", "active": 1, "ready": 1}]}, Phase.RUNNING),
        ([], {"jobsStatus": [{"name": "node", "active": 0, "ready": 0, "failed": 1}]}, Phase.RESTARTING),
        ([condition("Suspended", reason="Suspended")], {}, Phase.PAUSED),
        ([condition("Suspended", "False", "Resumed")], {"jobsStatus": [{"ready": 1}]}, Phase.RUNNING),
        ([condition("Complete", reason="AllJobsCompleted")], {}, Phase.SUCCEEDED),
        ([condition("Failed", reason="FailJobSetFailurePolicyAction")], {}, Phase.FAILED),
    ],
)
def test_a_trainjob_is_read_from_counts_while_it_runs(
    conditions: list[Object], status: dict[str, Any], phase: Phase
) -> None:
    assert state_of(add_trainjob(FakeCluster(), *conditions, status=status)).phase == phase


@pytest.mark.parametrize(
    ("phase", "ours"),
    [
        ("", Phase.PENDING),
        ("Pending", Phase.PENDING),
        ("Running", Phase.RUNNING),
        ("Succeeded", Phase.SUCCEEDED),
        ("Failed", Phase.FAILED),
        ("Error", Phase.FAILED),
    ],
)
def test_phases_of_workflows_become_ours(phase: str, ours: Phase) -> None:
    assert state_of(add_workflow(FakeCluster(), phase)).phase == ours


def test_a_workflow_that_is_stopped_or_suspended_says_so() -> None:
    workflow = add_workflow(FakeCluster(), "Running")
    workflow["spec"] = {"suspend": True}
    assert state_of(workflow).phase == Phase.PAUSED
    workflow["spec"] = {"shutdown": "Stop"}
    assert state_of(workflow).phase == Phase.STOPPING


def test_the_exit_code_says_whether_trying_again_may_help() -> None:
    assert state_of(add_job(FakeCluster(), "demo-0123abcd", *succeeded())).exit_code == 0
    cluster = FakeCluster()
    job = add_job(cluster, "demo-0123abcd", *failed())
    words = json.dumps({"exit": 143, "reason": "PeerLost", "message": "rank 1 went away", "step": 7})
    add_pod(cluster, 0, "Failed", terminated={"exitCode": 143, "reason": "Error", "message": words})
    lost = state_of(job, pods_of(cluster))
    assert (lost.reason, lost.exit_code) == ("PeerLost", 6)
    add_pod(cluster, 1, "Failed", terminated={"exitCode": 1, "reason": "Error", "message": "ValueError: loss is nan"})
    broken = state_of(job, pods_of(cluster))
    assert (broken.message, broken.exit_code) == ("exit code 1: ValueError: loss is nan", 1)
    spent = add_trainjob(FakeCluster(), condition("Failed", reason="ReachedMaxRestarts"))
    assert state_of(spent).exit_code == 6


def test_running_out_of_memory_is_known_by_its_reason_whatever_the_code() -> None:
    cluster = FakeCluster()
    job = add_job(cluster, "demo-0123abcd", *failed())
    add_pod(cluster, 0, "Failed", terminated={"exitCode": 1, "reason": "OOMKilled"})
    assert state_of(job, pods_of(cluster)).reason == "OutOfMemory"


def test_objects_that_lack_everything_are_read_too() -> None:
    for kind in ("PyTorchJob", "TrainJob", "Workflow", "Unknown"):
        assert state_of({"kind": kind}, [{}], {}).phase in Phase
