"""What detaching steps saves of memory and costs in time, as ratios to one graph of nine steps measured in this run.

    python benchmarks/deep_recursion.py [--base 32] [--latent 256] [--batch 2] [--rounds 3] [--device cpu]

An update is every forward and backward pass between two steps of AdamW, and that step. "kept" are the bytes that the
forward pass keeps for the backward pass, at most at one time, without the weights; "peak" is what an update adds to
memory at its highest, gradients included, in a fresh process (resident memory; on a GPU, memory allocated). Times are
of all steps; their ratios are per step, for 2 x 5 and 5 x 2 are ten steps and not nine.
"""

import argparse
import multiprocessing
import resource
from dataclasses import dataclass, field
from typing import Any

import torch
from common import Work, table, take_turns
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from trainer import memory
from trainer.models.base import Batch, Carry
from trainer.models.deep_recursion import DeepRecursion, build, weighted_loss
from trmkit.spec.model import DeepRecursionModel

CANVAS, VOCAB = 32, 12
MIB = 2**20


@dataclass(frozen=True)
class Mode:
    """One way of training."""

    name: str
    keys: dict[str, Any]
    """Keys of the run file's `model`."""
    recompute: bool = False
    at_once: bool = False
    """One backward pass after all outer steps, as the model's first code had it."""
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", self.keys["n_inner"] * self.keys["n_outer"])


MODES = (
    Mode("9 steps, one graph", {"n_inner": 9, "n_outer": 1}),
    Mode("9 steps, recomputed", {"n_inner": 9, "n_outer": 1}, recompute=True),
    Mode("3 x 3, one backward pass", {"n_inner": 3, "n_outer": 3}, at_once=True),
    Mode("3 x 3", {"n_inner": 3, "n_outer": 3}),
    Mode("3 x 3, update after each", {"n_inner": 3, "n_outer": 3, "updates": "per_outer"}),
    Mode("3 x 3, no_grad_inner", {"n_inner": 3, "n_outer": 3, "no_grad_inner": True}),
    Mode("2 x 5", {"n_inner": 2, "n_outer": 5}),
    Mode("5 x 2", {"n_inner": 5, "n_outer": 2}),
    Mode("1 x 9", {"n_inner": 1, "n_outer": 9}),
)


class Trained:
    """A model that is trained in one mode on one batch."""

    def __init__(self, mode: Mode, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.mode, self.device = mode, torch.device(options.device)
        sizes = {"base_channels": options.base, "latent_channels": options.latent, "puzzle_emb_ndim": 0, "dropout": 0.0}
        cfg = DeepRecursionModel(family="deep_recursion", **sizes, **mode.keys)
        self.model: DeepRecursion = build(cfg, VOCAB, CANVAS**2, 1).to(self.device).train()
        self.model.inner.step.recompute = mode.recompute
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5)
        grids = torch.randint(0, VOCAB, (2, options.batch, CANVAS**2), device=self.device)
        nobody = torch.zeros(options.batch, dtype=torch.int32, device=self.device)
        self.batch: Batch = {"inputs": grids[0], "labels": grids[1], "puzzle_identifiers": nobody}
        self.kept = 0
        for p in self.model.parameters():  # so that the optimizer's moments are no part of what an update adds
            p.grad = torch.zeros_like(p)
        self._update()

    def __call__(self) -> None:
        """Take all outer steps, with as many updates as the mode has; note the most bytes that were kept."""
        if self.mode.at_once:
            with Kept(self):
                inputs = self.batch["inputs"].view(-1, CANVAS, CANVAS)
                _, every = self.model.inner.deep_recursion_forward(inputs, *self._inner_outer())
                losses = [weighted_loss(y.flatten(1, 2), self.batch["labels"], 1.0).sum() for y in every]
            (torch.stack(losses).sum() / len(losses)).backward()
            self._update()
        else:
            self._outer_steps()
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _outer_steps(self) -> None:
        carry: Carry | None = None
        for call in range(self.mode.keys["n_outer"]):
            with Kept(self):
                step = self.model(carry, self.batch)
            step.loss.backward()
            carry = step.carry
            if (call + 1) % self.model.calls_per_update == 0:
                self._update()

    def _inner_outer(self) -> tuple[int, int]:
        return self.mode.keys["n_inner"], self.mode.keys["n_outer"]

    def _update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Kept:
    """A `with` block in which the bytes that a forward pass keeps are counted."""

    def __init__(self, trained: Trained) -> None:
        self._trained, self._bytes = trained, {}  # type: Trained, dict[int, int]
        self._weights = {p.untyped_storage().data_ptr() for p in trained.model.parameters()}
        self._hooks = saved_tensors_hooks(self._note, lambda tensor: tensor)

    def _note(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._weights:
            self._bytes[storage.data_ptr()] = storage.nbytes()
        return tensor

    def __enter__(self) -> None:
        self._hooks.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)
        self._trained.kept = max(self._trained.kept, sum(self._bytes.values()))


def peak(mode: Mode, options: argparse.Namespace) -> int:
    """Return the bytes that an update adds to memory at their highest; called in a process of its own."""
    torch.set_num_threads(1)
    trained = Trained(mode, options)
    if trained.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        trained()
        return int(torch.cuda.max_memory_allocated() - before)
    before = memory.resident()
    trained()
    return max(0, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=int, default=32, help="channels at the canvas's resolution")
    parser.add_argument("--latent", type=int, default=256, help="channels of the latent state")
    parser.add_argument("--batch", type=int, default=2, help="rows worked on at once")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the fastest counts")
    parser.add_argument("--device", default="cpu", help="where to compute")
    options = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    peaks = []
    for mode in MODES:
        with processes.Pool(1) as pool:
            peaks.append(pool.apply(peak, (mode, options)))
    variants: dict[str, Work] = {mode.name: Trained(mode, options) for mode in MODES}
    seconds = take_turns(variants, options.rounds)
    kept = [variants[mode.name].kept for mode in MODES]  # type: ignore[attr-defined]
    per_step = [seconds[mode.name] / mode.steps for mode in MODES]
    rows = [
        [mode.name, f"{k / MIB:.0f} MiB", f"{k / kept[0]:.2f}", f"{p / MIB:.0f} MiB", f"{p / peaks[0]:.2f}",
         f"{seconds[mode.name]:.2f} s", f"{each / per_step[0]:.2f}"]
        for mode, k, p, each in zip(MODES, kept, peaks, per_step, strict=True)
    ]  # fmt: skip
    print(f"{options.base}/{options.latent} channels, {options.batch} rows of {CANVAS} x {CANVAS}, {options.device}")
    table(["mode", "kept", "ratio", "peak", "ratio", "CPU time", "ratio per step"], rows)


if __name__ == "__main__":
    main()
