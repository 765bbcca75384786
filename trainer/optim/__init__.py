"""Optimizers, schedule and weight average."""

from typing import Any

import torch
from torch import nn

from trainer.optim.adam_atan2 import AdamATan2
from trmkit.spec.train import TrainSection


def build(model: nn.Module, cfg: TrainSection) -> torch.optim.Optimizer:
    """Return the optimizer of every parameter of `model`; `update` sets the learning rate of each step."""
    kind: Any = {"adam_atan2": AdamATan2, "adamw": torch.optim.AdamW}[cfg.optimizer]
    optimizer: torch.optim.Optimizer = kind(
        model.parameters(), lr=cfg.lr, betas=tuple(cfg.betas), weight_decay=cfg.weight_decay
    )
    return optimizer
