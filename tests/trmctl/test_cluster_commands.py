"""The commands on runs in a cluster, against one in memory."""

import json
from collections.abc import Callable

import pytest

from tests.trmctl.cluster_objects import (
    add_event,
    add_job,
    add_pod,
    add_trainjob,
    add_workflow,
    created,
    failed,
    meta,
    running,
    succeeded,
    unschedulable,
)
from tests.trmctl.conftest import Run
from tests.trmctl.fake_cluster import FakeCluster, stamp
from trmctl.cluster import CONFIG_MAP, CRON_WORKFLOW, KUEUE_WORKLOAD, POD, PYTORCHJOB, TRAINJOB, WORKFLOW
from trmctl.phase import PAUSED, QUEUE
from trmkit.errors import ClusterForbiddenError, ClusterUnreachableError

JOB = "demo-0123abcd"
ON_RUNS = ("status", "logs", "watch", "why", "pause", "resume", "cancel", "delete", "exec")


@pytest.fixture
def cluster() -> FakeCluster:
    """Return a cluster with one run that trains."""
    made = FakeCluster()
    add_job(made, JOB, *running(), gpus=4)
    for rank in range(2):
        add_pod(made, rank)
        made.ports[(f"{JOB}-worker-{rank}", 9400, "/metrics")] = (
            f'# HELP x\ntrm_train_step 120.0\ntrm_train_step_seconds 0.{rank + 1}\ntrm_train_loss{{part="total"}} 1.5\n'
        )
    return made


@pytest.mark.parametrize("name", ON_RUNS)
def test_every_command_shows_an_example(name: str, trmctl: Run) -> None:
    assert f"trmctl {name}" in trmctl(name, "--help").out.partition("Example")[2]


@pytest.mark.parametrize("name", ON_RUNS)
def test_a_run_that_is_not_there_is_said_with_what_is_and_ends_with_4(
    name: str, trmctl: Run, cluster: FakeCluster
) -> None:
    done = trmctl(name, "demp", cluster=cluster)
    assert done.code == 4
    assert "did you mean 'demo'" in done.err
    assert cluster.mutations == []


@pytest.mark.parametrize("name", ON_RUNS)
def test_without_a_cluster_it_is_said_what_to_do(name: str, trmctl: Run) -> None:
    done = trmctl(name, "demo")
    assert done.code == 3
    assert "next:" in done.err


@pytest.mark.parametrize("name", ON_RUNS)
def test_who_may_not_ends_with_3(name: str, trmctl: Run, cluster: FakeCluster) -> None:
    cluster.denied = {("list", "pytorchjobs")}
    done = trmctl(name, "demo", cluster=cluster)
    assert done.code == 3
    assert 'cannot list resource "pytorchjobs"' in done.err


@pytest.mark.parametrize("text", ["demo", "0123abcd", "demo/0123abcd", JOB])
def test_a_run_is_found_by_name_id_both_or_its_jobs_name(text: str, trmctl: Run, cluster: FakeCluster) -> None:
    assert trmctl("status", text, "-o", "name", cluster=cluster).out == f"{JOB}\n"


def test_of_several_runs_of_a_name_the_newest_is_taken_and_the_others_named(trmctl: Run, cluster: FakeCluster) -> None:
    cluster.now += 60
    add_job(cluster, "demo-9999ffff", *running("demo-9999ffff"), run_id="9999ffff")
    done = trmctl("status", "demo", "-o", "name", cluster=cluster)
    assert done.out == "demo-9999ffff\n"
    assert JOB in done.err


def test_status_is_one_screen(trmctl: Run, cluster: FakeCluster) -> None:
    add_event(cluster, "Unschedulable", "Error pod\x1b[31m", type="Warning")
    done = trmctl("status", "demo", cluster=cluster)
    assert done.code == 0
    assert "Running" in done.out
    assert "2 of 2 run" in done.out
    assert "update 120, 0.1 s each, loss 1.5" in done.out
    assert f"{JOB}-worker-1" in done.out
    assert "\x1b" not in done.out
    found = json.loads(trmctl("status", "demo", "-o", "json", cluster=cluster).out)
    assert (found["phase"], found["gpus"], found["step"], len(found["pods"])) == ("Running", 8, 120, 2)


@pytest.mark.parametrize(("conditions", "code"), [(running, 0), (succeeded, 0), (failed, 1)])
def test_status_ends_with_the_runs_exit_code(
    conditions: Callable[[], list[dict[str, str]]], code: int, trmctl: Run
) -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *conditions())
    assert trmctl("status", "demo", cluster=cluster).code == code


