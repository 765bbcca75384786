"""The job that scores the checkpoints of another is made, shown, paused and removed along with it."""

from typing import Any

import pytest

from tests.trmctl.cluster_objects import failed, running, succeeded
from tests.trmctl.conftest import GOOD, Result, Run
from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cluster import CONFIG_MAP, POD, PYTORCHJOB, QUOTA, TRAINJOB, WORKFLOW
from trmkit.render.names import job_name
from trmkit.spec.load import loads

NAME = job_name(loads(GOOD))
SECOND = f"{NAME}-follow"
MODE = ("--set", "evaluate.mode=job", "--set", "evaluate.every_steps=5")
STORE = ("--set", "storage.remote=s3://bucket/runs")


def submit(trmctl: Run, cluster: FakeCluster, *more: str) -> Result:
    return trmctl("submit", *MODE, *STORE, *more, cluster=cluster)


@pytest.fixture
def both(trmctl: Run) -> FakeCluster:
    """Return a cluster with a run of two jobs, which train and score."""
    cluster = FakeCluster()
    assert submit(trmctl, cluster).code == 0
    for name in (NAME, SECOND):
        cluster.edit(PYTORCHJOB, name, status={"conditions": running(name)})
    return cluster


def owner(cluster: FakeCluster, kind: Any, name: str) -> str:
    found: str = cluster.see(kind, name)["metadata"]["ownerReferences"][0]["uid"]
    return found


def uid(cluster: FakeCluster, name: str) -> str:
    found: str = cluster.see(PYTORCHJOB, name)["metadata"]["uid"]
    return found


def test_the_second_job_belongs_to_the_first_and_twice_is_once(trmctl: Run) -> None:
    cluster = FakeCluster()
    result = submit(trmctl, cluster)
    assert (result.code, result.out) == (0, f"{NAME}\n")
    assert f"PyTorchJob {SECOND} scores checkpoints, in one pod" in result.err
    assert owner(cluster, PYTORCHJOB, SECOND) == uid(cluster, NAME)
    assert owner(cluster, CONFIG_MAP, SECOND) == uid(cluster, SECOND)
    assert owner(cluster, CONFIG_MAP, NAME) == uid(cluster, NAME)
    before = len(cluster.mutations)
    assert "adopted" in submit(trmctl, cluster).err
    assert len(cluster.mutations) == before


def test_a_trainjob_is_followed_by_a_trainjob(trmctl: Run) -> None:
    cluster = FakeCluster("team", TRAINJOB)
    cluster.denied = {("get", "clustertrainingruntimes")}
    assert submit(trmctl, cluster).code == 0
    assert sorted(cluster.names(TRAINJOB)) == sorted([NAME, SECOND])


def test_one_that_died_between_the_two_is_finished_by_the_next(trmctl: Run, both: FakeCluster) -> None:
    both.delete(PYTORCHJOB, SECOND)
    assert "adopted" in submit(trmctl, both).err
    assert owner(both, PYTORCHJOB, SECOND) == uid(both, NAME)


def test_who_scores_is_made_anew_when_it_failed_and_training_is_left_alone(trmctl: Run, both: FakeCluster) -> None:
    both.edit(PYTORCHJOB, SECOND, status={"conditions": failed(SECOND)})
    first, second = uid(both, NAME), uid(both, SECOND)
    assert submit(trmctl, both).code == 0
    assert uid(both, NAME) == first
    assert uid(both, SECOND) != second


def test_both_are_replaced_together(trmctl: Run, both: FakeCluster) -> None:
    first, second = uid(both, NAME), uid(both, SECOND)
    assert submit(trmctl, both, "--set", "cluster.memory=1Gi").code == 2
    assert submit(trmctl, both, "--set", "cluster.memory=1Gi", "--if-exists", "replace").code == 0
    assert uid(both, NAME) != first
    assert uid(both, SECOND) != second
    assert owner(both, PYTORCHJOB, SECOND) == uid(both, NAME)
    assert 'memory: "1Gi"' in both.see(CONFIG_MAP, SECOND)["data"]["run.yaml"]


def test_one_that_belongs_to_an_earlier_job_is_not_taken_for_this_ones(trmctl: Run, both: FakeCluster) -> None:
    both.remove(PYTORCHJOB, NAME)  # and Kubernetes has not yet got to what belonged to it
    second = uid(both, SECOND)
    assert submit(trmctl, both).code == 0
    assert uid(both, SECOND) != second
    assert owner(both, PYTORCHJOB, SECOND) == uid(both, NAME)


@pytest.mark.parametrize("verb", ["cancel", "delete"])
def test_it_goes_with_the_job_that_trains(trmctl: Run, both: FakeCluster, verb: str) -> None:
    assert trmctl(verb, "little", cluster=both).code == 0
    assert both.names(PYTORCHJOB) == []
    assert both.names(CONFIG_MAP) == ([NAME] if verb == "cancel" else [])
    if verb == "cancel":
        assert trmctl("resubmit", "little", "-y", cluster=both).code == 0
        assert sorted(both.names(PYTORCHJOB)) == sorted([NAME, SECOND])


