"""The cluster that tests use answers as an API server does."""

import pytest

from tests.trmctl.cluster_objects import add_job, add_pod, running
from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cluster import CONFIG_MAP, POD, PYTORCHJOB, Cluster
from trmkit.errors import ClusterConflictError, ClusterForbiddenError, ClusterMissingError, ClusterUnreachableError


def test_it_is_a_cluster() -> None:
    cluster: Cluster = FakeCluster()
    assert cluster.namespace == "team"


def test_objects_are_found_by_labels_and_fields() -> None:
    cluster = FakeCluster()
    for name, tier in (("a", "x"), ("b", "y")):
        cluster.create(CONFIG_MAP, {"metadata": {"name": name, "labels": {"tier": tier}}})

    def found(labels: str = "", fields: str = "") -> list[str]:
        return [one["metadata"]["name"] for one in cluster.list(CONFIG_MAP, labels=labels, fields=fields)]

    assert found() == ["a", "b"]
    assert found("tier=x") == ["a"]
    assert found("tier in (x, y),tier!=x") == ["b"]
    assert found("!tier") == []
    assert found(fields="metadata.name!=a") == ["b"]
    assert cluster.list(CONFIG_MAP, "elsewhere") == []
    assert len(cluster.list(CONFIG_MAP, "*")) == 2


def test_a_dry_run_changes_nothing() -> None:
    cluster = FakeCluster()
    cluster.create(CONFIG_MAP, {"metadata": {"name": "a"}}, dry_run=True)
    cluster.apply(CONFIG_MAP, {"metadata": {"name": "a"}}, dry_run=True)
    assert cluster.get(CONFIG_MAP, "a") is None
    assert cluster.mutations == []


def test_a_name_is_taken_once_and_what_is_not_there_is_missing() -> None:
    cluster = FakeCluster()
    cluster.create(CONFIG_MAP, {"metadata": {"name": "a"}})
    with pytest.raises(ClusterConflictError):
        cluster.create(CONFIG_MAP, {"metadata": {"name": "a"}})
    with pytest.raises(ClusterMissingError):
        cluster.patch(CONFIG_MAP, "b", {})
    assert cluster.patch(CONFIG_MAP, "a", {"data": {"k": "v", "w": "x"}})["data"] == {"k": "v", "w": "x"}
    assert cluster.patch(CONFIG_MAP, "a", {"data": {"k": None}})["data"] == {"w": "x"}
    assert not cluster.delete(CONFIG_MAP, "b")
    assert [call[0] for call in cluster.mutations] == ["create", "patch", "patch"]


def test_pods_go_with_their_job_at_once_or_later() -> None:
    for lingering in (False, True):
        cluster = FakeCluster()
        cluster.lingering = lingering
        add_job(cluster, "demo-0123abcd", *running())
        add_pod(cluster, 0)
        assert cluster.delete(PYTORCHJOB, "demo-0123abcd")
        assert len(cluster.names(POD)) == lingering
        cluster.sweep()
        assert cluster.names(POD) == []


def test_a_watch_sees_what_is_there_then_what_the_script_does() -> None:
    cluster = FakeCluster()
    add_job(cluster)
    cluster.script = [
        lambda: cluster.edit(PYTORCHJOB, "demo-0123abcd", status={"conditions": running()}),
        lambda: cluster.remove(PYTORCHJOB, "demo-0123abcd"),
    ]
    assert [change.type for change in cluster.watch(PYTORCHJOB, seconds=9)] == ["ADDED", "MODIFIED", "DELETED"]


def test_what_is_denied_or_made_to_fail_does() -> None:
    cluster = FakeCluster()
    cluster.denied = {("get", "configmaps"), ("get", "pods/proxy")}
    assert not cluster.allowed("get", CONFIG_MAP)
    assert not cluster.allowed("get", POD, subresource="proxy")
    with pytest.raises(ClusterForbiddenError):
        cluster.get(CONFIG_MAP, "a")
    cluster.fail("list", POD, ClusterUnreachableError("down"))
    with pytest.raises(ClusterUnreachableError):
        cluster.list(POD)
    assert cluster.list(POD) == []
