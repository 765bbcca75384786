"""`trmctl submit`, `resubmit`, `sweep` and `diff` against a cluster in memory."""

import json
import threading
import time
from pathlib import Path

import pytest
import yaml

from tests.trmctl.cluster_objects import failed, running, succeeded
from tests.trmctl.conftest import GOOD, Run
from tests.trmctl.fake_cluster import FakeCluster
from trmctl import submission as s
from trmctl.cluster import (
    CONFIG_MAP,
    CRON_WORKFLOW,
    POD,
    PYTORCHJOB,
    QUOTA,
    RUNTIME,
    SECRET,
    TRAINJOB,
    WORKFLOW,
    WORKFLOW_TEMPLATE,
    Kind,
    Object,
)
from trmkit.errors import ClusterForbiddenError, ClusterMissingError, ClusterRefusedError
from trmkit.render.names import job_name
from trmkit.spec.load import loads

NAME = job_name(loads(GOOD))
STORE = ("--set", "storage.remote=s3://bucket/runs")


def config_text(cluster: FakeCluster, name: str = NAME) -> str:
    return str(cluster.see(CONFIG_MAP, name)["data"]["run.yaml"])


def test_submit_makes_the_config_map_first_and_then_the_job_that_owns_it(trmctl: Run) -> None:
    cluster = FakeCluster()
    result = trmctl("submit", cluster=cluster)
    assert (result.code, result.out) == (0, f"{NAME}\n")
    made = [(verb, kind) for verb, kind, _ in cluster.mutations]
    assert made == [("create", "configmaps"), ("create", "pytorchjobs"), ("patch", "configmaps")]
    owner = cluster.see(CONFIG_MAP, NAME)["metadata"]["ownerReferences"][0]
    assert owner["uid"] == cluster.see(PYTORCHJOB, NAME)["metadata"]["uid"]
    assert "trmctl why" in result.err


def test_submitting_twice_is_submitting_once(trmctl: Run) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    before = len(cluster.mutations)
    result = trmctl("submit", cluster=cluster)
    assert result.code == 0
    assert "adopted" in result.err
    assert len(cluster.mutations) == before
    assert cluster.names(PYTORCHJOB) == [NAME]


def test_many_who_submit_the_same_at_once_make_one_job(trmctl: Run) -> None:
    cluster, results = FakeCluster(), []
    wanted = s.job_submission(cluster, loads(GOOD))

    def one() -> None:
        results.append(s.submit(cluster, wanted, "adopt", lambda _: None)[0].uid)

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert set(results) == {cluster.see(PYTORCHJOB, NAME)["metadata"]["uid"]}


def test_one_that_died_between_config_map_and_job_is_finished_by_the_next(trmctl: Run) -> None:
    cluster = FakeCluster()
    cluster.fail("create", PYTORCHJOB, KeyboardInterrupt())  # type: ignore[arg-type]
    cluster.apply(CONFIG_MAP, s.job_submission(cluster, loads(GOOD)).config)
    assert trmctl("submit", cluster=cluster).code == 130
    assert trmctl("submit", cluster=cluster).code == 0
    assert cluster.names(PYTORCHJOB) == [NAME]


def test_other_settings_under_the_same_name_are_refused_and_said(trmctl: Run) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    result = trmctl("submit", "--set", "cluster.memory=1Gi", cluster=cluster)
    assert result.code == 2
    assert "other settings" in result.err
    assert "trmctl diff" in result.err
    shown = trmctl("diff", "run.yaml", cluster=cluster)
    assert "the run files say the same" in shown.err
    Path("other.yaml").write_text(GOOD + "cluster: {memory: 1Gi}\n", encoding="utf-8")
    assert "cluster.memory" in trmctl("diff", "other.yaml", cluster=cluster).out
    assert "cluster.memory" in trmctl("diff", "other.yaml", NAME, cluster=cluster).out


