"""Lives of runs: what becomes of a TrmRun when operators, machines and people do what they do."""

from tests.trmctl.controller.world import TICK, World
from trmctl.cluster import CONFIG_MAP, POD, TRMRUN
from trmkit.render import names


def reasons(world: World) -> list[str]:
    return [one.get("reason", "") for one in world.status()["attempts"]]


def test_a_run_is_made_trains_and_succeeds(world):
    world.apply()
    world.until("Succeeded", world.controller())
    status = world.status()
    assert (status["step"], status["totalSteps"], status["progress"]) == (100, 100, "100 %")
    assert status["checkpoint"]["step"] == 100
    assert status["checkpoint"]["uri"].startswith("s3://bucket/runs/demo/")
    assert world.condition("Succeeded") == ("True", "Succeeded")
    assert reasons(world) == ["Completed"]
    job = world.cluster.see(world.kind, status["job"]["name"])
    assert job["metadata"]["labels"][names.TRMRUN] == "one"
    assert "ownerReferences" not in job["metadata"]
    config = world.cluster.see(CONFIG_MAP, job["metadata"]["name"])
    assert [one["uid"] for one in config["metadata"]["ownerReferences"]] == [job["metadata"]["uid"]]


def test_a_run_that_is_over_is_left_alone(world):
    world.apply()
    controller = world.controller()
    world.until("Succeeded", controller)
    controller.resync()
    before = len(world.cluster.mutations)
    world.after(controller, 5)
    assert len(world.cluster.mutations) == before


def test_a_preempted_pod_costs_no_attempt(world):
    world.apply()
    world.plan = [(143, "Preempted")] * 5
    world.until("Succeeded", world.controller())
    assert reasons(world) == ["Preempted"] * 5 + ["Completed"]
    assert world.status()["attemptsWithoutProgress"] == 0


def test_a_command_that_cannot_be_started_ends_within_the_budget(world):
    world.apply()
    world.plan = ["StartError"] * 50
    world.until("Failed", world.controller())
    assert world.status()["reason"] == "OutOfAttempts"
    assert reasons(world) == ["StartError"] * 3
    world.after(world.controller(), 3)
    job = world.cluster.see(world.kind, world.status()["job"]["name"])
    assert world.is_suspended(job)
    assert not world.cluster.names(POD)


def test_memory_that_runs_out_twice_is_enough(world):
    world.apply()
    world.plan = [(137, "OOMKilled")] * 9
    world.until("Failed", world.controller())
    assert world.status()["reason"] == "OutOfMemory"
    assert len(reasons(world)) == 2
    assert "cluster.memory" in world.status()["message"]


def test_a_bug_is_not_tried_again(world):
    world.apply()
    world.plan = [(1, "Error")]
    world.until("Failed", world.controller())
    assert world.status()["attempts"][-1]["exitCode"] == 1
    assert len(world.starts) == 1
    assert world.condition("Failed")[0] == "True"


def test_a_changed_spec_tries_a_failed_run_again(world):
    world.apply()
    world.plan = [(2, "Config")]
    controller = world.controller()
    world.until("Failed", controller)
    world.change(deadline="1d")
    world.until("Succeeded", controller)
    assert world.condition("Failed") == ("False", "Succeeded")
    assert len(world.starts) == 2


def test_a_suspended_run_saves_and_goes_on_from_there(world):
    world.apply()
    controller = world.controller()
    world.after(controller, 6)
    world.change(suspend=True)
    world.until("Paused", controller)
    assert not world.cluster.names(POD)
    saved = world.status()["checkpoint"]["step"]
    assert saved > 0
    world.change(suspend=False)
    world.until("Succeeded", controller)
    assert [step for _, step in world.starts] == [0, saved]


def test_a_run_that_is_suspended_from_the_beginning_makes_no_job(world):
    world.apply(suspend=True)
    controller = world.controller()
    world.after(controller, 3)
    assert world.status()["phase"] == "Paused"
    assert not world.cluster.names(world.kind)
    world.change(suspend=False)
    world.until("Succeeded", controller)


def test_more_memory_makes_the_job_anew_and_training_goes_on(world):
    world.apply()
    controller = world.controller()
    world.after(controller, 6)
    body = world.cluster.see(TRMRUN, "one")
    world.change(run={**body["spec"]["run"], "cluster": {**body["spec"]["run"]["cluster"], "memory": "32Gi"}})
    world.until("Succeeded", controller)
    assert len(world.starts) == 2
    assert world.starts[1][1] > 0
    job = world.cluster.see(world.kind, world.status()["job"]["name"])
    assert "32Gi" in str(job)


def test_another_learning_rate_is_refused_and_training_goes_on(world):
    world.apply()
    controller = world.controller()
    world.after(controller, 6)
    run = world.cluster.see(TRMRUN, "one")["spec"]["run"]
    world.change(run={**run, "train": {**run["train"], "lr": 0.5}})
    controller.resync()
    assert world.condition("Accepted") == ("False", "RunChanged")
    assert world.status()["phase"] == "Running"
    world.change(run=run)
    world.until("Succeeded", controller)
    assert world.condition("Accepted") == ("True", "Accepted")
    assert len(world.starts) == 1


def test_a_wrong_spec_is_refused_and_makes_nothing(world):
    world.apply(run={"train": {"steps": 0}})
    world.controller().resync()
    assert world.status()["phase"] == "Refused"
    assert "spec.run.train.steps" in world.status()["message"]
    assert not world.cluster.names(world.kind)


def test_the_deadline_ends_a_run_that_hangs(world):
    world.apply(deadline="5m")
    world.plan = ["hang"]
    controller = world.controller()
    world.until("Failed", controller)
    assert world.status()["reason"] == "DeadlineExceeded"
    world.after(controller, 3)
    assert not world.cluster.names(POD)


