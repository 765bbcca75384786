"""The commands where a controller keeps the runs: what a person does to a run is done to its TrmRun."""

import json

import pytest

from tests.trmctl.conftest import GOOD, Run
from tests.trmctl.conftest import trmctl as trmctl_fixture
from tests.trmctl.controller.world import World
from tests.trmctl.test_doctor_controller import with_a_controller
from trmctl.cluster import CONFIG_MAP, POD, PYTORCHJOB, TRMRUN
from trmkit.render import names
from trmkit.render.names import job_name
from trmkit.spec.load import loads

NAME = job_name(loads(GOOD))
trmctl = trmctl_fixture


@pytest.fixture
def world() -> World:
    """A world whose controller looks, and whose time passes, whenever a command waits."""
    made = World()
    controller = made.controller()

    def passes() -> None:
        controller.resync()
        made.tick()

    made.cluster.script = [passes] * 400
    made.passes = passes  # type: ignore[attr-defined]
    return made


def go(world: World, times: int = 5) -> None:
    for _ in range(times):
        world.passes()  # type: ignore[attr-defined]


def test_submit_hands_in_a_trmrun_where_there_are_such(trmctl: Run, world: World) -> None:
    result = trmctl("submit", cluster=world.cluster)
    assert (result.code, result.out) == (0, f"{NAME}\n")
    assert [(verb, kind) for verb, kind, _ in world.cluster.mutations] == [("create", "trmruns")]
    spec = world.cluster.see(TRMRUN, NAME)["spec"]
    assert spec == {"run": loads(GOOD).model_dump(mode="json", exclude_unset=True)}
    assert "TrmRun" in result.err


def test_submit_says_when_nobody_would_look_after_it(trmctl: Run, world: World) -> None:
    alone = trmctl("submit", cluster=world.cluster)
    assert "note  no controller is in" in alone.err
    assert "--direct hands in a plain job" in alone.err
    trmctl("delete", NAME, "--yes", cluster=world.cluster)
    assert "no controller" not in trmctl("submit", cluster=with_a_controller(world.cluster)).err
    silent = trmctl("submit", "--set", "seed=2", cluster=with_a_controller(world.cluster, ago=120))
    assert "note  no controller has said anything for 60 s" in silent.err


def test_what_is_not_said_stays_unsaid(trmctl: Run, world: World) -> None:
    trmctl("submit", "--set", "cluster.memory=2Gi", cluster=world.cluster)
    assert world.cluster.see(TRMRUN, NAME)["spec"]["run"]["cluster"] == {"memory": "2Gi"}


def test_direct_is_a_plain_job(trmctl: Run, world: World) -> None:
    trmctl("submit", "--direct", cluster=world.cluster)
    assert world.cluster.names(PYTORCHJOB) == [NAME]
    assert not world.cluster.names(TRMRUN)


def test_without_the_right_to_make_trmruns_it_is_a_plain_job(trmctl: Run, world: World) -> None:
    world.cluster.denied.add(("create", "trmruns"))
    trmctl("submit", cluster=world.cluster)
    assert world.cluster.names(PYTORCHJOB) == [NAME]


def test_follow_goes_on_until_the_controller_says_that_it_is_done(trmctl: Run, world: World) -> None:
    result = trmctl("submit", "--follow", cluster=world.cluster)
    assert result.code == 0
    assert world.status(NAME)["phase"] == "Succeeded"
    assert "succeeded" in result.err.lower()


def test_follow_outlives_a_job_that_is_made_anew(trmctl: Run, world: World) -> None:
    trmctl("submit", cluster=world.cluster)
    go(world, 4)
    world.fail(NAME)
    result = trmctl("logs", "-f", NAME, cluster=world.cluster)
    assert world.status(NAME)["restarts"] == 1
    assert result.code == 0


def test_submitting_twice_is_once_and_other_settings_are_refused(trmctl: Run, world: World) -> None:
    trmctl("submit", cluster=world.cluster)
    assert "adopted" in trmctl("submit", cluster=world.cluster).err
    again = trmctl("submit", "--set", "cluster.memory=2Gi", cluster=world.cluster)
    assert again.code == 2
    assert "other settings" in again.err
    replaced = trmctl("submit", "--set", "cluster.memory=2Gi", "--if-exists", "replace", cluster=world.cluster)
    assert replaced.code == 0
    assert world.cluster.see(TRMRUN, NAME)["spec"]["run"]["cluster"] == {"memory": "2Gi"}


def test_one_that_was_paused_and_goes_on_is_still_the_same(trmctl: Run, world: World) -> None:
    trmctl("submit", cluster=world.cluster)
    go(world)
    trmctl("pause", "little", "--wait", cluster=world.cluster)
    go(world)
    assert f"{NAME} is there already: paused" in trmctl("submit", cluster=world.cluster).err
    trmctl("resume", "little", "--wait", cluster=world.cluster)
    again = trmctl("submit", cluster=world.cluster)
    assert (again.code, again.out) == (0, f"{NAME}\n")


