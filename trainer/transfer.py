"""Checkpoints of the reference implementation (a `torch.save` of weights alone): read one, write one.

Legend: `N` puzzle identifiers, `W` width of the puzzle table.
"""

import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer import checkpoint, data
from trainer.candidates import find_checkpoint, load_for_inference
from trainer.data.store import read_metadata, read_split
from trainer.data.stream import Stream
from trainer.dist import World
from trainer.known import write_notes
from trainer.models import TrainableModel
from trainer.state import TrainState, make_model, total_steps
from trmkit.errors import CheckpointError, SpecError
from trmkit.spec.curriculum import CurriculumData
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import sha256, write_whole

COMPILED = "_orig_mod."
PREFIX = "model."
TABLE = "inner.puzzle_emb.weights"
HERE = World(0, 1, 0, torch.device("cpu"))


def import_reference(run: RunFile, directory: RunDirectory, file: Path) -> Path:
    """Make the weights in `file` the step-0 checkpoint of `run`, so that training or evaluation starts from them.

    Returns the checkpoint's folder. CheckpointError: the run has checkpoints already, or the file is another model's.
    """
    if isinstance(run.data, CurriculumData):
        raise SpecError(
            f"import: {run.model.title} is not a model of the reference implementation",
            next="start from another run of this project with train.init_from",
        )
    if checkpoint.steps(directory.checkpoints):
        raise CheckpointError(
            f"{directory.checkpoints}: the run has checkpoints already", next="give the run another name to start anew"
        )
    folder = data.build_for(run)
    train_split = read_split(folder, "train")
    model = make_model(run, train_split.metadata, HERE.device)
    load_reference(model, read_weights(file), file)
    feed = Stream(train_split, run.seed, run.train.batch_size, HERE, on_device=False)
    state = TrainState(run, model, feed, HERE, total_steps(run, train_split.metadata))
    directory.checkpoints.mkdir(parents=True, exist_ok=True)
    write_notes(folder, directory)
    note = {"path": str(file.resolve()), "step": None, "sha256": sha256(file)}
    write_whole(directory.started_from, json.dumps(note, indent=2))
    return checkpoint.save(directory.checkpoints, 0, *state.capture(), HERE)


def export_reference(run: RunFile, directory: RunDirectory, file: Path, which: str, *, compiled: bool = False) -> Path:
    """Write the weights that would be evaluated (the average, if there is one) to `file`; returns it.

    Of a language model in the form of the ladder's authors, else in that of TRM's.

    CheckpointError: there is no such checkpoint, or the folder of `file` is not there.
    """
    if not file.parent.is_dir():
        raise CheckpointError(f"{file.parent}: no such folder", next="make it, or write to another")
    found = find_checkpoint(directory, which)
    model = make_model(run, read_metadata(data.build_for(run)), HERE.device)
    load_for_inference(model, found)
    content = io.BytesIO()
    if isinstance(run.data, CurriculumData):
        torch.save(text_weights(run, model, found.step), content)
    else:
        torch.save(reference_weights(model, compiled=compiled), content)
    write_whole(file, content.getvalue())
    return file


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return the tensors in `file` under our names; keys may carry `_orig_mod.` or not.

    Only tensors are unpickled. CheckpointError: the file is no such checkpoint.
    """
    if not file.is_file():
        raise CheckpointError(f"{file}: no checkpoint of weights: there is no such file", next="check its path")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes torch raise; its own words advise to trust the file
        raise CheckpointError(
            f"{file}: no checkpoint of weights (it is damaged or holds more than tensors; nothing in it was executed)",
            next="give a file of tensors",
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise CheckpointError(f"{file}: holds something else than tensors by name", next="give a file of tensors")
    return {name.removeprefix(COMPILED).removeprefix(PREFIX): value for name, value in content.items()}


def reference_weights(model: TrainableModel, *, compiled: bool = False) -> dict[str, Tensor]:
    """Return the weights under the reference's names, with `_orig_mod.` where it would have compiled the model."""
    prefix = (COMPILED if compiled else "") + PREFIX
    return {prefix + name: value.detach().clone() for name, value in model.state_dict().items()}


def text_weights(run: RunFile, model: TrainableModel, step: int) -> dict[str, Any]:
    """Return the weights of a language model with what they are of, as plain values and tensors."""
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return {"model_state_dict": weights, "config": run.model.model_dump(mode="json"), "step": step}


def load_reference(model: TrainableModel, weights: dict[str, Tensor], file: Path) -> None:
    """Load `weights` into `model`; a puzzle table of another length is replaced by its mean vector in every row.

    CheckpointError: names or other shapes differ.
    """
    wanted = model.state_dict()
    table = weights.get(TABLE)
    ours = wanted.get(TABLE)
    if table is not None and ours is not None and table.shape[1:] == ours.shape[1:] and 0 < len(table) != len(ours):
        weights = weights | {TABLE: table.float().mean(0, keepdim=True).expand_as(ours)}
    wrong = sorted(
        name
        for name in wanted.keys() | weights.keys()
        if name not in wanted or name not in weights or wanted[name].shape != weights[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{file}: is of another model: {', '.join(wrong[:5])} differ{' and more' if len(wrong) > 5 else ''}",
            next="make the model section match the checkpoint, and the data section its vocabulary and length",
        )
    model.load_state_dict(weights)
