"""Start a run from the weights of another one, whose puzzle table may have other rows.

A row is taken over by the name of its puzzle. A new one starts as the mean of the old rows: those are the only vectors
the weights were trained with, while zeros, where a random model starts, are none of them. The reference does the same
with a table of another length. Legend: `N` puzzle identifiers, `W` width of the table.
"""

import json
import re
from pathlib import Path

from torch import Tensor

from trainer.candidates import weights_for_inference
from trainer.checkpoint import Checkpoint
from trainer.data import place_of
from trainer.data.store import read_identifiers
from trainer.known import Known, find_known
from trainer.models.base import SparseEmbedding
from trainer.origin import load_weights
from trainer.progress import say
from trainer.state import TrainState
from trmkit.errors import CheckpointError
from trmkit.store.fetch import Fetch
from trmkit.store.layout import CHECKPOINTS, RunDirectory
from trmkit.store.local import sha256, write_whole
from trmkit.store.manifest import MANIFEST
from trmkit.store.open import open_store
from trmkit.store.publish import checkpoints
from trmkit.store.retry import persist
from trmkit.store.take import Wanted, take_checkpoints, take_files

ADDRESS = re.compile(
    r"(?P<store>s3://.+)/(?P<name>[a-z][-a-z0-9]*)/(?P<id>[0-9a-f]{8})"
    r"(?:/checkpoints/step_(?P<step>\d{8,12})(?:-[0-9a-f]{12})?)?"
)
"""Address of a run in a store, or of one of its checkpoints."""


def start_from_another(state: TrainState, directory: RunDirectory) -> None:
    """Load the weights that `train.init_from` names, if it does, and write `started_from.json`; all processes call it.

    CheckpointError: there is no such checkpoint, it is damaged, or is of another family or size.
    """
    path = state.run.train.init_from
    if path is None:
        return
    known = find_known(brought(path, state))
    ours, theirs = state.run.model.family, known.run.model.family
    if ours != theirs:
        raise CheckpointError(
            f"{known.checkpoint.path}: is of the family {theirs}, this run of {ours}", next="correct train.init_from"
        )
    weights, _ = weights_for_inference(known.checkpoint, str(state.world.device))
    names = read_identifiers(place_of(state.run.data, Path(state.run.storage.data)))
    taken = 0
    for name, module in state.model.named_modules():
        key = f"{name}.weights"
        if isinstance(module, SparseEmbedding) and key in weights:
            weights[key], taken = extended_table(weights[key], known, names)
    load_weights(state.model, weights, known.checkpoint)
    if state.ema:
        for name, parameter in state.model.named_parameters():
            state.ema.shadow[name].copy_(parameter.detach())
    with state.world.together():
        if state.world.first:
            note_start(directory, known.checkpoint)
            rows = f"; {taken:,} of {len(names) - 1:,} named rows of the table taken over" if len(names) > 1 else ""
            say(f"started from step {known.checkpoint.step} of {known.directory.root}{rows}")


def brought(path: str, state: TrainState) -> Path:
    """Return the folder that `train.init_from` means, on this machine; what is in a store is brought first, verified.

    StoreError: it is not there. CheckpointError: it is the address of neither a run nor a checkpoint.
    """
    if "://" not in path:
        return Path(path)
    match = ADDRESS.fullmatch(path.rstrip("/"))
    if match is None:
        raise CheckpointError(f"{path}: is not s3://bucket/prefix/NAME/ID", next="correct train.init_from")
    storage = state.run.storage.model_copy(update={"remote": match["store"]})
    key, target = f"{match['name']}/{match['id']}", Path(storage.path) / match["name"] / match["id"]
    with state.world.together():
        if state.world.local_rank == 0:
            store = open_store(storage)
            fetch = Fetch(store, 60 * storage.patience_minutes)
            take_files(fetch, key, target)
            known = persist(lambda: checkpoints(store, f"{key}/{CHECKPOINTS}"), fetch.seconds)
            wanted = Wanted("step", int(match["step"])) if match["step"] else Wanted("last")
            for line in take_checkpoints(fetch, known, target, wanted):
                say(line)
    return target / CHECKPOINTS / f"step_{match['step']}" if match["step"] else target


def extended_table(old: Tensor, known: Known, names: list[str]) -> tuple[Tensor, int]:
    """Return the table [N, W] for `names` from the `old` one, and how many rows but the blank one were in it."""
    if len(old) != len(known.names):
        raise CheckpointError(
            f"{known.checkpoint.path}: its puzzle table has {len(old)} rows, its run names {len(known.names)}",
            next="take the checkpoint and identifiers.json from the same run",
        )
    place = {name: row for row, name in enumerate(known.names)}
    rows = [place.get(name, -1) for name in names]
    new = (old[1:] if len(old) > 1 else old).mean(0).repeat(len(names), 1)
    kept = [index for index, row in enumerate(rows) if row >= 0]
    new[kept] = old[[rows[index] for index in kept]]
    return new, sum(1 for index in kept if index > 0)


def note_start(directory: RunDirectory, found: Checkpoint) -> None:
    """Write where the first weights came from: the checkpoint, its step, and the SHA-256 of its manifest."""
    content = {"path": str(found.path.resolve()), "step": found.step, "sha256": sha256(found.path / MANIFEST)}
    write_whole(directory.started_from, json.dumps(content, indent=2))
