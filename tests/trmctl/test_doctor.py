"""`trmctl doctor`: every check ends in a line."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.trmctl.conftest import Run
from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cluster import (
    CONFIG_MAP,
    DEPLOYMENT,
    LOCAL_QUEUE,
    NAMESPACE,
    NODE,
    POD_MONITOR,
    PRIORITY_CLASS,
    PROMETHEUS,
    PYTORCHJOB,
    SERVICE_ACCOUNT,
    TRAINJOB,
    WORKFLOW,
    WORKFLOW_TEMPLATE,
)
from trmkit.errors import ClusterUnreachableError

CHECKS = {
    "API server", "kinds", "defaults", "operators", "dry run of a job", "rights", "useful rights", "PodSecurity",
    "run file", "queue", "machines", "priority class", "accounts", "TrainJob runtime", "TrmRun", "Prometheus", "Argo",
    "store",
}  # fmt: skip


def healthy() -> FakeCluster:
    """Return a cluster in which nothing is missing."""
    cluster = FakeCluster(
        "team",
        PYTORCHJOB,
        WORKFLOW,
        WORKFLOW_TEMPLATE,
        LOCAL_QUEUE,
        DEPLOYMENT,
        POD_MONITOR,
        PROMETHEUS,
        PRIORITY_CLASS,
    )
    cluster.put(
        NAMESPACE, {"metadata": {"name": "team", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    )
    for namespace, name in (("kubeflow", "training-operator"), ("argo", "workflow-controller")):
        cluster.put(DEPLOYMENT, {"metadata": {"name": name, "namespace": namespace}, "status": {"readyReplicas": 1}})
    for name in ("trm-trainer", "trm-step", "trm-workflow"):
        cluster.put(SERVICE_ACCOUNT, {"metadata": {"name": name}})
    cluster.put(WORKFLOW_TEMPLATE, {"metadata": {"name": "trm-pipeline"}})
    cluster.put(LOCAL_QUEUE, {"metadata": {"name": "batch"}})
    kueue = "integrations:\n  frameworks:\n  - batch/job\n  - kubeflow.org/pytorchjob\n"
    cluster.put(CONFIG_MAP, {
        "metadata": {"name": "kueue-manager-config", "namespace": "kueue-system"},
        "data": {"controller_manager_config.yaml": kueue},
    })  # fmt: skip
    for number in range(2):
        status = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"nvidia.com/gpu": "8"}}
        cluster.put(NODE, {"metadata": {"name": f"node-{number}"}, "status": status})
    cluster.put(POD_MONITOR, {"metadata": {"name": "trm", "labels": {"release": "prometheus"}}})
    selector = {"matchLabels": {"release": "prometheus"}}
    cluster.put(PROMETHEUS, {"metadata": {"name": "p", "namespace": "m"}, "spec": {"podMonitorSelector": selector}})
    return cluster


def findings(trmctl: Run, cluster: FakeCluster, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(trmctl("doctor", "-o", "json", *arguments, cluster=cluster).out)[
        "findings"
    ]
    return found


def failures(found: list[dict[str, Any]]) -> str:
    return "\n".join(f"{one['check']}: {one['message']}" for one in found if one["state"] == "failed")


def test_a_healthy_cluster_passes_and_no_check_is_left_out(trmctl: Run) -> None:
    result = trmctl("doctor", cluster=healthy())
    assert result.code == 0
    found = findings(trmctl, healthy())
    assert {one["check"] for one in found} == CHECKS
    assert failures(found) == ""
    states = {one["check"]: one["state"] for one in found}
    assert states["store"] == states["run file"] == "not needed"


def test_with_a_run_file_its_own_needs_and_its_store_are_looked_at(trmctl: Run, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    wanted = ("-c", "run.yaml", "--store", str(tmp_path / "store"), "--set", "cluster.queue=batch")
    found = findings(trmctl, healthy(), *wanted, "--set", "cluster.gpus_per_node=8", "--set", "cluster.nodes=1")
    assert failures(found) == ""
    assert "put" in next(one["message"] for one in found if one["check"] == "store")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["cluster.queue=none-such"], "no LocalQueue 'none-such'"),
        (["cluster.priority_class=high"], "no PriorityClass 'high'"),
        (["cluster.service_account=me"], "no service account me"),
        (["cluster.gpus_per_node=16", "train.batch_size=16"], "0 of 1 machines have 16 nvidia.com/gpu"),
        (["cluster.storage_secret=s3"], "no Secret 's3'"),
    ],
)
def test_what_a_run_file_names_and_the_cluster_has_not_is_said(trmctl: Run, settings: list[str], words: str) -> None:
    changes = [word for setting in settings for word in ("--set", setting)]
    assert words in failures(findings(trmctl, healthy(), "-c", "run.yaml", *changes))


def test_a_queue_that_kueue_ignores_is_said(trmctl: Run) -> None:
    cluster = healthy()
    config = cluster.see(CONFIG_MAP, "kueue-manager-config", "kueue-system")
    text = config["data"]["controller_manager_config.yaml"].replace("- kubeflow", "# - kubeflow")
    cluster.put(CONFIG_MAP, {**config, "data": {"controller_manager_config.yaml": text}})
    found = findings(trmctl, cluster, "-c", "run.yaml", "--set", "cluster.queue=batch")
    assert "Kueue ignores every PyTorchJob" in failures(found)
    assert "Kueue ignores" in trmctl("doctor", cluster=cluster).out


def test_a_pod_monitor_that_no_prometheus_takes_is_said(trmctl: Run) -> None:
    cluster = healthy()
    cluster.put(POD_MONITOR, {"metadata": {"name": "trm", "labels": {}}})
    assert "no Prometheus selects PodMonitor trm" in trmctl("doctor", cluster=cluster).out


def test_a_cluster_without_operators_fails_and_says_what_to_install(trmctl: Run) -> None:
    result = trmctl("doctor", cluster=FakeCluster("team", WORKFLOW))
    assert result.code == 1
    assert "neither PyTorchJob nor TrainJob is served" in result.out
    assert "there is no namespace team" in result.out
    assert "JobSet" in trmctl("doctor", cluster=FakeCluster("team", TRAINJOB)).out


def test_what_may_not_be_looked_at_is_unknown_and_the_rest_goes_on(trmctl: Run) -> None:
    cluster = healthy()
    cluster.denied = {("list", "nodes"), ("list", "deployments"), ("create", "pods/exec"), ("delete", "pytorchjobs")}
    found = findings(trmctl, cluster)
    states = {one["check"]: one["state"] for one in found}
    assert states["machines"] == states["operators"] == "unknown"
    assert "delete pytorchjobs" in failures(found)
    assert {one["check"] for one in found} == CHECKS


@pytest.mark.parametrize(("ahead", "state"), [(5.0, None), (60.0, "warning"), (-600.0, "failed")])
def test_clocks_that_differ_are_said(trmctl: Run, ahead: float, state: str | None) -> None:
    cluster = healthy()
    cluster.clock_ahead = ahead
    said = [one for one in findings(trmctl, cluster) if "clock" in one["message"]]
    assert [one["state"] for one in said] == ([] if state is None else [state])


def test_a_cluster_that_cannot_be_reached_is_one_failure_and_exit_3(trmctl: Run) -> None:
    cluster = healthy()
    cluster.fail("server", None, ClusterUnreachableError("connection refused", next="check --context"), times=2)
    result = trmctl("doctor", cluster=cluster)
    assert result.code == 3
    assert "connection refused" in result.out
    assert trmctl("doctor").code == 3


def test_from_inside_what_a_persons_rights_decide_is_left_to_the_person(trmctl: Run, tmp_path: Path) -> None:
    cluster = healthy()
    (tmp_path / "store").mkdir()
    found = findings(trmctl, cluster, "--in-cluster", "--store", str(tmp_path / "store"))
    states = {one["check"]: one["state"] for one in found}
    assert states["rights"] == states["useful rights"] == states["dry run of a job"] == "not needed"
    assert {one["check"] for one in found} == CHECKS
    assert states["store"] == "ok"
    assert not any(verb in ("create", "allowed") for verb, _, _ in cluster.calls)


def test_outside_of_a_pod_there_is_no_inside(trmctl: Run) -> None:
    result = trmctl("doctor", "--in-cluster")
    assert result.code == 3
    assert "in no pod with a service account" in result.out


def test_a_run_is_looked_at_as_submit_would_send_it(trmctl: Run) -> None:
    cluster = healthy()
    text = "cluster: {queue: none-such}\n"
    cluster.put(CONFIG_MAP, {"metadata": {"name": "trm-defaults"}, "data": {"defaults.yaml": text}})
    found = findings(trmctl, cluster, "-c", "run.yaml")
    assert "there is no LocalQueue 'none-such'" in failures(found)
    assert any(one["check"] == "defaults" and "cluster.queue" in one["message"] for one in found)
    cluster.put(CONFIG_MAP, {"metadata": {"name": "trm-defaults"}, "data": {"defaults.yaml": "cluster: {nodes: 2}"}})
    assert "cluster.nodes: a namespace cannot decide that" in failures(findings(trmctl, cluster))


def test_from_inside_the_store_of_the_defaults_is_tried(trmctl: Run, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = healthy()
    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    text = f"storage: {{remote: '{s3}', endpoint_url: '{endpoint}', addressing: path}}\n"
    cluster.put(CONFIG_MAP, {"metadata": {"name": "trm-defaults"}, "data": {"defaults.yaml": text}})
    found = {one["check"]: one for one in findings(trmctl, cluster, "--in-cluster")}
    assert found["store"]["state"] == "ok", found["store"]
    assert s3 in found["store"]["message"]
    outside = {one["check"]: one["state"] for one in findings(trmctl, cluster)}
    assert outside["store"] == "not needed"


def test_the_queue_that_a_namespace_gives_to_its_runs_has_to_be_there(trmctl: Run) -> None:
    cluster = healthy()
    for queue, said in (("batch", ""), ("gone", "there is no LocalQueue 'gone' here")):
        text = f"cluster: {{queue: {queue}}}\n"
        cluster.put(CONFIG_MAP, {"metadata": {"name": "trm-defaults"}, "data": {"defaults.yaml": text}})
        assert said in failures(findings(trmctl, cluster, "--in-cluster"))
    assert failures(findings(trmctl, cluster)) != ""
