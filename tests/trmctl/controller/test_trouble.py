"""What must not stop a run, and what must not start one: bad news, no news, old news."""

import copy
from dataclasses import replace

import pytest

from tests.trmctl.controller.faults import LateLists
from trmctl.cluster import CONFIG_MAP, POD, TRMRUN, WORKFLOW
from trmkit.errors import ClusterMissingError, ClusterRefusedError
from trmkit.render import names


@pytest.mark.parametrize("how", ["answers", "evaluates"])
def test_nothing_is_said_to_stall_that_does_not_answer_or_evaluates(world, how):
    world.apply(run={"cluster": {"nodes": 2, "restarts": 2, "stall_minutes": 1.0}})
    controller = world.controller()
    world.after(controller, 5)
    setattr(world, how, how == "evaluates")
    if how == "answers":
        world.evaluates = True  # so that training does not end meanwhile
    for _ in range(40):
        world.controller().resync()  # a new one each time knows nothing of before
        world.tick()
    assert world.status()["phase"] == "Running"
    assert world.condition("Progressing")[0] == "Unknown"
    world.answers, world.evaluates = True, False
    world.until("Succeeded", controller)
    assert len(world.starts) == 1


def test_one_look_alone_says_nothing_of_a_stall(world):
    world.apply(run={"cluster": {"nodes": 2, "restarts": 2, "stall_minutes": 1.0}})
    controller = world.controller()
    world.after(controller, 4)
    pod = world.cluster.see(POD, world.cluster.names(POD)[0])
    world._stepped[f"hang {pod['metadata']['uid']}"] = 1.0
    world.tick(60)  # nobody looks
    controller.resync()
    assert world.condition("Progressing") == ("False", "Stalled")
    assert world.status()["phase"] == "Running"
    del world._stepped[f"hang {pod['metadata']['uid']}"]
    world.until("Succeeded", controller)
    assert len(world.starts) == 1


@pytest.mark.parametrize("text", ["cluster: {imag: x}", "cluster: 5", "- 1", "cluster: {memory: many}"])
def test_defaults_that_cannot_be_read_stop_nothing_and_start_nothing(world, text):
    world.apply("one")
    controller = world.controller()
    world.after(controller, 5)
    world.cluster.put(CONFIG_MAP, {"metadata": {"name": "trm-defaults"}, "data": {"defaults.yaml": text}})
    world.apply("two", run={"seed": 2})
    world.after(controller, 3)
    assert world.condition("Accepted", "two") == ("False", "DefaultsUnreadable")
    assert "trm-defaults" in world.status("two")["message"]
    assert len(world.cluster.names(world.kind)) == 1
    assert world.status()["phase"] == "Running"
    world.cluster.remove(CONFIG_MAP, "trm-defaults")
    for name in ("one", "two"):
        world.until("Succeeded", controller, name=name)
    assert len(world.starts) == 2


def test_jobs_outlive_a_definition_that_is_made_again(world):
    world.apply()
    controller = world.controller()
    world.after(controller, 4)
    world.evaluates = True
    body = world.cluster.see(TRMRUN, "one")
    world.cluster.remove(TRMRUN, "one")
    world.cluster.served -= {TRMRUN}
    with pytest.raises(ClusterMissingError):
        controller.resync()
    world.cluster.served |= {TRMRUN}
    world.after(controller, 30)
    world.after(world.controller(), 30)
    assert len(world.cluster.names(world.kind)) == 1
    world.evaluates = False
    world.cluster.put(TRMRUN, {"metadata": {"name": "one"}, "spec": body["spec"]})
    world.until("Succeeded", controller)
    assert len(world.starts) == 1


def test_a_job_that_is_refused_is_said(world):
    world.apply()
    controller = world.controller()

    def full(kind, body):
        if kind == world.kind:
            raise ClusterRefusedError("exceeded quota: gpus")

    world.cluster.admission.append(full)
    world.after(controller, 4)
    status = world.status()
    assert (status["phase"], status["reason"], status["message"]) == ("Pending", "NotMade", "exceeded quota: gpus")
    assert world.events() == ["Made", "NotMade"]
    world.cluster.admission.clear()
    world.until("Succeeded", controller)
    world.lines = [line for line in world.lines if line["event"] != "refused"]


def test_nothing_is_made_in_another_namespace_than_the_trmruns_own(world):
    world.apply("one", run={"cluster": {"namespace": "other"}})
    world.apply("two", run={"seed": 2, "cluster": {"namespace": "team"}})
    controller = world.controller()
    controller.resync()
    controller.look_at("team", "one")
    assert world.condition("Accepted", "one") == ("False", "InvalidSpec")
    assert "other is not team" in world.status("one")["message"]
    assert not [key for key in world.cluster._objects if key[1] == "other"]
    assert len(world.cluster.names(world.kind)) == 1


def test_a_refused_change_does_not_switch_off_suspend_and_deadline(world):
    world.apply(deadline="3m")
    controller = world.controller()
    world.after(controller, 5)
    run = world.cluster.see(TRMRUN, "one")["spec"]["run"]
    world.change(run={**run, "train": {**run["train"], "lr": 0.5}}, suspend=True)
    world.after(controller, 3)
    assert world.condition("Accepted") == ("False", "RunChanged")
    assert not world.cluster.names(POD)
    world.change(suspend=False)
    world.evaluates = True
    world.until("Failed", controller)
    assert world.status()["reason"] == "DeadlineExceeded"
    world.tick(2)
    assert not world.cluster.names(POD)


