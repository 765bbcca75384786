"""A process that trains small language models for a few updates: `python -m tests.trainer.sharing FOLDER [compiled]`.

Started by itself or as one of two; the first process writes what it ended with, by `variant` and `parallel`.
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.trainer.models.texts import CELLS, VARIANTS, batch, make
from trainer.data.feed import Feed, Lane
from trainer.dist import World, world
from trainer.generators import draw_apart
from trainer.models.base import Batch
from trainer.models.prepare import prepare
from trainer.sharding import shard
from trainer.state import TrainState
from trmkit.spec.load import loads
from trmkit.spec.run import RunFile

ROWS, UPDATES = 4, 3
RUN = """
name: sharing
model: {family: ladder, size: pico, context: 256}
data: {source: curriculum, seq_len: 96}
train: {steps: 3, batch_size: 4, accumulate: 2, warmup_steps: 1, lr: 1e-3, lr_min_ratio: 0.1, grad_clip: 0.5, ema: 0.5,
        optimizer: adamw, threads: 1, device: cpu}
"""


class Texts(Feed):
    """The same batches for any number of processes."""

    def __init__(self, joined: World) -> None:
        self._world, self._drawn, self.lanes = joined, 0, [Lane(self, ROWS)]

    def next(self, free: Tensor | None) -> Batch:
        self._drawn += 1
        mine = self._world.rows(ROWS)
        return {name: value[mine] for name, value in batch(ROWS, CELLS, self._drawn).items()}

    def state(self) -> dict[str, int]:
        return {"drawn": self._drawn}


def trained(run: RunFile, variant: str, joined: World, dropout: float = 0.0) -> TrainState:
    """Make the updates of `run`."""
    model = make(variant, dropout=dropout)
    prepare(model, run.train)
    if run.train.parallel == "fsdp" and joined.size > 1:
        shard(model, joined)
    draw_apart(run.seed, joined.rank)
    state = TrainState(run, model, Texts(joined), joined, UPDATES, lambda: make(variant))
    for _ in range(UPDATES):
        state.norms = state.update(look=True).norms  # type: ignore[attr-defined]
    return state


def result(state: TrainState) -> dict[str, Tensor]:
    """Return all that training changed, whole, and the numbers it would log."""
    shared, _ = state.capture()
    files = ("model.safetensors", "ema.safetensors", "optimizer.safetensors")
    found = {f"{file}/{name}": value for file in files for name, value in shared[file].items()}
    with state.averaged() as model, torch.no_grad():
        assert not model.training
        found["loss"] = model(None, batch(ROWS, CELLS, 99)).loss
    return found | {name: value.detach() for name, value in state.norms.items()}  # type: ignore[attr-defined]


def main(folder: Path) -> None:
    run = loads(RUN, "run.yaml")
    with world(run.train) as joined:
        for parallel in ("fsdp", "replicate"):
            for optimizer, recompute in (("adamw", False), ("adam_atan2", True)):
                names = (f"train.parallel={parallel}", f"train.optimizer={optimizer}")
                own = loads(RUN, "run.yaml", [*names, f"train.activation_checkpointing={str(recompute).lower()}"])
                for variant in VARIANTS if optimizer == "adamw" else ("shared_loop", "ssm_mem"):
                    found = result(trained(own, variant, joined))
                    if joined.first:
                        plain = {name: value.contiguous().clone() for name, value in found.items()}
                        save_file(plain, folder / f"{joined.size}-{parallel}-{optimizer}-{variant}.safetensors")


def compiled(folder: Path) -> None:
    """Do it with compiled blocks, of which every process holds a share."""
    run = loads(RUN, "run.yaml", ["train.parallel=fsdp", "train.compile=true"])
    with world(run.train) as joined:
        found = result(trained(run, "baseline", joined))
        if joined.first:
            save_file({name: value.contiguous().clone() for name, value in found.items()}, folder / "found.safetensors")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    work = compiled if sys.argv[2:] == ["compiled"] else main
    work(Path(sys.argv[1]))
