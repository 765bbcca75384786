"""What the launcher says at the end is short, true, and tells a retry from a failure."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import PContext, SubprocessContext
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from tests.trainer.helpers import change
from trainer import agent, ends
from trainer.agency import AGENCY, HEART, Heart, Words, last_words, read_life, read_words
from trainer.launch import LARGEST, Terms, farewell, termination_message
from trainer.peers import PeerFailedError, out_of_memory, peer_is_gone
from trmkit.spec.load import dump

GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(f"{GLOO}pair.cc:553] Connection closed by peer [127.0.0.1]:5"),
        RuntimeError(f"{GLOO}unbound_buffer.cc:81] Timed out waiting 60000ms for recv operation to complete"),
        RuntimeError("Gloo connectFullMesh failed with [...] Socket closed"),
        dist.DistNetworkError("Failed to recv, got 0 bytes. Connection was likely closed."),
        dist.DistStoreError("wait timeout after 60000ms, keys: /default_pg/0//cpu//0/0"),
        dist.DistBackendError("NCCL error: remote process exited or there was a network error"),
        PeerFailedError("another process failed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_about_another_process_is_known(error: Exception) -> None:
    assert peer_is_gone(error)


def a_wrong_shape() -> None:
    torch.ones(2, 3) @ torch.ones(2, 3)


def a_wrong_type() -> None:
    torch.ones(2, dtype=torch.int32).sqrt_()


def an_index_beyond() -> None:
    torch.ones(2)[5]


@pytest.mark.parametrize("bug", [a_wrong_shape, a_wrong_type, an_index_beyond])
def test_a_bug_is_not_taken_for_one(bug: Callable[[], None]) -> None:
    with pytest.raises(Exception, match=".") as raised:
        bug()
    assert not peer_is_gone(raised.value)


def test_a_network_library_that_is_used_wrongly_is_no_lost_peer() -> None:
    assert not peer_is_gone(dist.DistBackendError("NCCL error: invalid usage. Duplicate GPU detected: rank 0 and 1"))


def test_memory_that_ran_out_is_no_lost_peer_even_when_the_network_library_says_so() -> None:
    for error in (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        dist.DistBackendError("NCCL error: unhandled cuda error: out of memory"),
        MemoryError(),
    ):
        assert out_of_memory(error)
        assert not peer_is_gone(error)


def failure(local_rank: int, code: int) -> ProcessFailure:
    return ProcessFailure(local_rank, 1000 + local_rank, code, "")


@pytest.mark.parametrize(
    ("codes", "expected", "reason"),
    [
        ((143, 1), 1, "Failed"),
        ((-9, 143), 137, "Killed"),
        ((-15, 143), 143, "PeerLost"),
        ((2, 143), 2, "Config"),
        ((-9, 1), 1, "Failed"),
        ((-6, 143), 134, "Killed"),
    ],
)
def test_the_code_of_a_failure_that_will_come_again_wins(codes: tuple[int, int], expected: int, reason: str) -> None:
    failed = ChildFailedError("trainer", {rank: failure(rank, code) for rank, code in enumerate(codes)})
    words = ends.worst(failed, None, 0)
    assert (words.exit, words.reason) == (expected, reason)


def test_a_kill_for_want_of_memory_is_called_that() -> None:
    assert ends.worst(ChildFailedError("trainer", {0: failure(0, -9)}), None, 1).reason == "OutOfMemory"


def test_the_first_words_of_a_worker_are_told_and_reach_the_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(AGENCY, str(tmp_path))
    monkeypatch.setenv("LOCAL_RANK", "1")
    last_words(2, "Config", "train.lr: must be above 0\n  next: correct it")
    last_words(143, "PeerLost", "another")
    failed = ChildFailedError("trainer", {1: failure(1, 2), 0: failure(0, 143)})
    words = ends.worst(failed, tmp_path, 0)
    assert (words.exit, words.reason) == (2, "Config")
    assert "next: correct it" in words.message
    assert read_words(tmp_path, 0) is None


def test_signs_of_life_tell_a_rest_from_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AGENCY, str(tmp_path))
    monkeypatch.setenv("LOCAL_RANK", "0")
    before = time.monotonic()
    heart = Heart()
    heart.start()
    first = read_life(tmp_path, 0)
    assert first is not None
    assert (first.pulse >= before, first.progress) == (True, 0.0)
    heart.beat(7)
    second = read_life(tmp_path, 0)
    assert second is not None
    assert (second.progress >= before, second.step) == (True, 7)
    heart.rest()
    third = read_life(tmp_path, 0)
    assert third is not None
    assert (third.progress, third.step) == (0.0, 7)


def test_without_a_launcher_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(AGENCY, raising=False)
    monkeypatch.chdir(tmp_path)
    HEART.start()
    HEART.beat(3)
    last_words(1, "Failed", "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("message", ["", "é" * 5000, "x" * 5000, '"\n' * 2000])
def test_a_termination_message_is_one_line_of_json_that_the_cluster_does_not_cut(message: str) -> None:
    line = termination_message(Words(1, "Failed", message, 12))
    assert len((line + "\n").encode()) <= LARGEST
    assert "\n" not in line
    found = json.loads(line)
    assert (found["exit"], found["reason"], found["step"]) == (1, "Failed", 12)
    assert message.startswith(found["message"])


def test_outside_a_cluster_and_after_a_good_end_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRM_TERMINATION_LOG", str(tmp_path / "log"))
    assert farewell(Words(1, "Failed"), None) == 1
    assert farewell(Words(0, ""), "small") == 0
    assert not (tmp_path / "log").exists()
    assert not capsys.readouterr().err


def test_torchrun_waits_for_a_save_as_long_as_the_run_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 30 seconds are a default of private API: another torch may have them elsewhere, and this says so."""
    waited: list[int] = []

    def close(self: PContext, death_sig: signal.Signals, timeout: int = 30) -> None:
        waited.append(timeout)

    monkeypatch.setattr(SubprocessContext, "_close", close)
    context = SubprocessContext.__new__(SubprocessContext)
    context._tail_logs, context.filtered_stdout, context.filtered_stderr = [], None, None
    terms = Terms(change(None, "cluster.grace_seconds=70"))
    with agent.patient_close(terms.patience):
        PContext.close(context, signal.SIGTERM)
        PContext.close(context, signal.SIGTERM, 90)
    PContext.close(context, signal.SIGTERM)
    assert waited == [60, 60, 30]


