"""A controller in front of kmock's emulator, which somebody else wrote, and which answers with faults.

It does what is asked and then answers with the fault, so that nobody knows what became of a request. It knows no
versions and no selectors; what hangs on those is proved with the other worlds.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.trmctl.controller.world import RUN, World
from tests.trmctl.test_kube import connect
from tests.trmctl.test_kube_kmock import Emulator
from trmctl.cluster import CONFIG_MAP, EVENT, POD, PYTORCHJOB, TRMRUN, Kind
from trmctl.controller.loop import Controller
from trmctl.controller.metrics import Metrics
from trmctl.kube import KubeCluster
from trmkit.errors import TrmError

KINDS = (TRMRUN, PYTORCHJOB, CONFIG_MAP, POD, EVENT)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(*KINDS) as made:
        yield made


def keeper(cluster: KubeCluster, world: World) -> Controller:
    """Return a controller of the emulator's namespace; stores are the world's."""
    return Controller(cluster, "team", world, Metrics(), lambda: world.cluster.now, world._log)  # type: ignore[arg-type]


def looks(controller: Controller, world: World, times: int) -> None:
    """Look several times, and let time pass; a look that fails is tried again."""
    for _ in range(times):
        try:
            controller.resync()
        except TrmError as error:
            world.lines.append({"event": "away", "error": error.message})
        world.cluster.now += 40


FAULTS: list[tuple[str, Kind]] = [
    ("get", TRMRUN), ("patch", TRMRUN), ("post", PYTORCHJOB), ("get", PYTORCHJOB), ("post", CONFIG_MAP),
    ("post", EVENT),
]  # fmt: skip


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize(("method", "kind"), FAULTS, ids=lambda one: getattr(one, "plural", one))
def test_a_run_is_made_once_and_ends_whatever_is_answered(
    emulator: Emulator, method: str, kind: Kind, status: int
) -> None:
    world, cluster = World(), connect(emulator.url)
    about: dict[str, Any] = {"name": "one", "namespace": "team", "uid": "u", "resourceVersion": "1", "generation": 1}
    cluster.create(TRMRUN, {"metadata": about, "spec": {"run": RUN}})
    emulator.fail(method, status, times=12, kind=kind)
    controller = keeper(cluster, world)
    looks(controller, world, 4)
    (job,) = cluster.list(PYTORCHJOB, "team")
    assert len(cluster.list(CONFIG_MAP, "team")) == 1
    ended = {"type": "Succeeded", "status": "True", "lastTransitionTime": "2026-01-01T12:10:00Z"}
    cluster.patch(PYTORCHJOB, job["metadata"]["name"], {"status": {"conditions": [ended]}}, "team")
    looks(controller, world, 4)
    found = cluster.get(TRMRUN, "one", "team")
    assert found is not None
    assert found["status"]["phase"] == "Succeeded"
    assert len(cluster.list(PYTORCHJOB, "team")) == 1