def test_pauses_do_not_count_towards_the_deadline(world):
    world.apply(deadline="3m")
    controller = world.controller()
    world.after(controller, 4)
    world.change(suspend=True)
    world.after(controller, 60)
    world.change(suspend=False)
    world.until("Succeeded", controller)
    assert world.status()["pausedSeconds"] >= 50 * TICK


def test_a_gang_that_makes_no_step_is_made_anew(world):
    world.apply(run={"cluster": {"nodes": 2, "restarts": 2, "stall_minutes": 1.0}})
    controller = world.controller()
    world.after(controller, 4)
    pod = world.cluster.see(POD, world.cluster.names(POD)[0])
    world._stepped[f"hang {pod['metadata']['uid']}"] = 1.0
    world.until("Backoff", controller)
    assert reasons(world)[-1] == "Stalled"
    world.until("Succeeded", controller)
    assert len(world.starts) == 2


def test_a_score_that_is_enough_ends_training_and_is_scored(world):
    world.apply(stopWhen={"target": 0.8})
    controller = world.controller()
    world.after(controller, 5)
    world.value[world.status()["run"]["id"]] = 0.85
    world.until("Succeeded", controller)
    status = world.status()
    assert status["reason"] == "TargetReached"
    assert status["step"] < 100
    job = world.cluster.see(world.kind, status["job"]["name"])
    assert job["metadata"]["annotations"][names.STAGES] == "evaluate,report"


def test_no_better_score_for_long_enough_ends_training(world):
    world.apply(stopWhen={"patience": 2})
    controller = world.controller()
    world.after(controller, 4)
    run = world.status()["run"]["id"]
    world.value[run], world.best[run] = 0.5, 10
    world.until("Succeeded", controller)
    assert world.status()["reason"] == "NoImprovement"
    assert world.status()["stopped"]["step"] >= 30


def test_half_a_gang_is_said(world):
    world.apply()
    world.unschedulable = {1}
    controller = world.controller()
    world.after(controller, 5)
    assert world.condition("Scheduled") == ("False", "HalfAGang")
    assert "1 of 2 pods" in str(world.status()["conditions"])
    world.unschedulable = set()
    world.until("Succeeded", controller)


def test_a_finished_job_goes_when_it_was_kept_long_enough(world):
    world.apply(keep={"age": "1m"})
    controller = world.controller()
    world.until("Succeeded", controller)
    world.after(controller, 4)
    assert world.cluster.names(world.kind)
    world.after(controller, 5)
    assert not world.cluster.names(world.kind)
    assert world.status()["phase"] == "Succeeded"
    world.after(controller, 5)
    assert not world.cluster.names(world.kind)


def test_only_the_latest_jobs_of_a_run_name_are_kept(world):
    controller = world.controller()
    for seed, name in enumerate(("one", "two", "three")):
        world.apply(name, run={"seed": seed}, keep={"count": 2})
        world.until("Succeeded", controller, name=name)
        world.tick()
    controller.resync()
    left = {
        world.cluster.see(world.kind, name)["metadata"]["labels"][names.TRMRUN]
        for name in world.cluster.names(world.kind)
    }
    assert left == {"two", "three"}


def test_the_same_run_twice_is_trained_once(world):
    world.apply("one")
    controller = world.controller()
    world.after(controller, 3)
    world.apply("two")
    world.after(controller, 2)
    assert world.condition("Accepted", "two") == ("False", "NameTaken")
    world.until("Succeeded", controller)
    assert len(world.cluster.names(world.kind)) == 1


def test_a_job_of_a_trmrun_that_is_gone_is_ended_after_a_while(world):
    world.apply()
    controller = world.controller()
    world.after(controller, 4)
    world.cluster.remove(TRMRUN, "one")
    world.after(controller, 4)
    assert world.cluster.names(world.kind)
    world.after(controller, 6)
    assert not world.cluster.names(world.kind)
    assert not world.cluster.names(POD)


def test_a_trmrun_made_anew_takes_its_job_over(world):
    world.apply()
    controller = world.controller()
    world.after(controller, 4)
    world.cluster.remove(TRMRUN, "one")
    world.apply()
    world.until("Succeeded", controller)
    assert len(world.starts) == 1


def test_jobs_outlive_the_definition_of_trmruns(world):
    world.apply()
    controller = world.controller()
    world.after(controller, 4)
    world.cluster.remove(TRMRUN, "one")

    def going(kind, body):
        if kind == TRMRUN:
            from trmkit.errors import ClusterRefusedError

            raise ClusterRefusedError("create not allowed while custom resource definition is terminating")

    world.cluster.admission.append(going)
    world.after(controller, 20)
    assert len(world.cluster.names(world.kind)) == 1
    assert world.steps


def test_a_store_that_does_not_answer_is_said_and_nothing_is_forgotten(world):
    world.apply()
    controller = world.controller()
    world.after(controller, 6)
    saved = world.status()["checkpoint"]
    world.readable = False
    world.after(controller, 1)
    assert world.condition("StoreReadable")[0] == "False"
    assert world.status()["checkpoint"] == saved


def test_an_event_tells_of_each_change_of_phase(world):
    world.apply()
    world.until("Succeeded", world.controller())
    assert world.events() == ["Made", "NotAllUp", "Running", "Succeeded"]


def test_a_run_whose_job_was_gone_before_its_end_was_seen_is_done(world):
    world.apply()
    world.after(world.controller(), 4)
    world.tick(12)
    world.cluster.delete(world.kind, world.cluster.names(world.kind)[0])
    world.states[world.status()["run"]["id"]] = "scored"
    world.tick(2)
    world.until("Succeeded", world.controller(), 3)
    assert not world.cluster.names(world.kind)
