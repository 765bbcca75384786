"""The suite's own parts, proved without a cluster: what is skipped and why, its run files, its relay to a store."""

import socket
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.cluster.relay import Relay
from tests.cluster.runfiles import LONG, PUZZLE, QUICK, newest, weights, written
from tests.cluster.runfiles import SECRET as SECRET_NAME
from tests.cluster.settings import Settings, read
from tests.cluster.setup import namespace_object, visitor
from tests.cluster.words import steps_in
from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cluster import NAMESPACE, PYTORCHJOB, RUNTIME, SECRET, SERVICE_ACCOUNT, TRAINJOB
from trmkit.render.check import problems
from trmkit.render.objects import render
from trmkit.render.podsecurity import violations
from trmkit.spec.load import load

GIVEN = {"KUBECONFIG": "config", "TRM_TEST_IMAGE": "registry.example/trm:1"}


def given() -> Settings:
    found = read(GIVEN, in_cluster=False)
    assert isinstance(found, Settings)
    return found


@pytest.mark.parametrize("variable", GIVEN)
def test_a_missing_variable_is_named(variable: str) -> None:
    found = read({name: value for name, value in GIVEN.items() if name != variable}, in_cluster=False)
    assert isinstance(found, str)
    assert found.startswith(f"{variable} is not set")


def test_inside_a_cluster_no_kubeconfig_is_needed_and_nothing_else_is_assumed() -> None:
    found = read({"TRM_TEST_IMAGE": "trm:1"}, in_cluster=True)
    assert isinstance(found, Settings)
    assert (found.store, found.trmctl_image, found.keep) == (None, None, False)
    assert isinstance(read({**GIVEN, "TRM_TEST_BACKENDS": "mpijob"}, in_cluster=False), str)


def test_run_files_load_again_and_equal_runs_of_other_names_have_one_id(tmp_path: Path) -> None:
    one = written(tmp_path, "one", given(), "s3://bucket/here", "cluster.nodes=2", steps=LONG)
    other = written(tmp_path, "other", given(), None, steps=LONG)
    assert load(str(one.path)) == one.run
    assert one.key.partition("/")[2] == other.key.partition("/")[2]
    assert one.job != other.job
    assert written(tmp_path, "short", given(), None, steps=QUICK).key.partition("/")[2] != one.key.partition("/")[2]
    assert len(PUZZLE) == 16


def test_what_it_makes_passes_podsecurity_restricted(tmp_path: Path) -> None:
    run = written(tmp_path, "one", given(), "s3://bucket/here").run
    for backend in ("pytorchjob", "trainjob"):
        assert [line for found in render(run, backend) for line in problems(found)] == []
    pod = visitor("reach", SimpleNamespace(settings=given(), namespace="n"), ["true"])  # type: ignore[arg-type]
    assert list(violations(pod["spec"])) == []
    assert namespace_object("n")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_weights_are_compared_by_what_they_are_and_not_by_how_they_lie_in_a_file(tmp_path: Path) -> None:
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, dtype=np.int64)
    kept: dict[str, dict[str, Any]] = {
        "one": {"a": a, "b": b}, "same": {"b": b, "a": a}, "other": {"a": a + 1, "b": b},
    }  # fmt: skip
    for name, tensors in kept.items():
        folder = tmp_path / name / "checkpoints" / "step_00000010"
        folder.mkdir(parents=True)
        (folder.parent / "step_00000009").mkdir()
        (folder.parent / "best.json").write_text("{}")
        for file in ("model", "ema", "optimizer"):
            save_file(tensors, folder / f"{file}.safetensors")
    assert newest(tmp_path / "one").name == "step_00000010"
    assert weights(tmp_path / "one") == weights(tmp_path / "same")
    assert weights(tmp_path / "one") != weights(tmp_path / "other")


def test_steps_are_read_from_a_log() -> None:
    log = "brought step 40 from s3://bucket/x\nstep 50/400  lm_loss 0.9\nstep 60/400  lm_loss 0.8"
    assert steps_in(log) == [50, 60]
    assert steps_in("") == []


def test_the_relay_passes_connections_on_and_ends_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            near, _ = server.accept()
            with near:
                while piece := near.recv(1000):
                    near.sendall(piece.upper())

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()
        with Relay(server.getsockname()[1]) as relay, socket.create_connection(("127.0.0.1", relay.port), 5) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"HELLO"
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize("fails", [False, True], ids=["after success", "after a failure"])
def test_a_laboratory_is_removed_with_all_that_was_made_outside_its_namespace(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cluster import setup

    fake = FakeCluster("elsewhere", PYTORCHJOB, TRAINJOB, RUNTIME, setup.ROLE, setup.ROLE_BINDING)
    monkeypatch.setattr(setup, "open_cluster", fake.opened)
    settings = replace(given(), store="s3://bucket/prefix")
    with pytest.raises(ZeroDivisionError) if fails else nullcontext(), setup.laboratory(settings, tmp_path) as lab:
        assert fake.names(NAMESPACE) == [lab.namespace]
        assert set(fake.names(SERVICE_ACCOUNT)) == {"trm-trainer", "trm-step", "trm-workflow"}
        assert fake.names(SECRET) == [SECRET_NAME]
        assert lab.store == f"s3://bucket/prefix/{lab.namespace}"
        assert fake.names(RUNTIME) == ["trm"]
        monkeypatch.setattr(lab, "until", lambda *_: True)  # nobody sweeps this namespace
        if fails:
            raise ZeroDivisionError
    assert fake.names(RUNTIME) == []
    assert ("delete", "namespaces", lab.namespace) in fake.mutations


def test_a_runtime_that_was_there_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.cluster import setup

    fake = FakeCluster("elsewhere", TRAINJOB, RUNTIME, setup.ROLE, setup.ROLE_BINDING)
    fake.put(RUNTIME, {"metadata": {"name": "trm"}})
    monkeypatch.setattr(setup, "open_cluster", fake.opened)
    with setup.laboratory(replace(given(), store="s3://bucket/prefix", keep=True), tmp_path) as lab:
        pass
    assert fake.see(RUNTIME, "trm")["metadata"]["name"] == "trm"
    assert "spec" not in fake.see(RUNTIME, "trm")
    assert fake.names(NAMESPACE) == [lab.namespace]  # kept, as asked
