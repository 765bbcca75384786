"""The controller as a process of its own, with kopf, over HTTP: started, killed, started twice, stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.trmctl.api_server import ApiServer
from tests.trmctl.controller.world import World
from trmctl.cluster import LEASE, PYTORCHJOB, TRMRUN
from trmctl.controller.lease import Lease
from trmctl.controller.runner import Runner
from trmctl.controller.serve import serve
from trmkit.errors import ClusterUnreachableError

PATIENCE = 60.0


class Place:
    """An API server with a world behind it, and controllers that work on it."""

    def __init__(self, server: ApiServer, world: World, folder: Path) -> None:
        self.server, self.world = server, world
        self.running: list[subprocess.Popen[bytes]] = []
        cluster, user = {"server": server.url}, {"token": "t"}
        context = {"cluster": "c", "user": "u", "namespace": "team"}
        config = {
            "apiVersion": "v1", "kind": "Config", "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}], "contexts": [{"name": "x", "context": context}],
            "current-context": "x",
        }  # fmt: skip
        self.config = folder / "kubeconfig"
        self.config.write_text(yaml.safe_dump(config))

    def start(self) -> tuple[subprocess.Popen[bytes], int]:
        """Start a controller; return its process and the port of its metrics."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        command = [sys.executable, "-m", "trmctl", "controller", "--resync", "2", "--port", str(port)]
        env = {**os.environ, "KUBECONFIG": str(self.config)}
        process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        self.running.append(process)
        return process, port

    def apply(self, name: str, **spec: Any) -> None:
        """Have a TrmRun be there, seen by those who watch."""
        with self.server.lock:
            self.world.apply(name, **spec)
            self.server.changed(TRMRUN, "ADDED", self.world.cluster.see(TRMRUN, name))

    def tick(self) -> None:
        """Let the operators work."""
        with self.server.lock:
            self.world.tick()
            self.world.cluster.now = time.time()

    def until(self, what: Callable[[], bool]) -> None:
        """Wait for something, while the operators work."""
        end = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < end, [self.world.status(name) for name in self.world.cluster.names(TRMRUN)]
            time.sleep(0.2)
            self.tick()

    def phase(self, name: str) -> str:
        with self.server.lock:
            return str(self.world.status(name).get("phase"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    world = World()
    world.cluster.now = time.time()
    with ApiServer(world.cluster) as server:
        made = Place(server, world, tmp_path)
        yield made
        for process in made.running:
            if process.poll() is None:
                process.kill()
            process.wait(30)


def asked(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def test_it_makes_jobs_says_how_it_is_and_leaves_when_told(place: Place) -> None:
    process, port = place.start()
    place.until(lambda: asked(port, "/readyz")[0] == 200)
    place.apply("one")
    place.until(lambda: place.phase("one") == "Running")
    assert place.world.cluster.names(PYTORCHJOB) == [place.world.status("one")["job"]["name"]]
    assert asked(port, "/healthz")[0] == 200
    text = asked(port, "/metrics")[1]
    assert "trm_controller_leader 1.0" in text
    assert 'trm_controller_reconciles_total{result="ok"}' in text
    assert asked(port, "/secrets")[0] == 404
    body = place.world.cluster.see(TRMRUN, "one")
    assert not body["metadata"].get("finalizers")
    assert not body["metadata"].get("annotations")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert place.world.cluster.see(LEASE, "trm-controller")["spec"]["holderIdentity"] == ""


@pytest.mark.full
def test_killed_in_the_middle_and_started_again_it_goes_on(place: Place) -> None:
    process, _ = place.start()
    place.apply("one")
    place.until(lambda: place.phase("one") in ("Starting", "Running"))
    process.kill()
    process.wait(30)
    for _ in range(3):
        place.tick()
    place.start()
    place.until(lambda: place.phase("one") == "Succeeded")
    assert place.world.live_at_once == 1
    assert len(place.world.starts) == 1


@pytest.mark.full
def test_of_two_replicas_one_acts_and_the_other_takes_over(place: Place) -> None:
    first, port = place.start()
    place.until(lambda: "trm_controller_leader 1.0" in asked(port, "/metrics")[1])
    second, other = place.start()
    place.until(lambda: asked(other, "/readyz")[0] == 200)
    assert "trm_controller_leader 0.0" in asked(other, "/metrics")[1]
    place.apply("one")
    place.until(lambda: place.phase("one") in ("Starting", "Running"))
    assert "trm_controller_writes_total" not in [
        line.split("{")[0] for line in asked(other, "/metrics")[1].splitlines() if not line.startswith("#")
    ]
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    place.until(lambda: "trm_controller_leader 1.0" in asked(other, "/metrics")[1])
    place.apply("two", run={"seed": 2})
    place.until(lambda: place.phase("two") in ("Starting", "Running", "Succeeded"))
    assert second.poll() is None
    assert json.dumps(place.world.cluster.names(PYTORCHJOB)).count("demo") == 2


@pytest.mark.full
def test_without_their_definition_nothing_is_ended_and_when_it_is_back_it_goes_on(place: Place) -> None:
    process, port = place.start()
    place.apply("one", run={"train": {"steps": 2000}})
    place.until(lambda: place.phase("one") == "Running")
    cluster = place.world.cluster
    with place.server.lock:
        jobs, body = cluster.names(PYTORCHJOB), cluster.see(TRMRUN, "one")
        cluster.remove(TRMRUN, "one")
        place.server.changed(TRMRUN, "DELETED", body)
        cluster.served -= {TRMRUN}
    failed = asked(port, "/metrics")[1].count("trm_controller_api_errors_total{")
    place.until(lambda: asked(port, "/metrics")[1].count("trm_controller_api_errors_total{") > failed)
    for _ in range(10):
        time.sleep(0.5)
        place.tick()
    assert process.poll() is None
    assert cluster.names(PYTORCHJOB) == jobs
    with place.server.lock:
        cluster.served |= {TRMRUN}
    place.apply("one", run={"train": {"steps": 2000}})
    place.until(lambda: place.phase("one") == "Running")
    assert cluster.names(PYTORCHJOB) == jobs
    assert len(place.world.starts) == 1


def test_one_that_no_longer_sees_all_runs_says_that_it_is_ill(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    controller = world.controller()
    runner = Runner(controller, Lease(world.cluster, "team", "me"), 0.1, world._log)
    server = serve(0, controller.metrics, runner)
    port = server.server_address[1]
    runner.start()
    try:
        assert until(lambda: asked(port, "/healthz")[0] == 200 and asked(port, "/readyz")[0] == 200)
        monkeypatch.setattr("trmctl.controller.runner.GIVEN_UP", 0.5)
        world.cluster.fail("list", TRMRUN, ClusterUnreachableError("nobody there"), times=10_000)
        assert until(lambda: asked(port, "/healthz")[0] == 503)
        world.cluster._failures.clear()
        assert until(lambda: asked(port, "/healthz")[0] == 200)
    finally:
        runner.stop()
        server.shutdown()
        server.server_close()


def until(what: Callable[[], bool]) -> bool:
    """Say whether something comes to be."""
    end = time.monotonic() + 20.0
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()
