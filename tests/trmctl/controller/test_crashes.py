"""A controller that is killed before or after any write, or sees what is no longer so, ends where one does that lives.

The method is that of Sieve: a life is recorded once without a fault, then lived again with a fault at each point.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.trmctl.controller.faults import Deadly, KilledError, Late
from tests.trmctl.controller.trainjobs import TrainWorld
from tests.trmctl.controller.world import World
from trmctl import pods as p
from trmctl.cluster import CONFIG_MAP, POD, TRMRUN

Script = list[tuple[Callable[[World], bool], Callable[[World], Any]]]
MOST_TICKS = 400


def at_step(step: int) -> Callable[[World], bool]:
    return lambda world: max(world.steps.values(), default=0) >= step


def phase(wanted: str) -> Callable[[World], bool]:
    return lambda world: world.status().get("phase") == wanted


def more_memory(world: World) -> None:
    run = world.cluster.see(TRMRUN, "one")["spec"]["run"]
    world.change(run={**run, "cluster": {**run["cluster"], "memory": "32Gi"}})


def made_anew(world: World) -> None:
    spec = world.cluster.see(TRMRUN, "one")["spec"]
    world.cluster.remove(TRMRUN, "one")
    world.cluster.put(TRMRUN, {"metadata": {"name": "one"}, "spec": spec})


def disturbed(world: World) -> Script:
    world.apply(keep={"age": "30s"})
    world.plan = [(143, "Preempted"), (137, "OOMKilled"), "fine"]
    return [
        (at_step(30), lambda w: w.change(suspend=True)),
        (phase("Paused"), lambda w: w.change(suspend=False)),
        (at_step(60), more_memory),
    ]


def mended(world: World) -> Script:
    world.apply()
    world.plan = [(1, "Error")]
    return [(phase("Failed"), lambda w: w.change(deadline="1d"))]


def enough(world: World) -> Script:
    world.apply(stopWhen={"target": 0.5})
    return [(at_step(40), lambda w: w.value.update({next(iter(w.steps)): 0.6}))]


def hopeless(world: World) -> Script:
    world.apply(keep={"age": "1m"})
    world.plan = ["StartError"] * 50
    return []


def overdue(world: World) -> Script:
    world.apply(deadline="2m")
    world.plan = ["hang"]
    return []


def stalled(world: World) -> Script:
    world.apply(run={"cluster": {"nodes": 2, "restarts": 2, "stall_minutes": 1.0}})

    def hang(w: World) -> None:
        w._stepped[f"hang {w.cluster.see(POD, w.cluster.names(POD)[0])['metadata']['uid']}"] = 1.0

    return [(at_step(30), hang)]


def replaced(world: World) -> Script:
    world.apply()
    return [(at_step(30), made_anew)]


def adopted(world: World) -> Script:
    """A job that was submitted without a TrmRun, and then has one."""
    world.apply()
    other = world.controller()
    other.resync()
    job = world.cluster.names(world.kind)[0]
    world.cluster.remove(TRMRUN, "one")
    body = world.cluster.see(world.kind, job)
    for note in ("trm.dev/trmrun-uid", "trm.dev/wanted"):
        del body["metadata"]["annotations"][note]
    del body["metadata"]["labels"]["trm.dev/trmrun"]
    world.cluster.put(world.kind, body)
    world.apply()
    return []


LIVES = [disturbed, mended, enough, hopeless, overdue, stalled, replaced, adopted]
Life = tuple[type[World], Callable[[World], Script]]


def live(which: Life, at: int = 0, after: bool = False) -> tuple[World, int]:
    """Live a life, with the controller killed at its write number `at` and started again ten seconds later."""
    kind, life = which
    world = kind()
    script = life(world)
    deadly = Deadly(world.cluster, at, after)
    controller, calm = world.controller(deadly), 0
    for _ in range(MOST_TICKS):
        before = len(world.cluster.mutations)
        try:
            controller.resync()
        except KilledError:
            controller = world.controller(world.cluster if at else deadly)
        if script and script[0][0](world):
            script.pop(0)[1](world)
        over = not script and world.status().get("phase") in ("Succeeded", "Failed")
        calm = calm + 1 if over and len(world.cluster.mutations) == before else 0
        if calm == 12:
            return world, deadly.writes
        world.tick()
    raise AssertionError(f"it does not end: {world.status()}")


def outcome(world: World) -> dict[str, Any]:
    """Return what must be the same whatever happened to the controller."""
    status = world.status()
    told = {"phase", "reason", "run", "totalSteps"}
    return {
        **{name: status.get(name) for name in told},
        "job": (status.get("job") or {}).get("name"),
        "saved": (status.get("checkpoint") or {}).get("step") == max(world.saved.values(), default=None),
        "why": status["attempts"][-1]["reason"],
        "tried": len(status["attempts"]) <= 5,
        "conditions": {one["type"]: one["status"] for one in status["conditions"]},
        "jobs": world.cluster.names(world.kind),
        "configs": world.cluster.names(CONFIG_MAP),
        "pods": sorted(p.rank(world.cluster.see(POD, name)) for name in world.cluster.names(POD)),
    }


def unharmed(world: World) -> None:
    wrong = [line for line in world.lines if line["event"] == "failed"]
    assert not wrong, wrong
    assert world.live_at_once <= 1


def few(quick: set[Life]) -> list[Any]:
    """Return lives with each kind of job, those that are not `quick` for the long batteries."""
    each = [(kind, life) for kind in (World, TrainWorld) for life in LIVES]
    return [
        pytest.param(one, marks=() if one in quick else pytest.mark.full, id=f"{one[0].kind.kind}-{one[1].__name__}")
        for one in each
    ]


@pytest.mark.parametrize("life", few({(World, enough), (World, adopted), (TrainWorld, mended)}))
def test_killed_before_and_after_every_write_it_ends_the_same(life):
    whole, writes = live(life)
    unharmed(whole)
    wanted = outcome(whole)
    assert writes > 3
    for at in range(1, writes + 1):
        for after in (False, True):
            world, _ = live(life, at, after)
            unharmed(world)
            where = f"killed {'after' if after else 'before'} write {at} of {writes}"
            assert outcome(world) == wanted, where
            assert len(world.starts) - len(whole.starts) in (0, 1), where  # one that nobody saw may be granted again


@pytest.mark.parametrize("life", few({(World, disturbed), (TrainWorld, replaced)}))
@pytest.mark.parametrize("lag", [2, *(pytest.param(lag, marks=pytest.mark.full) for lag in (1, 5, 11))])
def test_old_news_at_any_moment_change_nothing(life, lag):
    wanted = outcome(live(life)[0])
    for at in range(0, 60, 3):
        world = life[0]()
        script = life[1](world)
        controller, past, calm = world.controller(), [], 0
        for tick in range(MOST_TICKS):
            past.append(copy.copy(world.cluster._objects))
            if at <= tick < at + 3 and len(past) > lag:
                world.controller(Late(world.cluster, past[-1 - lag])).resync()
            before = len(world.cluster.mutations)
            controller.resync()
            if script and script[0][0](world):
                script.pop(0)[1](world)
            over = not script and world.status().get("phase") in ("Succeeded", "Failed")
            calm = calm + 1 if over and len(world.cluster.mutations) == before else 0
            if calm == 12:
                break
            world.tick()
        unharmed(world)
        found = outcome(world)
        assert found == wanted, f"old news at tick {at}"
