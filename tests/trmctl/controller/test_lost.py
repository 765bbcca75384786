"""What is not lost: a run whose TrmRun goes, comes back or has another name, whose store moves, whose pod hangs."""

import pytest

from trmctl.cluster import CONFIG_MAP, POD, TRMRUN
from trmctl.controller.orphans import LONG_GRACE
from trmkit.render import names


def several(world, *names_):
    """Have several runs train; return their objects."""
    for number, name in enumerate(names_):
        world.apply(name, run={"seed": number, "train": {"steps": 100_000}})
    controller = world.controller()
    world.after(controller, 5)
    return controller, {name: world.cluster.see(TRMRUN, name) for name in names_}


def test_jobs_outlive_a_definition_that_is_made_again_between_two_looks(world):
    world.evaluates = True
    controller, bodies = several(world, "one", "two")
    for name in bodies:
        world.cluster.remove(TRMRUN, name)
    world.after(controller, 60)
    assert len(world.cluster.names(world.kind)) == 2
    for name, body in bodies.items():
        world.cluster.put(TRMRUN, {"metadata": {"name": name}, "spec": body["spec"]})
    world.after(controller, 3)
    assert [world.status(name)["phase"] for name in bodies] == ["Running", "Running"]
    assert len(world.starts) == 2


def test_jobs_whose_trmruns_stay_away_are_ended_after_an_hour(world):
    world.evaluates = True
    controller, bodies = several(world, "one", "two")
    for name in bodies:
        world.cluster.remove(TRMRUN, name)
    world.after(controller, int(LONG_GRACE / 10) + 10)
    assert not world.cluster.names(world.kind)


def test_of_several_runs_one_that_is_deleted_is_ended_soon(world):
    world.evaluates = True
    controller, _ = several(world, "one", "two")
    world.cluster.remove(TRMRUN, "one")
    world.after(controller, 20)
    assert len(world.cluster.names(world.kind)) == 1
    assert world.status("two")["phase"] == "Running"


@pytest.mark.parametrize("look", ["all", "one"])
@pytest.mark.parametrize("again", [False, True], ids=["the same controller", "another one"])
def test_a_run_whose_trmrun_has_another_name_now_goes_on(world, look, again):
    world.evaluates = True
    controller, bodies = several(world, "one")
    (job,) = world.cluster.names(world.kind)
    world.cluster.remove(TRMRUN, "one")
    world.cluster.put(TRMRUN, {"metadata": {"name": "other"}, "spec": bodies["one"]["spec"]})
    controller = world.controller() if again else controller
    if look == "one":
        for _ in range(3):
            controller.look_at("team", "other")
    world.after(controller, 12)
    assert world.status("other")["phase"] == "Running"
    assert world.cluster.see(world.kind, job)["metadata"]["labels"][names.TRMRUN] == "other"
    assert len(world.starts) == 1


def test_of_two_trmruns_of_one_run_the_second_is_refused_while_the_first_is_there(world):
    world.evaluates = True
    controller, bodies = several(world, "one")
    world.cluster.put(TRMRUN, {"metadata": {"name": "other"}, "spec": bodies["one"]["spec"]})
    for _ in range(3):
        controller.look_at("team", "other")
    world.after(controller, 12)
    assert world.condition("Accepted", "other") == ("False", "NameTaken")
    assert len(world.starts) == 1


@pytest.mark.parametrize("how", ["the spec", "the defaults"])
def test_a_run_is_not_begun_anew_in_another_store(world, how):
    world.evaluates = True
    controller, bodies = several(world, "one")
    run = bodies["one"]["spec"]["run"]
    if how == "the spec":
        world.change(run={**run, "storage": {**run.get("storage", {}), "remote": "s3://elsewhere/runs"}})
    else:
        world.change(run={**run, "storage": {}})
        text = "storage: {remote: s3://elsewhere/runs}"
        world.cluster.put(CONFIG_MAP, {"metadata": {"name": "trm-defaults"}, "data": {"defaults.yaml": text}})
    world.after(controller, 6)
    assert world.condition("Accepted") == ("False", "StoreChanged")
    assert world.status()["phase"] == "Running"
    assert "elsewhere" not in world.status()["run"]["store"]
    assert len(world.starts) == 1
    world.change(run=run)
    world.after(controller, 3)
    assert world.condition("Accepted")[0] == "True"


def test_a_run_whose_results_are_in_its_store_is_not_made_again(world):
    world.apply()
    controller = world.controller()
    world.until("Succeeded", controller)
    run = world.status()["run"]["id"]
    world.states[run] = "scored"
    body = world.cluster.see(TRMRUN, "one")
    world.cluster.remove(TRMRUN, "one")
    world.after(controller, 30)
    world.cluster.put(TRMRUN, {"metadata": {"name": "one"}, "spec": body["spec"]})
    world.after(controller, 5)
    assert (world.status()["phase"], world.status()["reason"]) == ("Succeeded", "AlreadyDone")
    assert len(world.starts) == 1


def test_what_mends_a_run_counts_also_when_it_could_not_be_followed_at_first(world):
    world.apply()
    world.plan = [(1, "Error")]
    controller = world.controller()
    world.until("Failed", controller)
    world.cluster.put(CONFIG_MAP, {"metadata": {"name": "trm-defaults"}, "data": {"defaults.yaml": "- 1"}})
    world.change(deadline="9h")
    world.after(controller, 3)
    assert world.condition("Accepted") == ("False", "DefaultsUnreadable")
    world.cluster.remove(CONFIG_MAP, "trm-defaults")
    world.until("Succeeded", controller)


@pytest.mark.parametrize("limit", [3, 12])
def test_any_number_of_attempts_is_a_limit(world, limit):
    world.apply(attempts={"limit": limit, "backoff": "0s"}, run={"cluster": {"restarts": 1}})
    world.plan = [(137, "Killed")] * 60
    world.until("Failed", world.controller(), ticks=900)
    assert world.status()["reason"] == "OutOfAttempts"
    assert len(world.starts) == limit + 1


def test_a_pod_that_does_not_leave_is_named(world):
    controller, _ = several(world, "one")
    pod = world.cluster.see(POD, world.cluster.names(POD)[0])
    world.cluster.remove(world.kind, world.cluster.names(world.kind)[0])
    about = {**pod["metadata"], "deletionTimestamp": "2026-01-01T12:00:00Z"}
    hanging = {**pod, "metadata": about, "spec": {**pod["spec"], "nodeName": "node-7"}}
    world.cluster.put(POD, hanging)
    world.cluster.now += 600
    controller.resync()
    controller.resync()
    status = world.status()
    assert (status["phase"], status["reason"]) == ("Pending", "PodStuck")
    assert f"kubectl delete pod {about['name']} --force" in status["message"]
    assert "node-7" in status["message"]