def test_fail_refuses_what_is_there_and_replace_takes_its_place(trmctl: Run) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    assert trmctl("submit", "--if-exists", "fail", cluster=cluster).code == 2
    first = cluster.see(PYTORCHJOB, NAME)["metadata"]["uid"]
    result = trmctl("submit", "--if-exists", "replace", "--set", "cluster.memory=1Gi", cluster=cluster)
    assert result.code == 0
    assert cluster.see(PYTORCHJOB, NAME)["metadata"]["uid"] != first
    assert 'memory: "1Gi"' in config_text(cluster)


def test_replace_waits_until_the_old_pods_are_gone(trmctl: Run) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    cluster.put(POD, {
        "metadata": {
            "name": f"{NAME}-worker-0", "labels": {"training.kubeflow.org/job-name": NAME},
            "ownerReferences": [{"uid": cluster.see(PYTORCHJOB, NAME)["metadata"]["uid"]}],
        }
    })  # fmt: skip
    cluster.lingering = True
    cluster.script = [lambda: None, cluster.sweep]
    assert trmctl("submit", "--if-exists", "replace", cluster=cluster).code == 0
    assert cluster.names(POD) == []
    creates = [at for at, (verb, kind, _) in enumerate(cluster.calls) if (verb, kind) == ("create", "pytorchjobs")]
    assert cluster.calls[creates[-1] - 1][0] in ("apply", "create", "get", "list")


def test_one_that_is_done_is_adopted_and_one_that_failed_is_made_anew(trmctl: Run) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    cluster.edit(PYTORCHJOB, NAME, status={"conditions": succeeded()})
    done = trmctl("submit", "--wait", cluster=cluster)
    assert done.code == 0
    assert "is there already: succeeded" in done.err
    first = cluster.edit(PYTORCHJOB, NAME, status={"conditions": failed()})["metadata"]["uid"]
    again = trmctl("submit", "--set", "cluster.memory=32Gi", cluster=cluster)
    assert again.code == 0
    assert "replaced" in again.err
    assert cluster.see(PYTORCHJOB, NAME)["metadata"]["uid"] != first


def test_two_who_submit_one_run_with_other_settings_do_not_mix(trmctl: Run) -> None:
    cluster = FakeCluster()
    other = s.job_submission(cluster, loads(GOOD, overrides=["cluster.memory=1Gi"]))
    cluster.now = time.time()
    cluster.apply(CONFIG_MAP, other.config)
    result = trmctl("submit", cluster=cluster)
    assert result.code == 2
    assert "right now" in result.err
    assert 'memory: "1Gi"' in config_text(cluster)


def test_what_runs_already_is_adopted_though_the_quota_is_used_up_by_it(trmctl: Run) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    status = {"hard": {"requests.memory": "16Gi"}, "used": {"requests.memory": "16Gi"}}
    cluster.put(QUOTA, {"metadata": {"name": "team"}, "status": status})
    assert trmctl("submit", cluster=cluster).code == 0
    assert trmctl("submit", "--if-exists", "replace", cluster=cluster).code == 0
    assert trmctl("submit", "--set", "seed=7", cluster=cluster).code == 2


@pytest.mark.parametrize(
    "options",
    [("--timeout", "5"), ("--on-signal", "delete"), ("--outputs", "x"), ("--artifacts",), ("--cron", "0 3 * * *"),
     ("--pipeline", "--stages", "train"), ("--pipeline", "--cron", "not a cron", *STORE)],
)  # fmt: skip
def test_options_that_would_do_nothing_are_refused(trmctl: Run, options: tuple[str, ...]) -> None:
    assert trmctl("submit", *options, cluster=FakeCluster()).code == 2


def test_a_run_is_followed_to_its_end_and_leaves_its_outputs(trmctl: Run, tmp_path: Path) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    cluster.edit(PYTORCHJOB, NAME, status={"conditions": succeeded(NAME)})
    result = trmctl("submit", "--wait", "--follow", "--outputs", "out", cluster=cluster)
    assert result.code == 0
    assert (tmp_path / "out" / "phase").read_text(encoding="utf-8") == "Succeeded"
    assert json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["job"] == NAME


