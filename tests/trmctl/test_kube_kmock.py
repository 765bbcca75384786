"""Faults at every call again, in front of kmock's emulator, which somebody else wrote.

It does what is asked and then answers with the fault, so a client has to find out what became of its request. It knows
no versions, selectors, pages, dry runs or server-side apply; `test_kube.py` has those, and resets and hangs.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.trmctl.test_kube import connect, job
from trmctl.cluster import PYTORCHJOB, Kind, Object
from trmctl.kube import KubeCluster

kmock = pytest.importorskip("kmock")


class Emulator:
    """kmock in a thread with a loop of its own; it knows some kinds of objects."""

    def __init__(self, *kinds: Kind) -> None:
        self._kinds = kinds or (PYTORCHJOB,)
        self.url = ""
        self.served: Any = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        async with kmock.KubernetesEmulator() as served, kmock.Server(served, host="127.0.0.1") as server:
            verbs = ["get", "list", "watch", "create", "patch", "delete"]
            for kind in self._kinds:
                known = {"namespaced": True, "kind": kind.kind, "subresources": {"status": {}}, "verbs": verbs}
                served.resources[place(kind)] = known
            self.served, self.url = served, str(server.url).rstrip("/")
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> "Emulator":
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def fail(self, method: str, status: int, times: int, kind: Kind = PYTORCHJOB) -> None:
        """Answer the next requests of a method on a kind with a status."""
        self.served[method, kmock.resource(place(kind))][:times] << status


def place(kind: Kind) -> str:
    """Return how kmock calls a kind."""
    return f"{kind.api_version}/{kind.plural}"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as made:
        yield made


def spec(body: Object | None) -> Any:
    return (body or {}).get("spec")


CALLS: dict[str, tuple[str, Callable[[KubeCluster], Any], Any, list[str]]] = {
    "get": ("get", lambda c: spec(c.get(PYTORCHJOB, "there")), {"size": 1}, ["there"]),
    "list": ("get", lambda c: len(c.list(PYTORCHJOB)), 1, ["there"]),
    "create": ("post", lambda c: c.create(PYTORCHJOB, job("new"))["metadata"]["name"], "new", ["there", "new"]),
    "patch": (
        "patch",
        lambda c: spec(c.patch(PYTORCHJOB, "there", {"spec": {"x": 2}})),
        {"size": 1, "x": 2},
        ["there"],
    ),
    "delete": ("delete", lambda c: c.delete(PYTORCHJOB, "there"), True, []),
}


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("call", CALLS)
def test_two_faults_change_nothing_of_the_outcome(call: str, status: int, emulator: Emulator) -> None:
    method, ask, expected, left = CALLS[call]
    cluster = connect(emulator.url)
    cluster.create(PYTORCHJOB, job("there"))
    emulator.fail(method, status, times=2)
    assert ask(cluster) == expected
    assert [one["metadata"]["name"] for one in cluster.list(PYTORCHJOB)] == left