def test_logs_are_printed_by_rank(trmctl: Run, cluster: FakeCluster) -> None:
    assert trmctl("logs", "demo", cluster=cluster).out == "rank 0 says hello\n"
    assert trmctl("logs", "demo", "--rank", "all", cluster=cluster).out.splitlines() == [
        "[rank 0] rank 0 says hello",
        "[rank 1] rank 1 says hello",
    ]
    assert trmctl("logs", "demo", "--rank", "1", cluster=cluster).out == "rank 1 says hello\n"
    assert trmctl("logs", "demo", "--rank", "x", cluster=cluster).code == 2
    done = trmctl("logs", "demo", "--rank", "7-9", cluster=cluster)
    assert done.code == 4
    assert "its ranks: 0, 1" in done.err


def test_logs_that_are_followed_end_with_the_run(trmctl: Run, cluster: FakeCluster) -> None:
    cluster.script = [lambda: cluster.edit(PYTORCHJOB, JOB, status={"conditions": succeeded()})]
    done = trmctl("logs", "-f", "demo", cluster=cluster)
    assert (done.code, done.out) == (0, "rank 0 says hello\n")
    assert "succeeded" in done.err


def test_logs_of_a_pod_that_has_not_started_say_so(trmctl: Run) -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, created())
    done = trmctl("logs", "demo", cluster=cluster)
    assert (done.code, done.out) == (4, "")
    assert "no pods now" in done.err
    add_pod(cluster, 0, "Pending", waiting=("ContainerCreating", ""))
    done = trmctl("logs", "demo", cluster=cluster)
    assert (done.code, done.out) == (4, "")
    assert "waiting to start" in done.err


def test_why_says_what_shows_it_and_what_helps(trmctl: Run) -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, created())
    add_pod(cluster, 0, "Pending", conditions=unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."))
    done = trmctl("why", "demo", cluster=cluster)
    assert done.code == 0
    assert "1 of 2 pods get no machine" in done.out
    assert "Insufficient nvidia.com/gpu" in done.out
    assert "next:" in done.out
    found = json.loads(trmctl("why", "demo", "-o", "json", cluster=cluster).out)
    assert len(found["findings"]) == 1


def test_why_says_that_nothing_is_wrong(trmctl: Run, cluster: FakeCluster) -> None:
    assert trmctl("why", "demo", cluster=cluster).out == "Nothing is wrong: it trains, at update 120\n"


def test_a_job_is_suspended_marked_and_resumed(trmctl: Run, cluster: FakeCluster) -> None:
    def leaves() -> None:
        for rank in range(2):
            cluster.remove(POD, f"{JOB}-worker-{rank}")

    cluster.script = [lambda: None, leaves]
    done = trmctl("pause", "demo", "--wait", cluster=cluster)
    assert done.code == 0
    job = cluster.see(PYTORCHJOB, JOB)
    assert job["spec"]["runPolicy"] == {"cleanPodPolicy": "Running", "suspend": True}
    assert PAUSED in job["metadata"]["annotations"]
    assert json.loads(trmctl("status", "demo", "-o", "json", cluster=cluster).out)["phase"] == "Paused"
    cluster.script = [lambda: [add_pod(cluster, rank) for rank in range(2)]]
    assert trmctl("resume", "demo", "--wait", cluster=cluster).code == 0
    job = cluster.see(PYTORCHJOB, JOB)
    assert not job["spec"]["runPolicy"]["suspend"]
    assert PAUSED not in job["metadata"]["annotations"]


def test_waiting_for_pods_that_do_not_leave_ends_with_5(trmctl: Run, cluster: FakeCluster) -> None:
    done = trmctl("pause", "demo", "--wait", "--timeout", "30s", cluster=cluster)
    assert done.code == 5
    assert "not yet after 30 s" in done.err


def test_a_job_of_kueue_is_paused_through_its_workload(trmctl: Run) -> None:
    cluster = FakeCluster()
    job = add_job(cluster, JOB, *running(), labels={QUEUE: "batch"})
    labels = {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}
    cluster.put(KUEUE_WORKLOAD, {"metadata": {"name": "w", "labels": labels}, "spec": {"active": True}})
    assert trmctl("pause", "demo", cluster=cluster).code == 0
    assert cluster.see(KUEUE_WORKLOAD, "w")["spec"]["active"] is False
    assert "suspend" not in cluster.see(PYTORCHJOB, JOB)["spec"]["runPolicy"]
    assert trmctl("resume", "demo", cluster=cluster).code == 0
    assert cluster.see(KUEUE_WORKLOAD, "w")["spec"]["active"] is True


@pytest.mark.parametrize("word", ["pause", "resume"])
def test_who_dies_between_workload_and_note_has_not_said_that_it_is_done(trmctl: Run, word: str) -> None:
    cluster = FakeCluster()
    job = add_job(cluster, JOB, *running(), labels={QUEUE: "batch"})
    labels = {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}
    cluster.put(KUEUE_WORKLOAD, {"metadata": {"name": "w", "labels": labels}, "spec": {"active": True}})
    if word == "resume":
        trmctl("pause", "demo", cluster=cluster)
    before = (cluster.see(PYTORCHJOB, JOB)["metadata"].get("annotations") or {}).get(PAUSED)
    cluster.fail("patch", PYTORCHJOB, ClusterUnreachableError("cut off"))
    assert trmctl(word, "demo", cluster=cluster).code != 0
    assert cluster.see(KUEUE_WORKLOAD, "w")["spec"]["active"] is (word == "resume")
    assert (cluster.see(PYTORCHJOB, JOB)["metadata"].get("annotations") or {}).get(PAUSED) == before
    assert trmctl(word, "demo", cluster=cluster).code == 0


def test_a_job_that_kueue_has_not_taken_up_is_paused_later_and_without_kueue_at_once(trmctl: Run) -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *running(), labels={QUEUE: "batch"})
    done = trmctl("pause", "demo", cluster=cluster)
    assert (done.code, cluster.mutations) == (2, [])
    assert "Kueue has not taken it up yet" in done.err
    cluster.served -= {KUEUE_WORKLOAD}
    assert trmctl("pause", "demo", cluster=cluster).code == 0
    assert cluster.see(PYTORCHJOB, JOB)["spec"]["runPolicy"]["suspend"] is True


