"""Score a model: on a part of the test set during training, on all of it at the end."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
from torch import Tensor

from trainer import checkpoint, data
from trainer.checkpoint import Checkpoint
from trainer.data.manifest import grid_of
from trainer.data.sampler import evenly, original_rows
from trainer.data.store import Split, read_identifiers, read_split
from trainer.data.stream import Rows
from trainer.dist import StopSignal, World
from trainer.evaluators.exact import Solved, scores
from trainer.examples import show_rows
from trainer.models import TrainableModel
from trainer.models.prepare import prepare
from trainer.progress import say
from trainer.solve import Indices, Plan, solve
from trainer.state import TrainState, load_weights, make_model, total_steps
from trmkit.errors import CheckpointError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

NOTHING: Indices = np.empty(0, np.int64)


def evaluate_sample(state: TrainState, split: Split, stop: StopSignal) -> dict[str, float]:
    """Return the scores of the averaged weights on an evenly spread part of the test set."""
    run, world = state.run, state.world
    wanted = evenly(test_rows(run, split), run.evaluate.sample)
    rows = Rows(split, world.device, on_device=False)
    with state.ema.in_place() if state.ema else nullcontext():
        solved = solve(
            state.model, rows, wanted, plan_of(run, state.model, world), world,
            show=NOTHING, check=lambda: stop.check(world),
        )  # fmt: skip
    found = scores(solved)
    return {name: found[name] for name in ("count", "exact_accuracy", "accuracy", "steps", "q_halt_accuracy")}


def evaluate(run: RunFile, directory: RunDirectory, world: World, which: str = "last") -> dict[str, Any]:
    """Score the `last` or the `best` checkpoint of `run` in full and write `eval.json`; returns what it holds.

    CheckpointError: there is no such checkpoint, or it is damaged. Raises `Stopped` when a signal asked for it.
    """
    found = find_checkpoint(directory, which)
    folder = data.build_together(run, world)
    splits = {name: read_split(folder, name) for name in ("train", "test")}
    model = make_model(run, splits["train"].metadata, world.device)
    weights = load_for_inference(model, found)
    prepare(model, run.train)
    started = time.monotonic()
    plan = plan_of(run, model, world)
    with StopSignal().listening() as stop:
        sets, examples = score_sets(run, model, splits, plan, world, lambda: stop.check(world))
    grid = grid_of(folder)
    names = read_identifiers(folder)
    shown = [
        line
        for name, (split, solved) in examples.items()
        for line in show_rows(name, splits[split], solved, grid, names)
    ]
    result = {
        "step": found.step,
        "total": total_steps(run, splits["train"].metadata),
        "checkpoint": which,
        "weights": weights,
        "supervision_steps": plan.steps,
        "early_exit": plan.early_exit,
        "seconds": time.monotonic() - started,
        "sets": sets,
        "grid": {"kind": grid.kind, "height": grid.height, "width": grid.width},
        "examples": shown,
    }
    if world.first:
        write_whole(directory.evaluation, json.dumps(result))
    return result


def score_sets(
    run: RunFile,
    model: TrainableModel,
    splits: dict[str, Split],
    plan: Plan,
    world: World,
    check: Callable[[], None],
) -> tuple[dict[str, Any], dict[str, tuple[str, Solved]]]:
    """Return the scores of the sets the run asks for, and how the rows to be shown went: set -> (split, solved)."""
    options, test = run.evaluate, splits["test"]
    wanted = {"test": ("test", test_rows(run, test))}
    if options.final_sample is not None:
        wanted["test"] = ("test", evenly(wanted["test"][1], options.final_sample))
    if options.fit_sample:
        wanted["fit"] = ("train", original_rows(splits["train"], options.fit_sample))
    if options.blank_identifiers:
        wanted["test_blank"] = wanted["test"]
    sets, examples = {}, {}
    for name, (split, rows) in wanted.items():
        show = evenly(rows, options.examples) if name != "test_blank" else NOTHING
        blank = splits[split].metadata.blank_identifier_id if name == "test_blank" else None
        this = Plan(plan.steps, plan.batch_size, plan.early_exit, blank)
        reader = Rows(splits[split], world.device, on_device=False)
        solved = solve(model, reader, rows, this, world, show=show, check=check)
        sets[name] = scores(solved) | {"puzzles": _whole_puzzles(splits[split], rows, solved)}
        if name != "test_blank":
            examples[name] = (split, solved)
        if world.first:
            say(f"{name}: {sets[name]['count']} rows, exact {sets[name].get('exact_accuracy', 0):.4f}")
    return sets, examples


def _whole_puzzles(split: Split, rows: Indices, solved: Solved) -> dict[str, int]:
    """Count the puzzles of the source that have rows among `rows`, and those with every one of these right."""
    originals = split.group_indices[:-1]
    owner = np.searchsorted(split.puzzle_indices, rows, side="right") - 1
    among = np.isin(owner, originals)
    owners, place = np.unique(owner[among], return_inverse=True)
    wrong = np.bincount(place, weights=~solved.exact[among, -1], minlength=len(owners))
    return {"count": len(owners), "solved": int((wrong == 0).sum())}


def test_rows(run: RunFile, split: Split) -> Indices:
    """Return the test rows that are scored, in the order of the split."""
    return np.arange(len(split), dtype=np.int64) if run.evaluate.augmented else original_rows(split, len(split))


def plan_of(run: RunFile, model: TrainableModel, world: World) -> Plan:
    """Return how `run` wants rows to be worked on."""
    options = run.evaluate
    share = run.train.batch_size // (world.size * run.train.accumulate)
    return Plan(options.supervision_steps or model.max_steps, options.batch_size or max(1, share), options.early_exit)


def find_checkpoint(directory: RunDirectory, which: str) -> Checkpoint:
    """Return the `last` or the `best` checkpoint, verified. CheckpointError: there is none."""
    root = directory.checkpoints
    if which == "best":
        best = checkpoint.read_best(root)
        if best is not None:
            return checkpoint.verify(root / f"step_{best['step']:08d}")
        raise CheckpointError(f"{root}: no best checkpoint is known", next="set evaluate.every_steps, or use the last")
    refused: list[str] = []
    found = checkpoint.newest(root, refused)
    if found is None:
        reasons = "".join(f"\n    {reason}" for reason in refused)
        raise CheckpointError(f"{root}: holds no whole checkpoint{reasons}", next="train first")
    for reason in refused:
        say(f"not used: {reason}")
    return found


def load_for_inference(model: TrainableModel, found: Checkpoint) -> str:
    """Load the averaged weights if the checkpoint has them, else the raw ones; say which."""
    weights, kind = weights_for_inference(found, str(next(model.parameters()).device))
    load_weights(model, weights, found)
    return kind


def weights_for_inference(found: Checkpoint, device: str) -> tuple[dict[str, Tensor], str]:
    """Return weights and buffers, averaged if the checkpoint has an average, else raw; and which they are."""
    weights = found.tensors("model.safetensors", device)
    if "ema.safetensors" not in found.files:
        return weights, "raw"
    return weights | found.tensors("ema.safetensors", device), "averaged (EMA)"