def test_waiting_too_long_is_said_and_the_run_goes_on(trmctl: Run) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    cluster.edit(PYTORCHJOB, NAME, status={"conditions": running(NAME)})
    result = trmctl("submit", "--wait", "--timeout", "0", cluster=cluster)
    assert result.code == 5
    assert cluster.names(PYTORCHJOB) == [NAME]


@pytest.mark.parametrize(("choice", "left"), [("leave", [NAME]), ("delete", [])])
def test_ctrl_c_leaves_the_run_or_takes_it_along(trmctl: Run, choice: str, left: list[str]) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    cluster.fail("list", POD, KeyboardInterrupt())  # type: ignore[arg-type]
    result = trmctl("submit", "--wait", "--on-signal", choice, cluster=cluster)
    assert result.code == 130
    assert cluster.names(PYTORCHJOB) == left


@pytest.mark.parametrize("where", ["client", "server"])
@pytest.mark.parametrize("extra", [(), ("--pipeline", *STORE)], ids=["job", "pipeline"])
def test_a_dry_run_changes_nothing(trmctl: Run, where: str, extra: tuple[str, ...]) -> None:
    cluster = FakeCluster("team", PYTORCHJOB, WORKFLOW, WORKFLOW_TEMPLATE)
    cluster.put(WORKFLOW_TEMPLATE, {"metadata": {"name": "trm-pipeline"}})
    result = trmctl("submit", "--dry-run", where, "-o", "yaml", *extra, cluster=cluster)
    assert result.code == 0, result.err
    assert cluster.mutations == []
    assert len(yaml.safe_load(result.out)["items"]) == 2


def test_the_pod_is_tried_too_and_everything_that_is_wrong_is_said_at_once(trmctl: Run) -> None:
    cluster = FakeCluster()

    def admission(kind: Kind, body: Object) -> None:
        if kind == POD:
            raise ClusterRefusedError('violates PodSecurity "restricted:latest"')

    cluster.admission = [admission]
    cluster.put(QUOTA, {"metadata": {"name": "team"}, "status": {"hard": {"requests.memory": "20Gi"}, "used": {}}})
    result = trmctl("submit", "--set", "cluster.nodes=2", "--set", "cluster.storage_secret=s3", *STORE, cluster=cluster)
    assert result.code == 2
    for words in ("violates PodSecurity", "there is no Secret 's3'", "2 pods ask for 32Gi"):
        assert words in result.err
    assert cluster.mutations == []


def test_who_may_not_make_pods_is_told_what_was_not_tried(trmctl: Run) -> None:
    cluster = FakeCluster()
    cluster.denied = {("create", "pods"), ("list", "resourcequotas"), ("get", "secrets")}
    cluster.put(SECRET, {"metadata": {"name": "s3"}})
    result = trmctl("submit", "--set", "cluster.storage_secret=s3", *STORE, cluster=cluster)
    assert result.code == 0
    assert result.err.count("not known") == 3


def test_auto_takes_what_the_cluster_serves(trmctl: Run) -> None:
    cluster = FakeCluster("team", TRAINJOB, RUNTIME)
    cluster.put(RUNTIME, {"metadata": {"name": "trm"}})
    assert trmctl("submit", cluster=cluster).code == 0
    assert cluster.names(TRAINJOB) == [NAME]
    nothing = trmctl("submit", cluster=FakeCluster("team", WORKFLOW))
    assert nothing.code == 4
    assert "neither PyTorchJob nor TrainJob" in nothing.err
    assert "no TrainJob" in trmctl("submit", "--backend", "trainjob", cluster=FakeCluster()).err


def test_a_trainjob_without_its_runtime_is_not_sent(trmctl: Run) -> None:
    cluster = FakeCluster("team", TRAINJOB, RUNTIME)
    result = trmctl("submit", cluster=cluster)
    assert result.code == 2
    assert "trmctl render --runtime" in result.err


