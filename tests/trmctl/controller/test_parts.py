"""The parts around the core: who decides, what stores and pods say, which rights it uses, what waits in the queue."""

import json
import queue
import threading
import time

import pytest

from tests.helm.guarded import GuardedCluster, rights
from tests.trmctl.controller.test_crashes import disturbed, enough
from tests.trmctl.controller.world import RUN, World
from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cluster import CRON_WORKFLOW, KUEUE_WORKLOAD, LEASE, PYTORCHJOB, TRAINJOB, TRMRUN, WORKFLOW, Kind
from trmctl.controller.lease import LASTS, NAME, Lease
from trmctl.controller.runner import WORKERS, Queue, Runner
from trmctl.merge_patch import difference
from trmkit.render import names
from trmkit.render.base import CONTROLLER, CONTROLLER_LEASE

SERVED = (PYTORCHJOB, TRAINJOB, WORKFLOW, CRON_WORKFLOW, TRMRUN, KUEUE_WORKLOAD, LEASE)


def test_one_of_two_replicas_decides_and_the_other_takes_over_when_it_is_silent() -> None:
    cluster = FakeCluster()
    one, two = Lease(cluster, "team", "one"), Lease(cluster, "team", "two")
    assert one.held(0.0)
    assert not two.held(1.0)
    assert one.held(12.0)
    assert not two.held(13.0)
    assert not two.held(13.0 + LASTS - 1)
    assert two.held(13.0 + LASTS + 1)
    assert not one.held(13.0 + LASTS + 2)
    assert cluster.see(LEASE, NAME)["spec"]["leaseTransitions"] == 1


def test_a_replica_that_leaves_lets_the_other_one_decide_at_once() -> None:
    cluster = FakeCluster()
    one, two = Lease(cluster, "team", "one"), Lease(cluster, "team", "two")
    assert one.held(0.0)
    one.release()
    assert two.held(1.0)
    assert not one.held(2.0)


def test_of_two_that_renew_at_the_same_moment_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()
    one, two = Lease(cluster, "team", "one"), Lease(cluster, "team", "two")
    one.held(0.0)
    one.release()
    read = cluster.get

    def both(*args: object, **how: object) -> object:
        found = read(*args, **how)  # type: ignore[arg-type]
        monkeypatch.undo()
        assert two.held(1.0)
        return found

    monkeypatch.setattr(cluster, "get", both)
    assert not one.held(1.0)


def test_what_waits_is_taken_once_and_in_its_time() -> None:
    now = [0.0]
    line = Queue(lambda: now[0])
    line.put(("team", "late"), 5.0)
    line.put(("team", "soon"), 0.0)
    line.put(("team", "late"), 1.0)
    line.put(("team", "late"), 9.0)
    assert line.take() == ("team", "soon")
    now[0] = 2.0
    assert line.take() == ("team", "late")
    assert len(line) == 0
    line.close()
    assert line.take() is None


def test_a_merge_patch_makes_the_new_of_the_old() -> None:
    old = {"a": 1, "b": {"c": 1, "d": 2}, "e": [1]}
    new = {"b": {"c": 1, "f": 3}, "e": [2]}
    assert difference(old, new) == {"a": None, "b": {"d": None, "f": 3}, "e": [2]}
    assert difference(new, new) == {}


def test_every_right_of_the_controller_is_used_and_no_other_is_needed() -> None:
    used: set[tuple[str, str, str]] = set()
    for life in (disturbed, enough):
        world = World()
        world.cluster = GuardedCluster((*CONTROLLER, *CONTROLLER_LEASE), "team", *SERVED)
        world.cluster.lingering = True
        live_through(world, life)
        assert not world.cluster.refused
        used |= world.cluster.used
    used |= in_a_queue() | as_a_pipeline() | as_a_trainjob() | watched()
    assert used == rights((*CONTROLLER, *CONTROLLER_LEASE))


def live_through(world: World, life) -> None:
    script = life(world)
    controller = world.controller()
    lease = Lease(world.cluster, "team", "one")
    for tick in range(80):
        lease.held(tick * 11.0)
        controller.resync()
        if script and script[0][0](world):
            script.pop(0)[1](world)
        world.tick()
        controller.look_at("team", "one")
    world.cluster.remove(TRMRUN, "one")
    world.after(controller, 12)


def guarded() -> tuple[World, GuardedCluster]:
    world = World()
    cluster = GuardedCluster((*CONTROLLER, *CONTROLLER_LEASE), "team", *SERVED)
    world.cluster = cluster
    return world, cluster


def used_only(cluster: GuardedCluster) -> set[tuple[str, str, str]]:
    """Return the rights that were used, if nothing was asked for beyond them."""
    assert not cluster.refused
    return cluster.used


def in_a_queue() -> set[tuple[str, str, str]]:
    """A run that waits in a queue of Kueue, and is paused there."""
    world, cluster = guarded()
    world.apply(run={"cluster": {"queue": "batch"}})
    controller = world.controller()
    world.after(controller, 3)
    job = cluster.see(PYTORCHJOB, cluster.names(PYTORCHJOB)[0])
    labels = {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}
    cluster.put(KUEUE_WORKLOAD, {"metadata": {"name": "w", "labels": labels}, "spec": {"active": True}})
    world.change(suspend=True)
    world.after(controller, 2)
    assert cluster.see(KUEUE_WORKLOAD, "w")["spec"]["active"] is False
    return used_only(cluster)


