"""The reference implementation's training step, from a checkout that the user has: `train_step.py --baseline DIR`.

DIR is the root of a checkout of TinyRecursiveModels, with `models/recursive_reasoning/trm.py` and `models/losses.py`,
and what they import installed (`einops` among it). Model and loss are the reference's, from our weights; its optimizer
needs CUDA to be built, so the plain rendering's takes its place. Nothing of the reference is part of this repository.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from plain import PlainUpdate

from trainer.models import TrainableModel
from trainer.models.base import Batch

NAMES = ("models.recursive_reasoning.trm", "models.losses")
KEYS = (
    "hidden_size", "num_heads", "expansion", "L_layers", "H_cycles", "L_cycles", "halt_max_steps",
    "halt_exploration_prob", "no_ACT_continue", "mlp_t", "pos_encodings", "rope_theta", "rms_norm_eps",
    "puzzle_emb_ndim", "puzzle_emb_len", "forward_dtype",
)  # fmt: skip
"""Keys of the section `model` that the reference's configuration has under the same names."""


class ReferenceStep:
    """Forward, backward and an update by the reference's model and loss."""

    def __init__(
        self, folder: Path, ours: TrainableModel, batch: Batch, vocabulary: int, update: PlainUpdate, *, compiled: bool
    ) -> None:
        """Build the reference's model with the weights of `ours`; `update` moves its weights after each backward.

        SystemExit: the folder has no reference, or it does not load.
        """
        architecture, losses = load(folder)
        rows, cells = batch["inputs"].shape
        cfg: Any = ours.cfg
        keys = {name: getattr(cfg, name) for name in KEYS} | {"H_layers": 0}
        keys |= {"batch_size": rows, "seq_len": cells, "vocab_size": vocabulary, "num_puzzle_identifiers": 1}
        model = architecture.TinyRecursiveReasoningModel_ACTV1(keys)
        missing, unknown = model.load_state_dict(ours.state_dict(), strict=False)
        if unknown or any("local" not in name for name in missing):
            raise SystemExit(f"{folder}: its model has other weights than ours: {[*missing, *unknown]}")
        self._model = losses.ACTLossHead(model, "stablemax_cross_entropy").train()
        if compiled:
            self._model = torch.compile(self._model)
        self._batch, self._rows, self._update = batch, rows, update
        self._carry = model.initial_carry(batch)

    def __call__(self) -> float:
        """Make one step; return its loss per row."""
        self._carry, loss, *_ = self._model(carry=self._carry, batch=self._batch, return_keys=[])
        torch.autograd.backward(loss / self._rows)
        self._update(self._model.named_parameters())
        for buffer in self._model.buffers():
            buffer.grad = None  # of the puzzle vectors in use, which are no parameter there
        return float(loss.detach()) / self._rows


def load(folder: Path) -> tuple[Any, Any]:
    """Import the reference's model and losses from `folder`. SystemExit: they are not there, or do not load."""
    for name in NAMES:
        if not (folder / f"{name.replace('.', '/')}.py").is_file():
            raise SystemExit(f"{folder}: has no {name.replace('.', '/')}.py; name the root of a checkout")
    sys.path.insert(0, str(folder))
    try:
        architecture, losses = (importlib.import_module(name) for name in NAMES)
    except ImportError as error:
        raise SystemExit(f"{folder}: does not load ({error}); install what it needs beside ours") from error
    finally:
        sys.path.remove(str(folder))
    return architecture, losses