def test_what_is_said_as_it_would_be_unsaid_is_the_same(trmctl: Run, world: World, tmp_path) -> None:
    trmctl("submit", cluster=world.cluster)
    spec = world.cluster.see(TRMRUN, NAME)["spec"]
    world.cluster.edit(TRMRUN, NAME, spec={**spec, "pipeline": False, "attempts": {"backoff": "10s"}})
    assert trmctl("submit", cluster=world.cluster).code == 0
    world.cluster.edit(TRMRUN, NAME, spec={**spec, "attempts": {"backoff": "11s"}})
    assert trmctl("submit", cluster=world.cluster).code == 2


def test_a_trmrun_file_is_handed_in_as_it_is(trmctl: Run, world: World, tmp_path) -> None:
    body = {"apiVersion": "trm.dev/v1alpha1", "kind": "TrmRun", "metadata": {"name": "mine"}}
    run = loads(GOOD).model_dump(mode="json", exclude_unset=True)
    (tmp_path / "mine.yaml").write_text(json.dumps({**body, "spec": {"run": run, "deadline": "2h"}}))
    result = trmctl("submit", "-c", "mine.yaml", cluster=world.cluster)
    assert result.out == "mine\n"
    assert world.cluster.see(TRMRUN, "mine")["spec"]["deadline"] == "2h"


def test_a_run_is_listed_once_and_found_by_each_of_its_names(trmctl: Run, world: World) -> None:
    trmctl("submit", cluster=world.cluster)
    go(world)
    rows = json.loads(trmctl("list", "-o", "json", cluster=world.cluster).out)["runs"]
    assert [(row["kind"], row["state"], row["name"]) for row in rows] == [("TrmRun", "Running", "little")]
    for name in (NAME, "little"):
        found = json.loads(trmctl("status", name, "-o", "json", cluster=world.cluster).out)
        assert (found["kind"], found["phase"], len(found["pods"])) == ("TrmRun", "Running", 1)


def test_pause_and_resume_are_asked_of_the_controller(trmctl: Run, world: World) -> None:
    trmctl("submit", cluster=world.cluster)
    go(world)
    assert trmctl("pause", "little", "--wait", cluster=world.cluster).code == 0
    assert world.cluster.see(TRMRUN, NAME)["spec"]["suspend"] is True
    assert not world.cluster.names(POD)
    assert trmctl("resume", "little", "--wait", cluster=world.cluster).code == 0
    assert world.status(NAME)["phase"] == "Running"


def test_delete_removes_all_of_it_also_without_a_controller(trmctl: Run, world: World) -> None:
    trmctl("submit", cluster=world.cluster)
    go(world)
    world.cluster.script = [world.tick] * 20
    assert trmctl("delete", "little", "--wait", cluster=world.cluster).code == 0
    for kind in (TRMRUN, PYTORCHJOB, CONFIG_MAP, POD):
        assert not world.cluster.names(kind)


def test_cancel_ends_it_and_the_run_file_stays(trmctl: Run, world: World) -> None:
    trmctl("submit", cluster=world.cluster)
    go(world)
    assert trmctl("cancel", "little", "--wait", cluster=world.cluster).code == 0
    assert not world.cluster.names(TRMRUN)
    assert not world.cluster.names(PYTORCHJOB)
    assert world.cluster.names(CONFIG_MAP) == [NAME]


def test_why_says_what_the_controller_says(trmctl: Run, world: World) -> None:
    world.apply("wrong", run={"train": {"steps": 0}})
    go(world, 1)
    result = trmctl("why", "wrong", cluster=world.cluster)
    assert "cannot be followed" in result.out
    assert "train.steps" in result.out
    world.apply("new")
    world.cluster.now += 60
    assert "No controller" in trmctl("why", "new", cluster=world.cluster).out


def test_resubmit_tries_a_failed_run_again(trmctl: Run, world: World) -> None:
    world.plan = [(1, "Error")]
    trmctl("submit", cluster=world.cluster)
    go(world, 6)
    assert world.status(NAME)["phase"] == "Failed"
    result = trmctl("resubmit", "little", "--follow", cluster=world.cluster)
    assert result.code == 0
    assert world.status(NAME)["phase"] == "Succeeded"
    assert world.cluster.names(TRMRUN) == [NAME]


def test_submit_tries_a_failed_run_again_as_often_as_it_is_asked(trmctl: Run, world: World) -> None:
    world.plan = [(1, "Error"), (1, "Error")]
    for _ in range(2):
        assert trmctl("submit", cluster=world.cluster).code == 0
        go(world, 6)
        assert world.status(NAME)["phase"] == "Failed"
    assert trmctl("submit", "--follow", cluster=world.cluster).code == 0
    assert world.status(NAME)["phase"] == "Succeeded"


def test_resubmit_with_other_training_is_another_trmrun(trmctl: Run, world: World) -> None:
    trmctl("submit", cluster=world.cluster)
    go(world, 30)
    assert trmctl("resubmit", "little", "--set", "train.lr=0.01", cluster=world.cluster).code == 0
    assert len(world.cluster.names(TRMRUN)) == 2
    go(world, 2)
    labels = [world.cluster.see(PYTORCHJOB, one)["metadata"]["labels"] for one in world.cluster.names(PYTORCHJOB)]
    assert sorted(one[names.TRMRUN] for one in labels) == sorted(world.cluster.names(TRMRUN))
