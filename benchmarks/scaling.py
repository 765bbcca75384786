"""How training scales: what one process tells the others each update, and a model of the time of an update on N GPUs.

    python benchmarks/scaling.py [--rows 4] [--updates 4] [--measure]
    python benchmarks/scaling.py --row-seconds 120e-6 --floor 4e-3 --bandwidth 12.5e9 --inside 200e9 --per-node 8

With `--measure` one and two processes train the default model here, each on a core of its own with as many rows each,
and every byte that goes between them is counted. The model takes the time of a row on one GPU, and the networks inside
and between machines; its defaults are an H100 at 45 % of what its matrix products reach, NVLink, and 100 Gbit/s. An
update is compute, then one all-reduce of all gradients, then a gather of the puzzle table's; nothing overlaps, for
the weights are shared by every step of the recursion, so that no gradient is whole before the backward pass is over.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from common import record, table
from torch import Tensor

from trainer.dist import World
from trainer.subject import subject_of
from trainer.train import build_state
from trmkit.spec.load import loads
from trmkit.spec.run import RunFile

RUN = """
name: scaling
model: {family: trm}
data: {source: sudoku-generated, side: 9, train_puzzles: 64, test_puzzles: 1, num_aug: 7}
train: {steps: 1000, batch_size: 8, device: cpu, threads: 1}
"""
HERE = torch.device("cpu")
SIZES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Counted(World):
    """A world that counts the bytes this process hands to others."""

    told: dict[str, int] = field(default_factory=dict)

    def sum(self, values: Tensor) -> Tensor:
        """Add up over the processes."""
        return super().sum(self._note("all-reduce of gradients", values))

    def gather_rows(self, part: Tensor) -> Tensor:
        """Join the rows of all processes."""
        what = "which rows halted" if part.dtype == torch.bool else "gather of the puzzle table's gradients"
        return super().gather_rows(self._note(what, part))

    def largest(self, value: int) -> int:
        """Return the largest value of any process."""
        self._note("words", torch.tensor(value))
        return super().largest(value)

    def _note(self, what: str, values: Tensor) -> Tensor:
        self.told[what] = self.told.get(what, 0) + values.nbytes
        return values


@dataclass(frozen=True)
class Cluster:
    """What the time of an update follows from."""

    row_seconds: float
    """Of one row on one GPU."""
    floor: float
    """An update takes at least so long on a GPU, however few its rows: its kernels have to be started."""
    bandwidth: float
    """Bytes a second between two machines."""
    inside: float
    """Bytes a second between two GPUs of a machine."""
    latency: float
    """Seconds until the first byte is there."""
    per_node: int
    """GPUs of a machine."""

    def compute(self, rows: float) -> float:
        """Return the seconds of forward, backward and optimizer for `rows` rows on one GPU."""
        return self.floor + rows * self.row_seconds

    def link(self, gpus: int) -> float:
        """Return the bytes a second of the slowest link of a ring of so many GPUs."""
        return self.inside if gpus <= self.per_node else self.bandwidth

    def all_reduce(self, gpus: int, size: float) -> float:
        """Return the seconds of an all-reduce of `size` bytes by a ring."""
        return 2 * (gpus - 1) * (size / gpus / self.link(gpus) + self.latency)

    def gather(self, gpus: int, size: float) -> float:
        """Return the seconds until all have what each of them had a part of, `size` bytes in all."""
        return (gpus - 1) * (size / gpus / self.link(gpus) + self.latency)


@dataclass(frozen=True)
class Update:
    """The parts of an update on so many GPUs, in seconds."""

    gpus: int
    compute: float
    gradients: float
    vectors: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.compute + self.gradients + self.vectors


def predict(cluster: Cluster, batch: int, weights: int, width: int) -> list[Update]:
    """Return what an update takes on ever more GPUs: `batch` rows in all, `weights` gradients, vectors of `width`."""
    return [
        Update(
            gpus,
            cluster.compute(batch / gpus),
            cluster.all_reduce(gpus, 4 * weights),
            cluster.gather(gpus, 4 * batch * (width + 1)) if width else 0.0,
        )
        for gpus in SIZES
    ]


def main() -> None:
    """Print what was counted and measured, and what follows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4, help="rows of each process that is measured")
    parser.add_argument("--updates", type=int, default=4, help="updates measured, of which the fastest counts")
    parser.add_argument("--measure", action="store_true", help="train with one and two processes here")
    parser.add_argument("--batch", type=int, default=768, help="rows of an update in the model")
    parser.add_argument("--weights", type=int, default=6_828_034, help="of the model")
    parser.add_argument("--width", type=int, default=512, help="of the puzzle vectors; 0: there are none")
    parser.add_argument("--row-seconds", type=float, default=42.7e9 / (0.45 * 790e12))
    parser.add_argument("--floor", type=float, default=4e-3, help="seconds of an update of no rows")
    parser.add_argument("--bandwidth", type=float, default=12.5e9, help="bytes a second between machines")
    parser.add_argument("--inside", type=float, default=200e9, help="bytes a second inside a machine")
    parser.add_argument("--latency", type=float, default=15e-6, help="seconds")
    parser.add_argument("--per-node", type=int, default=8, help="GPUs of a machine")
    options = parser.parse_args()
    if options.measure:
        measured(options.rows, options.updates)
    names = ("row_seconds", "floor", "bandwidth", "inside", "latency", "per_node")
    show(
        predict(
            Cluster(**{name: getattr(options, name) for name in names}), options.batch, options.weights, options.width
        )
    )


