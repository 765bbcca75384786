"""The list of runs: a cluster and a store joined, and what is shown where one of them is missing."""

import json
from pathlib import Path

import pytest

from tests.trmctl.cluster_objects import add_job, add_pod, add_trainjob, add_workflow, created, running
from tests.trmctl.conftest import Run
from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cluster import PYTORCHJOB, TRAINJOB
from trmctl.screens.listing import join, left, samples
from trmkit.errors import ClusterUnreachableError
from trmkit.render.names import STORE
from trmkit.store.catalog import Listed, announce
from trmkit.store.folder import FolderStore

JOB = "demo-0123abcd"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Return a store that knows the run of the cluster, and one that is not there any more."""
    folder = tmp_path / "share"
    folder.mkdir()
    for name, step in (("demo", 500), ("older", 1000)):
        announce(FolderStore(folder), Listed(name, "0123abcd", "training", step, 1000, "exact_accuracy", 0.25, 0.0))
    return str(folder)


def test_phase_comes_from_the_cluster_and_progress_from_the_store(trmctl: Run, store: str) -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *running(), gpus=4)
    add_job(cluster, "new-4567cdef", created(), name="new", run_id="4567cdef")
    found = trmctl("list", "--store", store, "-o", "json", cluster=cluster)
    rows = {row["run"]: row for row in json.loads(found.out)["runs"]}
    assert list(rows) == ["demo/0123abcd", "new/4567cdef", "older/0123abcd"]
    demo = rows["demo/0123abcd"]
    assert (demo["state"], demo["step"], demo["total"], demo["value"], demo["gpus"]) == ("Running", 500, 1000, 0.25, 8)
    assert (rows["new/4567cdef"]["state"], rows["older/0123abcd"]["state"]) == ("Pending", "training")
    table = trmctl("list", "--store", store, cluster=cluster).out.splitlines()
    assert table[0].split() == ["RUN", "STATE", "STEP", "BEST", "AGE", "LEFT", "GPUS"]
    assert table[1].split()[:4] == ["demo/0123abcd", "Running", "500/1000", "0.2500"]
    assert trmctl("list", "new*", "-o", "name", cluster=cluster).out == "new/4567cdef\n"


def test_few_questions_are_asked_whatever_the_number_of_runs(trmctl: Run, store: str) -> None:
    cluster = FakeCluster()
    for number in range(200):
        add_job(cluster, f"job-{number}", *running(f"job-{number}"), name=f"job-{number}", run_id=f"{number:08x}")
    assert trmctl("list", "--store", store, cluster=cluster).code == 0
    assert len(cluster.calls) <= 5


def test_every_kind_of_run_is_listed_and_kinds_that_are_not_served_left_out(trmctl: Run) -> None:
    cluster = FakeCluster()
    add_trainjob(cluster, job="a-0123abcd")
    add_workflow(cluster, "Running", job="b-0123abcd")
    found = trmctl("list", "-o", "json", cluster=cluster)
    assert {row["kind"] for row in json.loads(found.out)["runs"]} == {"TrainJob", "Workflow"}
    cluster.served -= {PYTORCHJOB, TRAINJOB}
    assert len(json.loads(trmctl("list", "-o", "json", cluster=cluster).out)["runs"]) == 1


def test_the_store_is_that_of_the_jobs_where_none_is_given(trmctl: Run, store: str) -> None:
    cluster = FakeCluster()
    job = add_job(cluster, JOB, *running())
    job["metadata"]["annotations"][STORE] = f"{store}/demo/0123abcd"
    cluster.put(PYTORCHJOB, job)
    assert "500/1000" in trmctl("list", cluster=cluster).out


def test_without_the_cluster_the_store_is_listed_and_the_other_way_round(
    trmctl: Run, store: str, tmp_path: Path
) -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *running())
    cluster.fail("list", None, ClusterUnreachableError("down"), times=1)
    done = trmctl("list", "--store", store, cluster=cluster)
    assert (done.code, "older" in done.out, "without the cluster: down" in done.err) == (0, True, True)
    done = trmctl("list", "--store", str(tmp_path / "no"), cluster=cluster)
    assert (done.code, JOB[:4] in done.out, "without the store" in done.err) == (0, True, True)
    cluster.fail("list", None, ClusterUnreachableError("down"), times=1)
    assert trmctl("list", cluster=cluster).code == 3


def test_a_cluster_is_asked_only_where_it_is_wanted_and_configured(trmctl: Run, store: str) -> None:
    cluster = FakeCluster()
    assert trmctl("list", "--store", store, "--store-only", cluster=cluster).code == 0
    assert trmctl("list", "--local", cluster=cluster).err == "no runs\n"
    assert cluster.calls == []
    assert "older" in trmctl("list", "--store", store).out
    assert trmctl("list", "--context", "lab").code == 3


def test_the_list_is_shown_again_until_ctrl_c(trmctl: Run, store: str) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    cluster = FakeCluster()
    add_job(cluster, JOB, *running())
    cluster.script = [lambda: add_pod(cluster, 0), interrupt]
    done = trmctl("list", "--watch", "--store", store, cluster=cluster)
    assert done.code == 130
    assert "demo/0123abcd" in done.out


def test_a_watched_list_survives_an_answer_that_does_not_come(trmctl: Run) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    cluster = FakeCluster()
    add_job(cluster, JOB, *running())
    gone = ClusterUnreachableError("connection refused")
    cluster.script = [lambda: cluster.fail("list", PYTORCHJOB, gone), lambda: None, interrupt]
    done = trmctl("list", "--watch", cluster=cluster)
    assert done.code == 130
    assert "still trying: connection refused" in done.out


def test_how_long_a_run_takes_is_that_of_its_speed_since_it_was_made_or_last_seen() -> None:
    row = {"run": "a", "step": 500, "total": 1000, "updated": 1000.0, "created": 0.0, "state": "Running"}
    assert left(row, {}) == 1000.0
    before = samples([{**row, "step": 400, "updated": 900.0}], {})
    assert left(row, before) == 500.0
    assert samples([row], before) == before
    assert left({**row, "state": "Queued"}, {}) is None
    assert left({**row, "total": 0}, {}) is None


def test_of_a_run_submitted_again_the_newest_job_counts_and_runs_that_go_on_come_first() -> None:
    def row(run: str, state: str, kind: str = "PyTorchJob") -> dict[str, object]:
        return {"run": run, "state": state, "kind": kind, "finished": state == "Failed", "step": 0, "total": 0,
                "updated": 0.0, "created": 0.0}  # fmt: skip

    found = join([row("a", "Failed"), row("b", "Running"), row("b", "Failed"), row("b", "Running", "Workflow")], [], {})
    assert [(one["run"], one["kind"], one["state"]) for one in found] == [
        ("b", "PyTorchJob", "Running"), ("b", "Workflow", "Running"), ("a", "PyTorchJob", "Failed"),
    ]  # fmt: skip