def test_a_pipeline_and_one_by_the_clock(trmctl: Run) -> None:
    cluster = FakeCluster("team", PYTORCHJOB, WORKFLOW, WORKFLOW_TEMPLATE, CRON_WORKFLOW)
    assert trmctl("submit", "--pipeline", *STORE, cluster=cluster).code == 2
    cluster.put(WORKFLOW_TEMPLATE, {"metadata": {"name": "trm-pipeline"}})
    assert trmctl("submit", "--pipeline", *STORE, cluster=cluster).code == 0
    assert cluster.names(WORKFLOW) == [f"{NAME}-pipeline"]
    assert "publish_data: true" in config_text(cluster, f"{NAME}-pipeline")
    assert trmctl("submit", "--pipeline", "--cron", "0 3 * * *", *STORE, cluster=cluster).code == 0
    assert cluster.see(CRON_WORKFLOW, f"{NAME}-cron")["spec"]["schedules"] == ["0 3 * * *"]
    assert trmctl("submit", "--cron", "0 3 * * *", cluster=cluster).code == 2


def test_a_sweep_is_one_workflow_for_all_points(trmctl: Run) -> None:
    cluster = FakeCluster("team", PYTORCHJOB, WORKFLOW, WORKFLOW_TEMPLATE)
    cluster.put(WORKFLOW_TEMPLATE, {"metadata": {"name": "trm-sweep"}})
    grid = ("--grid", "train.lr=1e-4,3e-4", "--grid", "train.betas=[0.9, 0.95],[0.9, 0.99]")
    result = trmctl("sweep", *grid, "--parallel", "3", *STORE, cluster=cluster)
    assert result.code == 0, result.err
    workflow = cluster.see(WORKFLOW, cluster.names(WORKFLOW)[0])
    points = next(one for one in workflow["spec"]["arguments"]["parameters"] if one["name"] == "points")
    assert len(json.loads(points["value"])) == 4
    assert json.loads(json.loads(points["value"])[1]) == ["train.lr=1e-4", "train.betas=[0.9, 0.99]"]
    assert len(result.out.splitlines()) == 6


@pytest.mark.parametrize(
    ("grid", "words"),
    [("cluster.memory=1Gi,2Gi", "the same run"), ("train.lr", "is not KEY=VALUE"), ("train.lrr=1,2", "did you mean")],
)
def test_a_grid_that_makes_no_sense_is_refused(trmctl: Run, grid: str, words: str) -> None:
    result = trmctl("sweep", "--grid", grid, "--here")
    assert result.code == 2
    assert words in result.err


def test_resubmitting_goes_on_with_changes_that_make_no_other_run(trmctl: Run) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    cluster.edit(PYTORCHJOB, NAME, status={"conditions": failed(NAME)})
    assert trmctl("resubmit", "little", "--set", "cluster.memory=32Gi", cluster=cluster).code == 0
    assert cluster.names(PYTORCHJOB) == [NAME]
    assert 'memory: "32Gi"' in config_text(cluster)
    assert trmctl("resubmit", "nobody", cluster=cluster).code == 4


def test_a_run_that_trains_is_not_restarted_by_accident(trmctl: Run) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    cluster.edit(PYTORCHJOB, NAME, status={"conditions": running(NAME)})
    before = len(cluster.mutations)
    assert trmctl("resubmit", "little", cluster=cluster).code == 2
    assert len(cluster.mutations) == before


def test_a_pipeline_is_handed_in_again_as_a_pipeline(trmctl: Run) -> None:
    cluster = FakeCluster("team", PYTORCHJOB, WORKFLOW, WORKFLOW_TEMPLATE)
    cluster.put(WORKFLOW_TEMPLATE, {"metadata": {"name": "trm-pipeline"}})
    trmctl("submit", "--pipeline", *STORE, cluster=cluster)
    first = cluster.see(WORKFLOW, f"{NAME}-pipeline")
    cluster.edit(WORKFLOW, f"{NAME}-pipeline", status={"phase": "Failed"})
    assert trmctl("resubmit", "little", cluster=cluster).code == 0
    assert cluster.see(WORKFLOW, f"{NAME}-pipeline")["metadata"]["uid"] != first["metadata"]["uid"]