def test_trainjobs_and_workflows_are_paused_and_ended_too(trmctl: Run) -> None:
    cluster = FakeCluster()
    add_trainjob(cluster, status={"jobsStatus": [{"ready": 1}]})
    assert trmctl("pause", "demo", cluster=cluster).code == 0
    assert cluster.see(TRAINJOB, JOB)["spec"]["suspend"] is True
    assert trmctl("cancel", "demo", cluster=cluster).code == 0
    assert cluster.names(TRAINJOB) == []
    add_workflow(cluster, "Running")
    assert trmctl("cancel", "demo", cluster=cluster).code == 0
    assert cluster.see(WORKFLOW, JOB)["spec"]["shutdown"] == "Stop"
    assert trmctl("cancel", "demo", "--now", cluster=cluster).code == 0
    assert cluster.see(WORKFLOW, JOB)["spec"]["shutdown"] == "Terminate"


def test_a_run_that_is_over_is_neither_paused_nor_ended(trmctl: Run) -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *succeeded())
    assert trmctl("pause", "demo", cluster=cluster).code == 2
    assert trmctl("resume", "demo", cluster=cluster).code == 2
    assert "over already" in trmctl("cancel", "demo", cluster=cluster).err
    assert cluster.mutations == []


def test_ending_a_run_leaves_its_config_map_and_deleting_does_not(trmctl: Run, cluster: FakeCluster) -> None:
    assert trmctl("cancel", "demo", "--wait", cluster=cluster).code == 0
    assert (cluster.names(PYTORCHJOB), cluster.names(CONFIG_MAP), cluster.names(POD)) == ([], [JOB], [])
    add_job(cluster, JOB, *running())
    assert trmctl("delete", "demo", "--dry-run", cluster=cluster).out == f"{JOB}\n"
    assert cluster.names(PYTORCHJOB) == [JOB]
    cluster.lingering = True
    add_pod(cluster, 0)
    cluster.script = [lambda: None, cluster.sweep]
    assert trmctl("delete", "demo", "--wait", cluster=cluster).code == 0
    assert (cluster.names(PYTORCHJOB), cluster.names(CONFIG_MAP), cluster.names(POD)) == ([], [], [])


def test_jobs_that_are_over_for_longer_than_they_should_stay_are_swept(trmctl: Run) -> None:
    cluster = FakeCluster()
    long_ago = stamp(cluster.now - 90_000)
    kept = {"ttlSecondsAfterFinished": 86_400}
    for number, conditions in enumerate((failed(at=long_ago), failed(at="2999-01-01T00:00:00Z"), running())):
        add_job(cluster, f"job-{number}", *conditions, policy=kept)
    add_job(cluster, "for-ever", *failed(at=long_ago))
    assert trmctl("delete", "--finished", cluster=cluster).out == "job-0\n"
    assert trmctl("delete", "--finished", "--older-than", "2h", cluster=cluster).out == "for-ever\n"
    assert trmctl("delete", cluster=cluster).code == 2
    assert trmctl("delete", "demo", "--finished", cluster=cluster).code == 2


def test_a_command_runs_in_the_pod_of_a_rank(trmctl: Run, cluster: FakeCluster) -> None:
    assert trmctl("exec", "demo", "--rank", "1", "--", "df", "-h", cluster=cluster).code == 0
    assert trmctl("exec", "demo", cluster=cluster).code == 0
    assert cluster.executed == [
        (f"{JOB}-worker-1", "pytorch", ["df", "-h"]),
        (f"{JOB}-worker-0", "pytorch", ["/bin/sh"]),
    ]
    done = trmctl("exec", "demo", "--rank", "5", cluster=cluster)
    assert (done.code, "ranks that do: 0, 1" in done.err) == (4, True)


