"""What other schedules and objectives are worth: time to a fixed accuracy, as ratios to training as the paper has it.

    python benchmarks/fewer_steps.py --task sudoku-4x4 [--seeds 3] [--variants paper,muon] [--results FILE] [--report]

Each variant is one line of the run file. Every run is trained until its averaged weights answer the given part of
held-out rows (of ARC: until that part of training rows is right), looked at every so many updates, or until it has made
all its updates; it is then counted as not there.
Time is CPU time of one thread without evaluations, and operations are counted in a trace, so that a busy machine
changes neither much. Results go to a file, line by line: what is there is not run again.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import table

from trainer.dist import World
from trainer.exporter import Exporter
from trainer.train import train
from trmkit.spec.load import loads
from trmkit.store.layout import RunDirectory

T975 = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Seeds -> the 97.5 % point of Student's t with one degree of freedom less."""
WORLD = World(0, 1, 0, torch.device("cpu"))
CGAR = "depth: [{until: 0.3, H_cycles: 1, L_cycles: 2}, {until: 0.6, H_cycles: 2, L_cycles: 4}]"
GROWING = (
    "depth: [{until: 0.3, H_cycles: 1, L_cycles: 2}, {until: 0.6, H_cycles: 1, H_cycles_up_to: 2, L_cycles: 4},"
    " {until: 1.0, H_cycles: 1, H_cycles_up_to: 3, L_cycles: 6}]"
)
VARIANTS: dict[str, tuple[str, ...]] = {
    "paper": (),
    "curriculum": (f"train.recursion={{{CGAR}}}",),
    "loss decay": ("train.recursion={step_decay: 0.7}",),
    "CGAR": (f"train.recursion={{{CGAR}, step_decay: 0.7}}",),
    "cosine": ("train.lr_min_ratio=0.01",),
    "muon": ("train.optimizer=muon",),
    "last updates": ("train.recursion={backprop: last}",),
    "RSM": (f"train.recursion={{{GROWING}, backprop: last}}", "model.halt_max_steps=1", "evaluate.supervision_steps=4"),
    "DIS": ("train.recursion={targets: interpolated}",),
}
"""What of the run file each variant changes."""


@dataclass(frozen=True)
class Task:
    """Something to learn until it is known so well."""

    run: str
    target: float
    """Part of rows that are to be right as a whole."""
    every: int
    """Updates between two looks."""
    held_out: bool = True
    """Whether held-out rows are looked at, answered with averaged weights; else training rows as they become final."""


SUDOKU = """
name: fewer-steps
model: {{family: trm, hidden_size: {width}, num_heads: 4, L_layers: 1, H_cycles: 3, L_cycles: 6, halt_max_steps: 4,
        mlp_t: true, pos_encodings: none, puzzle_emb_ndim: 0, puzzle_emb_len: 0, forward_dtype: float32}}
data: {{source: sudoku-generated, side: {side}, train_puzzles: {puzzles}, test_puzzles: 500, num_aug: {num_aug}}}
train: {{steps: {steps}, batch_size: 48, lr: 2e-3, warmup_steps: 20, weight_decay: 0.1, ema: 0.95}}
"""
ARC = """
name: fewer-steps
model: {family: trm, hidden_size: 64, num_heads: 4, L_layers: 1, H_cycles: 3, L_cycles: 6, halt_max_steps: 3,
        halt_exploration_prob: 0.5, puzzle_emb_ndim: 64, puzzle_emb_len: 1, forward_dtype: float32}
data: {source: arc, collections: [arc1/training], test: arc1/training, canvas: 4, num_aug: 9, max_puzzles: 6,
       translate: false}
train: {steps: 800, batch_size: 32, lr: 2e-3, warmup_steps: 20, puzzle_emb_lr: 5e-2, ema: 0.95}
"""
TASKS = {
    "sudoku-4x4": Task(SUDOKU.format(width=64, side=4, puzzles=200, num_aug=50, steps=200), 0.9, 20),
    "sudoku-6x6": Task(SUDOKU.format(width=64, side=6, puzzles=500, num_aug=100, steps=480), 0.3, 40),
    "arc": Task(ARC, 0.25, 40, held_out=False),
}


class ReachedError(Exception):
    """The accuracy is there: nothing more has to be learned."""


