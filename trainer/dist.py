"""The processes of a run: ranks, device, seeds, agreement on when to stop."""

import os
import random
import signal
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

from trmkit.errors import SpecError
from trmkit.spec.train import TrainSection


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

    def wait(self) -> None:
        """Wait for every process."""
        if self.size > 1:
            dist.barrier(group=self.control)


@contextmanager
def world(cfg: TrainSection) -> Iterator[World]:
    """Join the processes that torchrun started, or be the only one; leaves the group at the end."""
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    device = _device(cfg.device)
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield World(0, 1, 0, device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(minutes=15))
    control = dist.new_group(backend="gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]), device, control)
    finally:
        dist.destroy_process_group()


def _device(wanted: str) -> torch.device:
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(kind for kind, here in found.items() if here) if wanted == "auto" else wanted
    if not found[name]:
        raise SpecError(f"train.device: {name} is not available here", next="use train.device: auto or cpu")
    if name == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
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

    def check(self, world: World) -> None:
        """Raise `Stopped` on every process if any of them was asked to stop; every process must call it."""
        signum = world.largest(self.signum)
        if signum:
            raise Stopped(signum)
