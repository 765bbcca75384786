"""Optimizers, schedule and weight average."""

from typing import Any

import torch
from torch import nn

from trainer.optim.adam_atan2 import AdamATan2
from trmkit.spec.train import TrainSection


def build(model: nn.Module, cfg: TrainSection) -> torch.optim.Optimizer:
    """Return the optimizer of every parameter of `model`; `update` sets the learning rate of each step.

    Parameters that the model's `undecayed()` names, where it has one, have no weight decay.
    """
    kind: Any = {"adam_atan2": AdamATan2, "adamw": torch.optim.AdamW}[cfg.optimizer]
    optimizer: torch.optim.Optimizer = kind(
        groups(model), lr=cfg.lr, betas=tuple(cfg.betas), weight_decay=cfg.weight_decay
    )
    return optimizer


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Return the parameters of `model` in groups for an optimizer."""
    named = getattr(model, "undecayed", None)
    spared: set[str] = named() if callable(named) else set()
    decayed = [p for name, p in model.named_parameters() if name not in spared]
    rest = [p for name, p in model.named_parameters() if name in spared]
    return [{"params": decayed}] + ([{"params": rest, "weight_decay": 0.0}] if rest else [])
