"""The processes of a run: ranks, device, seeds, agreement on when to stop."""

import ctypes
import os
import random
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from trainer.agency import HEART
from trainer.peers import BrokenMachineError, PeerFailedError
from trmkit.errors import SpecError
from trmkit.spec.train import TrainSection

PATIENCE = timedelta(days=7)
"""How long processes wait for each other's words: as long as the first one takes to build a data set, however large.

One that dies is noticed at once, by its connection; a frozen one, or a machine that is lost, by the launcher.
"""
COLLECTIVE = timedelta(hours=2)
"""How long a collective on the device may take where no launcher looks after stalls."""
STALL = "TRM_STALL_SECONDS"
"""Set by the launcher: it ends processes that make no progress for so long."""
AFTER_STALL = timedelta(minutes=1)
"""How much longer a collective on the device may take than that: the launcher knows more, so it goes first."""


@dataclass(frozen=True)
class World:
    """This process among the processes of the run."""

    rank: int
    size: int
    local_rank: int
    device: torch.device
    control: Any = None
    """Group over the CPU for words between processes, so that agreeing on something never waits for the GPU."""

    @property
    def first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """Return the contiguous part of `total` rows that is this process's."""
        share = total // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def sum(self, values: Tensor) -> Tensor:
        """Add up `values` over the processes, in place, on the device."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather_rows(self, part: Tensor) -> Tensor:
        """Join the rows of all processes, in their order."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def gather_objects(self, value: Any) -> list[Any]:
        """Return `value` of every process, in their order."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def largest(self, value: int) -> int:
        """Return the largest `value` of any process; every process must call it."""
        if self.size == 1:
            return value
        word = torch.tensor(value)
        dist.all_reduce(word, dist.ReduceOp.MAX, group=self.control)
        return int(word)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Leave a `with` block when every process is through; if it failed on one, raise on all of them.

        Those it did not fail on raise `PeerFailedError`, so that nobody waits for one that is gone.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as caught:  # noqa: BLE001 - raised again below, once all know
            error = caught
        if self.largest(int(error is not None)):
            raise error or PeerFailedError("another process failed")


@contextmanager
def world(cfg: TrainSection, gpus: int = 0) -> Iterator[World]:
    """Join the processes that torchrun started, or be the only one; leaves the group at the end, when all are there.

    In a cluster this machine was asked for with so many `gpus`. SpecError, BrokenMachineError: it cannot use them.

    A group that ends by an error is left as it is: to take leave of it could wait for those that are gone.
    """
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    size, local_rank = _number_in_environment("WORLD_SIZE", 1), _number_in_environment("LOCAL_RANK", 0)
    if gpus and cfg.device in ("auto", "cuda"):
        built = torch.backends.cuda.is_built()  # type: ignore[no-untyped-call]
        _expect_gpus(gpus, built, torch.cuda.device_count() if torch.cuda.is_available() else 0)
    device = _device(cfg.device, local_rank)
    if size == 1:
        yield World(0, 1, 0, device)
        return
    if device.type == "mps":
        raise SpecError("MPS has no collectives: several processes cannot share it", next="use one, or device: cpu")
    _leave_with_parent()
    stall = os.environ.get(STALL)
    patience = COLLECTIVE if stall is None else timedelta(seconds=float(stall)) + AFTER_STALL
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
    control = dist.new_group(backend="gloo", timeout=PATIENCE)
    joined = World(dist.get_rank(), dist.get_world_size(), local_rank, device, control)
    try:
        yield joined
        joined.largest(0)  # an exit code of 0 says that everybody is done,
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        joined.largest(0)  # and nobody can be asked to leave any more: it would come back and wait for the others
    except Stopped:
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _number_in_environment(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit():
        raise SpecError(f"{name}={text!r} is not a number", next="start the processes with python -m trainer.launch")
    return int(text)


def _leave_with_parent() -> None:
    """Have Linux send SIGTERM when the launcher dies, so that no worker trains on without it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _expect_gpus(wanted: int, built: bool, found: int) -> None:
    """See that there are the GPUs this machine was asked for with, rather than train on its CPU and not say so."""
    if not built:
        raise SpecError(
            f"cluster.gpus_per_node is {wanted}, but torch {torch.__version__} of this image is built for the CPU",
            next="set cluster.image to one with CUDA, or cluster.gpus_per_node to 0",
        )
    if found < wanted:
        raise BrokenMachineError(
            f"this machine's GPU does not work: torch finds {found} of {wanted} on {socket.gethostname()}",
            next="look at that pod's machine: its GPU, its driver, and the device plugin",
        )


def _device(wanted: str, local_rank: int) -> torch.device:
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(kind for kind, here in found.items() if here) if wanted == "auto" else wanted
    if not found[name]:
        raise SpecError(f"train.device: {name} is not available here", next="use train.device: auto or cpu")
    if name == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise SpecError(
                f"process {local_rank} of this machine has no GPU: there are {torch.cuda.device_count()}",
                next="start at most one process per GPU",
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
        return device
    return torch.device(name)


def seed_all(seed: int) -> None:
    """Seed the generators of torch (every device), numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked
    """A signal asked the run to stop, every process agreed, and the state is between two updates."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum


class StopSignal:
    """Remembers SIGTERM or SIGINT until the processes reach a place where they can all stop."""

    def __init__(self) -> None:
        self.signum = 0

    @contextmanager
    def listening(self) -> Iterator["StopSignal"]:
        """Take the signals for the time of a `with` block."""
        before = {number: signal.signal(number, self._remember) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _remember(self, signum: int, _frame: FrameType | None) -> None:
        self.signum = self.signum or signum

    def asked(self) -> bool:
        """Say whether this process was asked to stop."""
        return self.signum != 0

    def check(self, world: World) -> None:
        """Raise `Stopped` on every process if any of them was asked to stop; every process must call it."""
        signum = world.largest(self.signum)
        if signum:
            HEART.rest()
            raise Stopped(signum)
