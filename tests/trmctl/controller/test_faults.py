"""Requests that go wrong: whatever a call of the controller is answered with, its run ends as it would have."""

from contextlib import suppress

import pytest
from kubernetes import client

from tests.trmctl.api_server import ApiServer, Fault
from tests.trmctl.controller.test_crashes import outcome
from tests.trmctl.controller.world import World
from trmctl.client.patience import Patience
from trmctl.controller.loop import Controller
from trmctl.controller.metrics import Metrics
from trmctl.kube import KubeCluster
from trmkit.errors import TrmError

QUICK = Patience(connect=1, read=0.3, total=0.05, contact=0.05, webhook=0.05, first=0.01, longest=0.02)
IN_A_ROW = 12
"""Answers that go wrong one after another: more than the client asks again, so that the controller sees it."""
ANSWERS: list[tuple[int | str, bool]] = [
    (409, False), (429, False), (500, False), (503, True), ("reset", False), ("reset", True), (403, False),
]  # fmt: skip
CALLS = [
    ("PATCH", "trmruns/one/status"), ("POST", "events"), ("POST", "configmaps"), ("POST", "pytorchjobs"),
    ("PATCH", "configmaps"), ("DELETE", "pytorchjobs"), ("GET", "pytorchjobs"), ("GET", "pods"), ("GET", "trmruns"),
]  # fmt: skip


def live(*faults: Fault) -> World:
    """Live the life of a run that is preempted once and then removed, while requests go wrong."""
    world = World()
    world.apply(keep={"age": "30s"})
    world.plan = [(143, "Preempted"), "fine"]
    with ApiServer(world.cluster) as server:
        settings = client.Configuration(host=server.url)
        settings.retries = False
        api = client.ApiClient(settings)
        cluster = KubeCluster(api, "team", server.url, QUICK, lambda _: None)
        controller = Controller(cluster, "team", world, Metrics(), lambda: world.cluster.now, world._log)  # type: ignore[arg-type]
        server.faults, calm = [*faults], 0
        for _ in range(80):
            before = len(world.cluster.mutations)
            with suppress(TrmError):
                controller.resync()
            over = world.status().get("phase") in ("Succeeded", "Failed")
            still = over and not server.faults and len(world.cluster.mutations) == before
            calm = calm + 1 if still else 0
            if calm == 5:
                break
            world.tick()
        api.rest_client.pool_manager.clear()
    return world


def made_up_for(method: str, where: str, answers: list[tuple[int | str, bool]]) -> None:
    wanted = outcome(live())
    for what, after in answers:
        text = '{"kind": "Status", "message": "it went wrong"}'
        world = live(*(Fault(method, where, what, after, text=text) for _ in range(IN_A_ROW)))
        strange = [line for line in world.lines if line["event"] == "failed" and "Cluster" not in line["error"]]
        assert not strange
        assert world.live_at_once <= 1
        assert outcome(world) == wanted, f"answered with {what}{', done all the same' if after else ''}"


def test_a_job_whose_making_goes_wrong_is_made_all_the_same() -> None:
    made_up_for("POST", "pytorchjobs", [("reset", True)])


@pytest.mark.full
@pytest.mark.parametrize(("method", "where"), CALLS)
def test_a_request_that_goes_wrong_is_made_up_for(method: str, where: str) -> None:
    made_up_for(method, where, ANSWERS)
