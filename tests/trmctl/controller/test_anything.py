"""Whatever happens, in whatever order: never two jobs at once, no checkpoint lost, and an end within the budgets."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.trmctl.controller.faults import Deadly, KilledError
from tests.trmctl.controller.trainjobs import TrainWorld
from tests.trmctl.controller.world import World
from trmctl.cluster import POD, TRMRUN

ENDINGS = [(143, "Preempted"), (137, "OOMKilled"), (137, "Killed"), (1, "Error"), (2, "Config"), (139, "Error")]
HAPPENINGS = [
    "tick", "tick", "tick", "suspend", "resume", "memory", "learning rate", "put back", "pod ends", "pod lost",
    "job deleted", "job fails", "no machine", "machines", "store away", "store back", "hang", "start error", "killed",
    "killed after", "made anew", "two at once", "good score",
]  # fmt: skip
happening = st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, 7))


class Life:
    """One run and all that happens to it."""

    def __init__(self, kind: type[World]) -> None:
        self.world = kind()
        self.world.apply(deadline="2h", stopWhen={"target": 0.9}, attempts={"limit": 2})
        self.run = self.world.cluster.see(TRMRUN, "one")["spec"]["run"]
        self.deadly = Deadly(self.world.cluster)
        self.controller = self.world.controller(self.deadly)
        self.newest = -1

    def look(self) -> None:
        """Have the controller look, and see that it does nothing it must not."""
        try:
            self.controller.resync()
        except KilledError:
            self.deadly = Deadly(self.world.cluster)
            self.controller = self.world.controller(self.deadly)
        status = self.world.status()
        step = (status.get("checkpoint") or {}).get("step", -1)
        assert step >= self.newest, "it forgot a checkpoint"
        self.newest = step
        assert self.world.live_at_once <= 1, "two jobs of one run trained at once"

    def tick(self) -> None:
        self.world.tick()
        self.look()

    def happen(self, what: str, number: int) -> None:
        """Have something happen."""
        world, run = self.world, self.run
        pods, jobs = world.cluster.names(POD), world.cluster.names(world.kind)
        if what == "suspend":
            world.change(suspend=True)
        elif what == "resume":
            world.change(suspend=False)
        elif what == "memory":
            world.change(run={**run, "cluster": {**run["cluster"], "memory": f"{16 + number}Gi"}})
        elif what == "learning rate":
            world.change(run={**run, "train": {**run["train"], "lr": 0.01 * (1 + number)}})
        elif what == "put back":
            world.change(run=run)
        elif what == "pod ends" and pods:
            pod = world.cluster.see(POD, pods[number % len(pods)])
            if pod["status"]["phase"] == "Running":
                world._end(pod, *ENDINGS[number % len(ENDINGS)])
        elif what == "pod lost" and pods:
            world.cluster.remove(POD, pods[number % len(pods)])
        elif what == "job deleted" and jobs:
            world.cluster.delete(world.kind, jobs[0])
        elif what == "job fails" and jobs:
            world.fail(jobs[0])
        elif what == "no machine":
            world.unschedulable = {number % 2}
        elif what == "machines":
            world.unschedulable = set()
        elif what in ("store away", "store back"):
            world.readable = what == "store back"
        elif what in ("hang", "start error"):
            world.plan.append("hang" if what == "hang" else "StartError")
        elif what.startswith("killed"):
            self.deadly.at, self.deadly.after = self.deadly.writes + 1 + number, what == "killed after"
        elif what == "made anew":
            spec = world.cluster.see(TRMRUN, "one")["spec"]
            world.cluster.remove(TRMRUN, "one")
            world.cluster.put(TRMRUN, {"metadata": {"name": "one"}, "spec": {**spec, "run": run}})
            self.newest = -1
        elif what == "two at once":
            world.controller().resync()
        elif what == "good score" and world.steps:
            world.value[next(iter(world.steps))] = 0.95


def lived(kind: type[World], happenings: list[tuple[str, int]]) -> None:
    life = Life(kind)
    life.look()
    for what, number in happenings:
        life.happen(what, number)
        life.tick()
    world = life.world
    world.unschedulable, world.readable = set(), True
    world.change(suspend=False, run=life.run)
    life.deadly.at = 0
    life.tick()
    for _ in range(900):
        if world.status().get("phase") in ("Succeeded", "Failed"):
            break
        life.tick()
    for _ in range(8):
        life.tick()
    assert world.status()["phase"] in ("Succeeded", "Failed"), world.status()
    assert not [pod for pod in world.cluster.names(POD) if world.cluster.see(POD, pod)["status"]["phase"] == "Running"]
    assert len(world.cluster.names(world.kind)) <= 1
    if world.saved:
        assert world.status()["checkpoint"]["step"] == max(world.saved.values())
    wrong = [line for line in world.lines if line["event"] == "failed"]
    assert not wrong, wrong


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(st.sampled_from([World, TrainWorld]), st.lists(happening, max_size=30))
def test_it_ends_and_nothing_is_done_twice_or_lost(kind, happenings):
    lived(kind, happenings)


@pytest.mark.full
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate])
@given(st.sampled_from([World, TrainWorld]), st.lists(happening, max_size=60))
def test_it_ends_and_nothing_is_done_twice_or_lost_in_many_lives(kind, happenings):
    lived(kind, happenings)
