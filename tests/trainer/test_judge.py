"""What ends a process is told apart: a cluster may start it again, or must not."""

import errno
import json
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.trainer.helpers import change, free_port
from trainer import agency
from trainer.__main__ import judge, main
from trainer.dist import _expect_gpus, world
from trainer.peers import BrokenMachineError, PeerFailedError, gpu_is_broken, peer_is_gone
from trmkit.errors import DataError, SpecError, StoreDamagedError, StoreError, StoreUnavailableError
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile

BROKEN = (
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: unknown error",
    "CUDA driver initialization failed, you might not have a CUDA gpu.",
    "CUDA error: GPU is lost",
    "GPU has fallen off the bus",
    "NVRM: Xid 79",
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
)


@pytest.fixture
def in_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(agency.JOB, "small")


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.usefixtures("in_a_cluster")
def test_a_broken_gpu_is_no_bug(text: str) -> None:
    assert judge(RuntimeError(text)) == (143, "BrokenGpu")
    assert judge(dist.DistBackendError(f"NCCL error: unhandled cuda error ... {text}")) == (143, "BrokenGpu")


@pytest.mark.usefixtures("in_a_cluster")
def test_want_of_memory_and_a_wrong_index_on_a_gpu_will_come_again() -> None:
    assert judge(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")) == (1, "OutOfMemory")
    wrong = "CUDA error: device-side assert triggered"
    for error in (RuntimeError(wrong), dist.DistBackendError(f"NCCL error: unhandled cuda error ({wrong})")):
        assert judge(error) == (1, "Failed")
        assert not peer_is_gone(error)


def test_on_a_machine_of_ones_own_a_broken_gpu_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(agency.JOB, raising=False)
    assert judge(RuntimeError(BROKEN[0])) == (1, "Failed")
    assert judge(StoreUnavailableError("away")) == (1, "Failed")
    assert judge(ConnectionResetError("away")) == (1, "Failed")


def fetched_in_vain(cause: BaseException) -> DataError:
    """Return what a builder raises that cannot get its source."""
    error = DataError("cannot be fetched")
    error.__cause__ = cause
    return error


class Response:
    """An answer of an HTTP server."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


class AnswerError(Exception):
    """What an HTTP library raises for an answer it does not like."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.response = Response(status)


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailableError("s3://bucket: the store cannot be reached"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        TimeoutError("timed out"),
        OSError(errno.ESTALE, "Stale file handle"),
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        fetched_in_vain(ConnectionRefusedError()),
        fetched_in_vain(AnswerError(503)),
        fetched_in_vain(AnswerError(429)),
    ],
    ids=repr,
)
@pytest.mark.usefixtures("in_a_cluster")
def test_what_does_not_answer_now_may_later(error: Exception) -> None:
    assert judge(error) == (143, "StoreUnavailable")


@pytest.mark.parametrize(
    "error",
    [
        StoreError("s3://bucket: the store refuses (NoSuchBucket)"),
        StoreDamagedError("a manifest"),
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "Permission denied"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        fetched_in_vain(AnswerError(404)),
        fetched_in_vain(FileNotFoundError()),
    ],
    ids=repr,
)
@pytest.mark.usefixtures("in_a_cluster")
def test_what_refuses_will_refuse_again(error: Exception) -> None:
    assert judge(error) == (1, "Failed")


@pytest.mark.usefixtures("in_a_cluster")
def test_a_wrong_run_file_and_a_lost_peer_stay_what_they_are() -> None:
    assert judge(SpecError("train.lr")) == (2, "Config")
    assert judge(PeerFailedError("another process failed")) == (143, "PeerLost")


@pytest.mark.parametrize(("job", "code"), [("small", 143), ("", 1)])
def test_a_store_that_is_away_for_too_long_fails_a_run_for_good_only_where_nobody_starts_it_again(
    job: str, code: int, small_run: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(agency.JOB, job)
    monkeypatch.setenv(agency.AGENCY, str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    endpoint = f"storage.endpoint_url=http://127.0.0.1:{free_port()}"
    run = change(small_run, "storage.remote=s3://bucket/runs", endpoint, "storage.patience_minutes=0.005")
    file = tmp_path / "run.yml"
    file.write_text(dump(run))
    assert main(["train", str(file)]) == code
    words = json.loads((tmp_path / "0.json").read_text())
    assert words["reason"] == ("StoreUnavailable" if job else "Failed")
    assert "cannot be reached" in words["message"]


def test_gpus_that_were_asked_for_are_not_silently_replaced_by_the_cpu() -> None:
    with pytest.raises(SpecError, match="this image is built for the CPU"):
        _expect_gpus(8, built=False, found=0)
    with pytest.raises(BrokenMachineError, match=f"finds 7 of 8 on {socket.gethostname()}") as raised:
        _expect_gpus(8, built=True, found=7)
    assert raised.value.exit_code == 143
    assert gpu_is_broken(raised.value)
    _expect_gpus(8, built=True, found=8)


def test_a_run_that_wants_gpus_does_not_start_without_but_one_that_wants_the_cpu_does() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    wanted = SpecError if not torch.backends.cuda.is_built() else BrokenMachineError
    train = change(None, "train.device=auto").train
    with pytest.raises(wanted), world(train, 1):
        pass
    with world(change(None, "train.device=cpu").train, 1) as alone:
        assert alone.device.type == "cpu"
    with world(train) as alone:
        assert alone.size == 1