def test_a_run_that_was_cancelled_can_be_handed_in_again(trmctl: Run) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    cluster.edit(PYTORCHJOB, NAME, status={"conditions": running(NAME)})
    assert trmctl("cancel", "little", cluster=cluster).code == 0
    assert cluster.names(PYTORCHJOB) == []
    assert cluster.names(CONFIG_MAP) == [NAME]
    assert trmctl("resubmit", "little", cluster=cluster).code == 0
    assert cluster.names(PYTORCHJOB) == [NAME]


def test_resubmitting_from_a_checkpoint_that_is_not_there_says_which_are(trmctl: Run, tmp_path: Path) -> None:
    cluster = FakeCluster()
    (tmp_path / "store").mkdir()
    trmctl("submit", "--set", f"storage.remote={tmp_path / 'store'}", cluster=cluster)
    result = trmctl("resubmit", "little", "--from-checkpoint", "10", cluster=cluster)
    assert result.code == 1
    assert "there is no checkpoint '10'" in result.err
    assert trmctl("resubmit", "little", "--from-checkpoint", "newest", cluster=cluster).code == 2


def test_pods_that_still_leave_are_waited_for_before_a_run_of_their_name_is_made(trmctl: Run) -> None:
    cluster = FakeCluster()
    labels = {"training.kubeflow.org/job-name": NAME}
    about = {"name": f"{NAME}-worker-0", "labels": labels, "deletionTimestamp": "2026-01-01T12:00:00Z"}
    cluster.put(POD, {"metadata": about})
    made_before: list[list[str]] = []

    def leaves() -> None:
        made_before.append(cluster.names(PYTORCHJOB))
        cluster.sweep()

    cluster.script = [leaves]
    result = trmctl("submit", cluster=cluster)
    assert result.code == 0
    assert "still save and leave" in result.err
    assert made_before == [[]]
    assert cluster.names(PYTORCHJOB) == [NAME]


def test_a_config_map_that_goes_with_an_earlier_job_is_made_again(trmctl: Run) -> None:
    cluster = FakeCluster()
    gone = ClusterMissingError("configmaps not found")
    cluster.fail("patch", CONFIG_MAP, gone)
    assert trmctl("submit", cluster=cluster).code == 0
    owner = cluster.see(CONFIG_MAP, NAME)["metadata"]["ownerReferences"][0]
    assert owner["uid"] == cluster.see(PYTORCHJOB, NAME)["metadata"]["uid"]


def test_the_namespace_on_the_command_line_wins_over_that_of_the_run_file(trmctl: Run) -> None:
    cluster = FakeCluster()
    words = ("submit", "--dry-run", "client", "-o", "json", "--set", "cluster.namespace=theirs")
    for more, expected in ((("-n", "mine"), "mine"), ((), "theirs")):
        items = json.loads(trmctl(*words, *more, cluster=cluster).out)["items"]
        assert [one["metadata"]["namespace"] for one in items] == [expected, expected]


def test_a_profile_gives_queue_and_store_where_the_run_file_has_none(trmctl: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        'default = "lab"\n[profiles.lab]\nqueue = "batch"\nstore = "s3://models/runs"\nnamespace = "lab"\n',
        encoding="utf-8",
    )
    cluster = FakeCluster()
    trmctl("submit", "--dry-run", "client", cluster=cluster)
    result = trmctl("submit", "--dry-run", "client", "-o", "json", cluster=cluster)
    job = json.loads(result.out)["items"][1]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "batch"
    assert job["metadata"]["annotations"]["trm.dev/store"].startswith("s3://models/runs/little/")
    assert job["metadata"]["namespace"] == "lab"


def test_a_job_that_may_not_be_made_is_an_error_of_rights(trmctl: Run) -> None:
    cluster = FakeCluster()
    cluster.fail("create", PYTORCHJOB, ClusterForbiddenError("cannot create pytorchjobs"), times=2)
    assert trmctl("submit", cluster=cluster).code == 3