def as_a_pipeline() -> set[tuple[str, str, str]]:
    """A pipeline that is paused, and made anew."""
    world, cluster = guarded()
    world.apply(pipeline=True)
    controller = world.controller()
    world.after(controller, 2)
    name = cluster.names(WORKFLOW)[0]
    cluster.edit(WORKFLOW, name, status={"phase": "Running", "startedAt": "2026-01-01T12:00:00Z"})
    world.change(suspend=True)
    world.after(controller, 2)
    assert cluster.see(WORKFLOW, name)["spec"]["suspend"] is True
    cluster.edit(WORKFLOW, name, status={"phase": "Failed", "finishedAt": "2026-01-01T13:00:00Z"})
    world.change(suspend=False)
    world.after(controller, 4)
    return used_only(cluster)


def as_a_trainjob() -> set[tuple[str, str, str]]:
    """A run as a TrainJob, of which other settings are asked."""
    world, cluster = guarded()
    world.apply(run={"cluster": {"backend": "trainjob"}})
    controller = world.controller()
    world.after(controller, 2)
    assert len(cluster.names(TRAINJOB)) == 1
    controller.look_at("team", "one")
    world.change(suspend=True)
    world.after(controller, 1)
    world.change(suspend=False, run={**RUN, "cluster": {"backend": "trainjob", "memory": "32Gi"}})
    world.after(controller, 3)
    label = cluster.see(TRAINJOB, cluster.names(TRAINJOB)[0])["metadata"]["labels"]
    assert label[names.TRMRUN] == "one"
    return used_only(cluster)


def watched() -> set[tuple[str, str, str]]:
    """Return what kopf lists and watches for the handlers of the shell."""
    from trmctl.controller.shell import WATCHED

    return {(kind.group, kind.plural, verb) for kind in WATCHED for verb in ("list", "watch")}


@pytest.mark.parametrize("kind", [PYTORCHJOB, TRAINJOB, WORKFLOW], ids=lambda kind: kind.kind)
def test_nobody_but_the_controller_removes_a_job_that_is_over(kind: Kind) -> None:
    world = World()
    world.cluster.served -= {PYTORCHJOB}
    world.cluster.served |= {kind}
    world.apply(pipeline=kind == WORKFLOW, keep={"age": "7d"})
    world.controller().resync()
    (name,) = world.cluster.names(kind)
    assert "ttl" not in json.dumps(world.cluster.see(kind, name)["spec"]).lower()


def running(controller, cluster: FakeCluster, lines: list[object]) -> Runner:
    """Return a runner that has begun, and decides."""
    log = lambda event, **fields: lines.append((event, fields.get("error")))  # noqa: E731
    runner = Runner(controller, Lease(cluster, "team", "me"), 60.0, log)
    runner.start()
    assert runner._leads.wait(5.0)
    return runner


class Looking:
    """A controller that only says who is looked at."""

    def __init__(self, world: World) -> None:
        self.metrics, self.looked, self.free = world.controller().metrics, queue.Queue[str](), threading.Event()
        self.free.set()

    def resync(self) -> list[object]:
        self.metrics.resynced(0.0)
        return []

    def look_at(self, namespace: str, name: str) -> None:
        self.looked.put(name)
        self.free.wait(10.0)

    def owner(self, namespace: str, job: str) -> str:
        return job


def test_who_waits_for_an_answer_about_the_lease_does_not_decide_when_it_may_be_another_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trmctl.controller.lease.LASTS", 1.5)
    monkeypatch.setattr("trmctl.controller.lease.RENEWED", 0.2)
    cluster, lines = FakeCluster(), list[object]()
    looking = Looking(World())
    runner = running(looking, cluster, lines)
    try:
        runner.wake("team", "first")
        assert looking.looked.get(timeout=5.0) == "first"
        silent, asked, read = threading.Event(), threading.Event(), cluster.get

        def nothing(*args: object, **how: object) -> object:
            asked.set()
            silent.wait(20.0)
            return read(*args, **how)  # type: ignore[arg-type]

        monkeypatch.setattr(cluster, "get", nothing)
        assert asked.wait(10.0)
        time.sleep(1.5)
        assert runner._leads.is_set()
        runner.wake("team", "second")
        with pytest.raises(queue.Empty):
            looking.looked.get(timeout=1.5)
    finally:
        silent.set()
        runner.stop()


def test_the_lease_is_only_given_back_when_nothing_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trmctl.controller.runner.LEAVES", 0.3)
    cluster, lines = FakeCluster(), list[object]()
    looking = Looking(World())
    runner = running(looking, cluster, lines)
    looking.free.clear()
    for name in ("first", "second"):
        runner.wake("team", name)
        assert looking.looked.get(timeout=5.0) == name
    began = time.monotonic()
    runner.stop()
    assert time.monotonic() - began < 3.0
    assert cluster.see(LEASE, NAME)["spec"]["holderIdentity"] == "me"
    assert "the lease is not given back" in [line[0] for line in lines]  # type: ignore[index]
    looking.free.set()
    runner.stop()
    assert cluster.see(LEASE, NAME)["spec"]["holderIdentity"] == ""


def test_a_worker_that_meets_something_unforeseen_goes_on() -> None:
    world = World()
    looked = threading.Event()
    controller = world.controller()

    def broken(namespace: str, name: str) -> float | None:
        if name != "last":
            raise RuntimeError("unforeseen")
        looked.set()
        return None

    controller.look_at = broken  # type: ignore[method-assign]
    runner = Runner(controller, Lease(world.cluster, "team", "me"), 60.0, world._log)
    runner.start()
    try:
        assert runner._leads.wait(5.0)
        for number in range(2 * WORKERS):
            runner.wake("team", f"run-{number}")
        runner.wake("team", "last")
        assert looked.wait(10.0)
    finally:
        runner.stop()
    assert "RuntimeError: unforeseen" in [line.get("error") for line in world.lines]