def test_a_run_file_that_cannot_be_used_ends_a_job_before_anything_starts(tmp_path: Path) -> None:
    file, message = tmp_path / "run.yml", tmp_path / "message"
    file.write_text(dump(change(None)).replace("batch_size: 8", "batch_size: -1", 1))
    environment = os.environ | {"TRM_JOB": "small", "TRM_TERMINATION_LOG": str(message), "PET_NNODES": "2"}
    command = [sys.executable, "-m", "trainer.launch", "-m", "trainer", "run", str(file)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    words = json.loads(message.read_text())
    assert (words["exit"], words["reason"]) == (2, "Config")
    assert "batch_size" in words["message"]
    assert json.loads(ended.stderr.splitlines()[-1]) == words
    assert "Traceback" not in ended.stderr


def test_a_pod_that_is_asked_to_leave_while_it_waits_for_the_others_leaves_at_once(tmp_path: Path) -> None:
    message = tmp_path / "message"
    environment = os.environ | {
        "TRM_JOB": "small", "TRM_TERMINATION_LOG": str(message), "PET_NNODES": "2", "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ENDPOINT": "127.0.0.1:0", "PET_RDZV_ID": "small",
    }  # fmt: skip
    script = tmp_path / "worker.py"
    script.write_text("")
    pod = subprocess.Popen([sys.executable, "-X", "importtime", "-m", "trainer.launch", str(script)],
                           env=environment, stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert pod.stderr is not None
    for line in pod.stderr:  # it is ready for the signal before it has loaded torch, which takes seconds
        if line.endswith(" trmkit.errors\n"):
            break
    for line in pod.stderr:
        if " torch._C" in line:
            break
    pod.send_signal(signal.SIGTERM)
    pod.communicate(timeout=60)
    assert pod.returncode == 143
    assert json.loads(message.read_text())["reason"] == "Preempted"


class Shared(dict[str, Any]):
    """What machines say to each other, in this process."""

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)

    def set(self, key: str, value: str) -> None:
        self[key] = value

    def add(self, key: str, value: int) -> int:
        self[key] = self.get(key, 0) + value
        return int(self[key])


def machine(shared: Shared, number: int) -> agent.Agent:
    """Return the agent of one of two machines that have met."""
    made = agent.Agent.__new__(agent.Agent)
    group = SimpleNamespace(store=shared, group_rank=number, group_world_size=2)
    made._worker_group, made.formed, made._heard = group, True, None  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("told", "own", "expected"),
    [
        (Words(1, "Failed", "a bug"), Words(143, "PeerLost", "gone"), (1, "Failed", "a bug")),
        (Words(2, "Config", "a key"), Words(134, "Killed", "signal 6"), (2, "Config", "a key")),
        (Words(1, "Failed", "a bug"), Words(143, "Preempted"), (1, "Failed", "a bug")),
        (Words(143, "Stalled", "frozen"), Words(143, "PeerLost", "gone"), (143, "Stalled", "frozen")),
        (Words(143, "Preempted"), Words(134, "Killed", "signal 6"), (143, "Preempted", "")),
        (Words(143, "PeerLost"), Words(137, "OutOfMemory", "memory"), (137, "OutOfMemory", "memory")),
        (Words(1, "Failed", "a bug"), Words(2, "Config", "own"), (2, "Config", "own")),
    ],
)
def test_what_ends_one_machine_for_good_ends_the_others_for_good(
    told: Words, own: Words, expected: tuple[int, str, str]
) -> None:
    shared = Shared({agent.HEARD: 1})  # so that the first one does not stay for the second
    machine(shared, 1).tell(told)
    learned = machine(shared, 0).learn(own)
    assert (learned.exit, learned.reason, learned.message) == expected


def test_a_machine_that_ends_for_good_stays_until_the_others_have_heard() -> None:
    shared, other = Shared(), machine(Shared(), 0)
    other._worker_group.store = shared
    thread = threading.Thread(target=machine(shared, 1).tell, args=(Words(1, "Failed", "a bug"),))
    thread.start()
    while other.news() is None:
        pass
    thread.join()
    assert shared[agent.HEARD] == 1


def test_of_workers_that_end_alike_the_one_that_did_not_just_lose_a_peer_is_heard(tmp_path: Path) -> None:
    for rank, reason, when in ((0, "PeerLost", 1.0), (1, "StoreUnavailable", 2.0)):
        words = Words(143, reason, "", 0, when)
        (tmp_path / f"{rank}.json").write_text(json.dumps(asdict(words)))
    failed = ChildFailedError("trainer", {0: failure(0, 143), 1: failure(1, 143)})
    assert ends.worst(failed, tmp_path, 0).reason == "StoreUnavailable"
