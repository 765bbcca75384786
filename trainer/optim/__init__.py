"""Optimizers, schedule and weight average."""

from typing import Any

import torch
from torch import nn

from trainer.models.prepare import is_repeated
from trainer.optim.adam_atan2 import AdamATan2
from trainer.optim.muon import MuonWithAdam
from trmkit.errors import SpecError
from trmkit.spec.train import TrainSection


def build(model: nn.Module, cfg: TrainSection) -> torch.optim.Optimizer:
    """Return the optimizer of every parameter of `model`; `update` sets the learning rate of each step.

    Parameters that the model's `undecayed()` names, where it has one, have no weight decay.
    SpecError: there is nothing for the optimizer to move.
    """
    how: Any = {"lr": cfg.lr, "betas": tuple(cfg.betas), "weight_decay": cfg.weight_decay}
    optimizer: torch.optim.Optimizer
    if cfg.optimizer == "muon":
        chosen = matrices(model)
        if not chosen:
            raise SpecError(
                "train.optimizer: muon moves the matrices of a model's repeated blocks, and this model has none",
                next="--set train.optimizer=adam_atan2, or adamw",
            )
        optimizer = MuonWithAdam(chosen, groups(model, without=chosen), **how)
    else:
        kind: Any = {"adam_atan2": AdamATan2, "adamw": torch.optim.AdamW}[cfg.optimizer]
        optimizer = kind(groups(model), **how)
    return optimizer


def groups(model: nn.Module, without: list[nn.Parameter] | None = None) -> list[dict[str, Any]]:
    """Return the parameters of `model` in groups for an optimizer, but for those `without`."""
    named = getattr(model, "undecayed", None)
    spared: set[str] = named() if callable(named) else set()
    others = {id(p) for p in without or ()}
    left = {name: p for name, p in model.named_parameters() if id(p) not in others}
    decayed = [p for name, p in left.items() if name not in spared]
    rest = [p for name, p in left.items() if name in spared]
    return [{"params": decayed}] + ([{"params": rest, "weight_decay": 0.0}] if rest else [])


def matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the matrices of the blocks that `model` is made of many times: no embeddings, no heads."""
    found = [p for part in model.modules() if is_repeated(part) for p in part.parameters() if p.ndim == 2]
    return list(dict.fromkeys(found))