class Watch(Exporter):
    """Sees every line of log, adds up what training took, and ends it at the accuracy."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.kind, self.target = "eval" if task.held_out else "train", task.target
        self.spent = self.operations = 0.0
        self.reached: int | None = None
        self.best = 0.0
        self._since = time.process_time()

    def write(self, kind: str, step: int, numbers: Mapping[str, Any]) -> None:
        """Take a line of log."""
        if kind == "train":
            self.spent += time.process_time() - self._since
            self.operations += numbers.get("flops", 0.0)
        found = numbers.get("exact_accuracy", 0.0) if kind == self.kind else 0.0
        self.best = max(self.best, found)
        if found >= self.target:
            self.reached = step
            raise ReachedError
        if kind in ("run", self.kind):
            self._since = time.process_time()


def main() -> None:
    """Run what is not in the results yet, then print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="sudoku-4x4")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each variant, from 0")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="which, separated by commas")
    parser.add_argument("--results", type=Path, help="file of results, to go on with; none: nothing is kept")
    parser.add_argument("--report", action="store_true", help="run nothing, print what is there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = (
        [json.loads(line) for line in options.results.read_text().splitlines()] if _is_there(options.results) else []
    )
    known = {(one["task"], one["variant"], one["seed"]) for one in found}
    wanted = [] if options.report else options.variants.split(",")
    for seed in range(options.seeds):
        for variant in wanted:
            if (options.task, variant, seed) not in known:
                found.append(measure(options.task, variant, seed))
                if options.results is not None:
                    with options.results.open("a") as file:
                        file.write(json.dumps(found[-1]) + "\n")
    show(options.task, [one for one in found if one["task"] == options.task])


def _is_there(file: Path | None) -> bool:
    return file is not None and file.exists()


def measure(task: str, variant: str, seed: int) -> dict[str, Any]:
    """Train one run until it is there; return what it took."""
    what = TASKS[task]
    watch = Watch(what)
    with tempfile.TemporaryDirectory() as folder:
        always = [
            f"seed={seed}", "train.device=cpu", "train.threads=1",
            f"evaluate.every_steps={what.every if what.held_out else 'null'}",
            f"train.log.every_steps={what.every}", f"storage.path={folder}/runs", f"storage.data={folder}/data",
            "train.checkpoint={every_steps: null, every_minutes: null}", "evaluate.sample=200",
        ]  # fmt: skip
        run = loads(what.run, task, [*always, *VARIANTS[variant]])
        with suppress(ReachedError):
            train(run, RunDirectory.of(run), WORLD, watch)
    return {
        "task": task, "variant": variant, "seed": seed, "updates": watch.reached, "best": watch.best,
        "seconds": watch.spent, "operations": watch.operations,
    }  # fmt: skip


def show(task: str, found: list[dict[str, Any]]) -> None:
    """Print one line per variant; ratios are of runs with the same seed, with 95 % intervals (Student's t of logs)."""
    rows = "held-out" if TASKS[task].held_out else "training"
    print(f"{task}: to {100 * TASKS[task].target:.0f} % of {rows} rows; above 1x is faster than the paper's training")
    paper = {one["seed"]: one for one in found if one["variant"] == "paper"}
    lines = []
    for variant in VARIANTS:
        runs = [one for one in found if one["variant"] == variant and one["seed"] in paper]
        there = [one for one in runs if one["updates"] is not None]
        if not runs:
            continue
        line = [variant, f"{len(there)} of {len(runs)}", f"{100 * float(np.mean([one['best'] for one in runs])):.1f} %"]
        both = [(paper[one["seed"]], one) for one in there if paper[one["seed"]]["updates"] is not None]
        line.append(f"{np.mean([one['updates'] for one in there]):.0f}" if there else "-")
        line += [ratio([base[key] / one[key] for base, one in both]) for key in ("seconds", "operations")]
        lines.append(line)
    table(("variant", "there", "best", "updates", "CPU time", "operations"), lines)


def ratio(each: list[float]) -> str:
    """Return the geometric mean of ratios with its interval."""
    if not each:
        return "-"
    logs = np.log(each)
    mean = f"{np.exp(logs.mean()):.2f}x"
    if len(each) not in T975:
        return mean
    half = T975[len(each)] * logs.std(ddof=1) / len(each) ** 0.5
    return f"{mean} ({np.exp(logs.mean() - half):.2f} to {np.exp(logs.mean() + half):.2f})"


if __name__ == "__main__":
    main()