def test_a_job_that_somebody_lets_go_on_is_paused_again(world):
    world.apply()
    controller = world.controller()
    world.after(controller, 5)
    world.change(suspend=True)
    world.until("Paused", controller)
    (name,) = world.cluster.names(world.kind)
    body = world.cluster.see(world.kind, name)
    body["spec"].pop("suspend", None)
    body["spec"].get("runPolicy", {}).pop("suspend", None)
    world.cluster.put(world.kind, body)
    world.after(controller, 3)
    assert world.status()["phase"] == "Paused"
    assert not world.cluster.names(POD)


def test_scores_that_lag_are_not_taken_for_no_improvement(world):
    world.apply(stopWhen={"patience": 2})
    controller = world.controller()
    progress = world.progress

    def late(wanted, pods):
        found = progress(wanted, pods)
        best = max(0, found.step - 40)  # every score is the best so far, and known forty updates later
        return replace(found, value=best / 100, best_step=best, scored=best)

    world.progress = late
    world.until("Succeeded", controller)
    assert world.status()["reason"] == "Succeeded"


def test_a_job_submitted_by_another_version_is_taken_over_as_it_is(world):
    world.apply()
    world.after(world.controller(), 5)
    world.cluster.remove(TRMRUN, "one")
    (name,) = world.cluster.names(world.kind)
    for kind in (world.kind, CONFIG_MAP):
        body = world.cluster.see(kind, name)
        about = body["metadata"]
        about["labels"].pop(names.TRMRUN)
        about["annotations"] = {key: "old" if key == names.SPEC_HASH else value
                                for key, value in about["annotations"].items()
                                if key not in (names.TRMRUN_UID, names.WANTED)}  # fmt: skip
        if world.kind.kind == "PyTorchJob" and kind == world.kind:
            body["spec"]["runPolicy"]["ttlSecondsAfterFinished"] = 60
        world.cluster.put(kind, body)
    world.apply()
    world.until("Succeeded", world.controller())
    assert len(world.starts) == 1
    assert "ttlSecondsAfterFinished" not in str(world.cluster.see(world.kind, name)["spec"])


def test_what_was_deleted_is_not_made_again_from_old_lists(world):
    world.apply()
    controller = world.controller()
    world.after(controller, 2)
    body = world.cluster.see(TRMRUN, "one")
    del body["status"]["job"]["uid"]  # as after a crash before that was written
    world.cluster.put(TRMRUN, body)
    past = copy.copy(world.cluster._objects)
    for kind, name in ((TRMRUN, "one"), (world.kind, body["status"]["job"]["name"])):
        world.cluster.remove(kind, name)
    world.controller(LateLists(world.cluster, past)).resync()
    assert not world.cluster.names(world.kind)


def pipeline(world, **status):
    """Return the name of a pipeline that was made, and then is so."""
    controller = world.controller()
    world.apply(pipeline=True)
    controller.resync()
    (name,) = world.cluster.names(WORKFLOW)
    world.cluster.edit(WORKFLOW, name, status={"startedAt": "2026-01-01T12:00:00Z", **status})
    return name, controller


def step(world, job, node, name="pod", **more):
    """Have a step of a pipeline run, or a pod of the job that it has handed in."""
    labels = {**world.cluster.see(WORKFLOW, job)["metadata"]["labels"], **more}
    notes = {"workflows.argoproj.io/node-name": f"{job}.{node}"} if node else {}
    about = {"name": name, "labels": labels, "annotations": notes, "ownerReferences": [{"uid": "w"}]}
    world.cluster.put(
        POD, {"metadata": about, "spec": {"containers": [{"name": "main"}]}, "status": {"phase": "Running"}}
    )


@pytest.mark.parametrize("look", ["all", "one"])
def test_a_pipeline_is_paused_when_the_job_that_it_waits_for_has_saved(world, look):
    name, controller = pipeline(world, phase="Running")
    step(world, name, "train(0)")
    step(world, name, "", "child", **{names.JOB: "demo-child"})
    world.change(suspend=True)
    for gone, phase in (("", "Stopping"), ("child", "Paused")):
        world.cluster.remove(POD, gone)
        controller.resync()
        controller.resync() if look == "all" else controller.look_at("team", "one")
        assert world.status()["phase"] == phase
    assert world.cluster.see(WORKFLOW, name)["spec"]["suspend"] is True


def test_a_pipeline_that_cannot_begin_says_why_and_is_not_tried_again(world):
    words = 'workflowtemplates.argoproj.io "trm-pipeline" not found'
    name, controller = pipeline(world, phase="Error", message=words, finishedAt="2026-01-01T12:00:01Z")
    world.after(controller, 3)
    assert (world.status()["phase"], world.status()["message"]) == ("Failed", words)
    assert world.cluster.names(WORKFLOW) == [name]


def test_a_pipeline_that_broke_off_is_tried_again_and_its_end_is_known(world):
    nodes = {"a": {"type": "Pod", "phase": "Error", "message": "pod deleted"}}
    ended = {"finishedAt": "2026-01-01T13:00:00Z", "message": "pod deleted"}
    _, controller = pipeline(world, phase="Error", nodes=nodes, **ended)
    controller.resync()
    assert world.status()["phase"] == "Backoff"
    assert "it failed: pod deleted" in world.status()["message"]
    assert [one["reason"] for one in world.status()["attempts"]] == ["Error"]


def test_to_keep_a_failed_job_for_longer_does_not_start_it_again(world):
    world.apply()
    world.plan = [(1, "Error")]
    controller = world.controller()
    world.until("Failed", controller)
    world.change(keep={"age": "30s"})
    world.after(controller, 6)
    assert world.status()["phase"] == "Failed"
    assert not world.cluster.names(world.kind)
    for suspend in (True, False):  # as `trmctl resubmit` says that it is to be tried again
        world.change(suspend=suspend)
    world.until("Succeeded", controller)
    assert len(world.starts) == 2