def test_a_run_that_only_scores_still_can_be_cancelled(trmctl: Run, both: FakeCluster) -> None:
    both.edit(PYTORCHJOB, NAME, status={"conditions": succeeded(NAME)})
    assert trmctl("cancel", NAME, cluster=both).code == 0
    assert both.names(PYTORCHJOB) == [NAME]


def test_what_still_scores_is_not_swept_away_with_its_training(trmctl: Run, both: FakeCluster) -> None:
    both.edit(PYTORCHJOB, NAME, status={"conditions": succeeded(NAME, at="2020-01-01T00:00:00Z")})
    trmctl("delete", "--finished", "--older-than", "1d", cluster=both)
    assert sorted(both.names(PYTORCHJOB)) == sorted([NAME, SECOND])
    both.edit(PYTORCHJOB, SECOND, status={"conditions": succeeded(SECOND, at="2020-01-01T00:00:00Z")})
    trmctl("delete", "--finished", "--older-than", "1d", cluster=both)
    assert both.names(PYTORCHJOB) == []


def test_both_are_paused_and_go_on_together(trmctl: Run, both: FakeCluster) -> None:
    def suspended() -> list[bool]:
        return [both.see(PYTORCHJOB, one)["spec"]["runPolicy"]["suspend"] for one in (NAME, SECOND)]

    trmctl("pause", "little", cluster=both)
    assert suspended() == [True, True]
    trmctl("resume", "little", cluster=both)
    assert suspended() == [False, False]


def test_a_run_is_the_job_that_trains_and_the_other_has_its_own_name(trmctl: Run, both: FakeCluster) -> None:
    for text in ("little", NAME):
        result = trmctl("status", text, "-o", "name", cluster=both)
        assert result.out == f"{NAME}\n"
        assert "taking" not in result.err
    assert trmctl("status", SECOND, "-o", "name", cluster=both).out == f"{SECOND}\n"
    assert f"{SECOND} scores its checkpoints: running" in trmctl("status", "little", cluster=both).err
    listed = trmctl("list", "-o", "name", cluster=both).out.split()
    assert sorted(listed) == sorted([f"little/{NAME.rpartition('-')[2]}", SECOND])


def test_why_says_what_keeps_the_second_job_when_the_first_is_well(trmctl: Run, both: FakeCluster) -> None:
    both.edit(PYTORCHJOB, SECOND, status={"conditions": failed(SECOND)})
    assert f"{SECOND}, which scores it".lower() in trmctl("why", "little", cluster=both).out.lower()


def test_waiting_is_waiting_for_both(trmctl: Run, both: FakeCluster) -> None:
    both.edit(PYTORCHJOB, NAME, status={"conditions": succeeded(NAME)})
    both.script = [
        lambda: None,
        lambda: both.edit(PYTORCHJOB, SECOND, status={"conditions": succeeded(SECOND)}),
    ]
    assert submit(trmctl, both, "--wait").code == 0
    both.edit(PYTORCHJOB, NAME, status={"conditions": failed(NAME)})
    assert both.script == []


def test_the_second_is_not_handed_in_by_itself(trmctl: Run, both: FakeCluster) -> None:
    result = trmctl("resubmit", SECOND, "--set", "cluster.memory=1Gi", cluster=both)
    assert result.code == 2
    assert f"trmctl resubmit {NAME}" in result.err


def test_a_dry_run_tries_both_and_prints_both(trmctl: Run) -> None:
    cluster = FakeCluster()
    result = submit(trmctl, cluster, "--dry-run", "server", "-o", "yaml")
    assert result.code == 0
    assert cluster.mutations == []
    assert result.out.count("kind: PyTorchJob") == result.out.count("kind: ConfigMap") == 2
    assert trmctl("render", "-c", "run.yaml", *MODE, *STORE).out.count("kind: PyTorchJob") == 2
    refused = trmctl("submit", *MODE, cluster=cluster)
    assert refused.code == 2
    assert "have nothing to meet in" in refused.err


def test_the_quota_has_to_be_enough_for_both(trmctl: Run) -> None:
    cluster = FakeCluster()
    cluster.put(QUOTA, {"metadata": {"name": "team"}, "status": {"hard": {"pods": "1"}, "used": {"pods": "0"}}})
    assert "2 pods ask for 2" in submit(trmctl, cluster).err
    assert cluster.names(PYTORCHJOB) == []


def test_the_train_step_of_a_pipeline_hands_in_both(trmctl: Run) -> None:
    cluster = FakeCluster()
    result = submit(trmctl, cluster, "--stages", "train")
    assert result.code == 0
    commands = [
        cluster.see(PYTORCHJOB, name)["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0][
            "command"
        ][-1]
        for name in (NAME, SECOND)
    ]
    assert commands == ["train", "follow"]
    assert cluster.names(WORKFLOW) == cluster.names(POD) == []
    pipeline = submit(trmctl, cluster, "--pipeline", "--dry-run", "client", "-o", "yaml")
    assert pipeline.code == 0, pipeline.err
    assert "Workflow" in pipeline.out
    assert SECOND not in pipeline.out