def test_watch_prints_a_line_at_a_time_off_a_terminal(trmctl: Run, cluster: FakeCluster) -> None:
    cluster.script = [lambda: None, lambda: cluster.edit(PYTORCHJOB, JOB, status={"conditions": succeeded()})]
    done = trmctl("watch", "demo", cluster=cluster)
    assert done.code == 0
    assert done.out.splitlines()[0] == (
        f"{JOB}  running  update 120  loss 1.5  0.2 s an update (rank 1 is the slowest)"
        f"  (PyTorchJob team/{JOB} is running.)"
    )
    assert "succeeded" in done.err


def test_watch_is_left_with_ctrl_c_and_ends_when_the_run_is_deleted(trmctl: Run, cluster: FakeCluster) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    cluster.script = [interrupt]
    assert trmctl("watch", "demo", cluster=cluster).code == 130
    cluster.script = [lambda: cluster.remove(PYTORCHJOB, JOB)]
    assert trmctl("watch", "demo", cluster=cluster).code == 4


def test_names_of_runs_are_completed_and_silence_kept_without_a_cluster(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trmctl.cli import cli
    from trmctl.options import Doors
    from trmctl.runs_in_cluster import complete

    command = cli.get_command(None, "status")  # type: ignore[arg-type]
    assert command is not None
    parameter = command.params[0]
    with cli.make_context("trmctl", [], resilient_parsing=True, obj=Doors(cluster.opened)) as context:
        assert [one.value for one in complete(context, parameter, "de")] == ["demo", JOB]
        assert complete(context, parameter, "x") == []
        cluster.fail("list", None, ClusterForbiddenError("no"), times=9)
        assert complete(context, parameter, "de") == []


def test_a_shell_gets_its_completion(trmctl: Run) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_TRMCTL_COMPLETE" in trmctl("completion", shell).out


def test_options_say_where(trmctl: Run, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trmctl("status", "demo", "-n", "other", "--context", "lab", cluster=cluster).code == 4
    assert (cluster.context, cluster.namespace) == ("lab", "other")
    monkeypatch.setenv("TRM_NAMESPACE", "team")
    assert trmctl("status", "demo", cluster=cluster).code == 0


def test_a_pipeline_is_paused_with_the_job_it_waits_for(trmctl: Run) -> None:
    cluster = FakeCluster()
    add_workflow(cluster, "Running", job="demo-0123abcd-pipeline")
    add_job(cluster, "demo-0123abcd", *running())
    assert trmctl("pause", "demo", cluster=cluster).code == 0
    assert cluster.see(WORKFLOW, "demo-0123abcd-pipeline")["spec"]["suspend"] is True
    assert cluster.see(PYTORCHJOB, "demo-0123abcd")["spec"]["runPolicy"]["suspend"] is True
    assert trmctl("resume", "demo", cluster=cluster).code == 0
    assert cluster.see(PYTORCHJOB, "demo-0123abcd")["spec"]["runPolicy"]["suspend"] is False


def test_a_queued_job_is_not_paused_behind_kueues_back(trmctl: Run) -> None:
    cluster = FakeCluster()
    job = add_job(cluster, "demo-0123abcd", *running())
    job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "batch"
    cluster.put(PYTORCHJOB, job)
    cluster.denied = {("list", "workloads")}
    before = len(cluster.mutations)
    assert trmctl("pause", "demo", cluster=cluster).code == 3
    assert len(cluster.mutations) == before


def test_what_was_cancelled_can_be_deleted(trmctl: Run) -> None:
    cluster = FakeCluster()
    trmctl("submit", cluster=cluster)
    assert trmctl("cancel", "little", cluster=cluster).code == 0
    assert len(cluster.names(CONFIG_MAP)) == 1
    assert trmctl("delete", "little", cluster=cluster).code == 0
    assert cluster.names(CONFIG_MAP) == []


def test_a_pipeline_by_the_clock_is_a_run_like_others(trmctl: Run) -> None:
    cluster = FakeCluster("team", PYTORCHJOB, WORKFLOW, CRON_WORKFLOW)
    body = {"metadata": meta("demo-0123abcd-cron"), "spec": {"schedules": ["0 3 * * *"]}}
    cluster.put(CRON_WORKFLOW, body)
    assert "starts at 0 3 * * *" in trmctl("status", "demo", cluster=cluster).out
    assert trmctl("pause", "demo", cluster=cluster).code == 0
    assert cluster.see(CRON_WORKFLOW, "demo-0123abcd-cron")["spec"]["suspend"] is True
    assert trmctl("delete", "demo", cluster=cluster).code == 0
    assert cluster.names(CRON_WORKFLOW) == []