def show(updates: list[Update]) -> None:
    """Print the model's times, and where it stops scaling."""
    alone = updates[0].seconds
    rows = [
        (
            str(one.gpus), *(f"{1e3 * part:.2f}" for part in (one.compute, one.gradients, one.vectors, one.seconds)),
            f"{alone / one.seconds:.2f}x", f"{100 * alone / one.seconds / one.gpus:.0f} %",
        )
        for one in updates
    ]  # fmt: skip
    print("an update, modelled; milliseconds")
    table(("GPUs", "compute", "gradients", "vectors", "update", "speed-up", "efficiency"), rows)
    best = min(updates, key=lambda one: one.seconds)
    worth = max(one.gpus for one in updates if alone / one.seconds / one.gpus >= 0.5)
    print(f"fastest on {best.gpus} GPUs; at least half of each GPU is used up to {worth}")
    for one in updates[1:]:
        half = one.seconds - one.gradients / 2
        print(f"{one.gpus} GPUs: gradients in 16 bits would make an update {one.seconds / half:.2f}x as fast")


def measured(rows: int, updates: int) -> None:
    """Train with one and with two processes here; print the efficiency and what was told."""
    found: dict[int, tuple[list[float], dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in (1, 2):
            file = Path(folder) / f"{size}.pt"
            context = processes.get_context("spawn")
            started = [
                context.Process(target=train, args=(rank, size, rows, updates, folder, str(file)))
                for rank in range(size)
            ]
            for one in started:
                one.start()
            for one in started:
                one.join()
            if any(one.exitcode for one in started):
                raise SystemExit("a process failed")
            found[size] = torch.load(file, weights_only=True)
    (alone, _), (together, told) = found[1], found[2]
    efficiency = min(alone) / min(together)
    print(f"{rows} rows a process on a core each: {min(alone):.2f} s alone, {min(together):.2f} s with two")
    print(f"efficiency of 1 to 2 processes: {100 * efficiency:.0f} %")
    record("scaling", "an update, two processes to one, as many rows each", together, alone)
    table(("each update, bytes from each process", ""), [(name, f"{size:,.0f}") for name, size in told.items()])


def train(rank: int, size: int, rows: int, updates: int, folder: str, file: str) -> None:
    """Be one of `size` processes: make updates, and have the first one save their seconds and the bytes of each."""
    torch.set_num_threads(1)
    run = loads(RUN, "run", [f"train.batch_size={rows * size}", f"storage.data={folder}/data"])
    if size > 1:
        place = f"file://{folder}/meet"
        dist.init_process_group("gloo", init_method=place, rank=rank, world_size=size)
    world = Counted(rank, size, rank, HERE)
    seconds = list(timed(run, world, updates))
    if rank == 0:
        torch.save((seconds, {name: told / (updates + 1) for name, told in world.told.items()}), file)
    if size > 1:
        dist.destroy_process_group()


def timed(run: RunFile, world: Counted, updates: int) -> Iterator[float]:
    """Yield the seconds of each update, but for the first."""
    state: Any = build_state(run, subject_of(run)(run, world), world)
    world.told.clear()
    for update in range(updates + 1):
        started = time.perf_counter()
        state.update()
        float(next(state.model.parameters()).detach().sum())
        if update:
            yield time.perf_counter() - started
    assert math.isfinite(float(state.bad_step))


if __name__ == "__main__":
    main()
