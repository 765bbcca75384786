"""The model families. A family is one line in `FAMILIES` and one file beside this one."""

from importlib import import_module
from typing import Protocol, cast

import torch
from torch import nn

from trainer.models.base import Batch, Carry, Draws, Step
from trmkit.spec.model import ModelSection
from trmkit.spec.recursion import RecursionSection

FAMILIES = {
    "trm": "trainer.models.trm:build",
    "hybrid": "trainer.models.hybrid:build",
    "deep_recursion": "trainer.models.deep_recursion:build",
    "ladder": "trainer.models.ladder:build",
}


class Model(Protocol):
    """What the trainer knows about a family. It is also an `nn.Module`."""

    calls_per_update: int
    """Supervised steps before the weights are updated."""
    max_steps: int
    """Most supervision steps a row is worked on."""
    latent_names: tuple[str, ...]
    """The states in its carry that noise may be added to at test time; empty where there are none."""

    def __call__(self, carry: Carry | None, batch: Batch, draws: Draws | None = None) -> Step:
        """Work one supervised step."""

    def blank_batch(self, rows: int, device: torch.device) -> Batch:
        """Return a batch of `rows` rows that hold nothing, of the shapes and types it is given in training."""

    def initial_carry(self, batch: Batch) -> Carry | None:
        """Return a carry in which every row is halted."""

    def begin(self, batch: Batch) -> Carry | None:
        """Return a carry in which every row of `batch` is about to take its first step."""

    def pursue(self, objective: RecursionSection) -> None:
        """Train by `objective` from here on. Only families with a `RecursiveCore` are asked to."""

    def deepen(self, H_cycles: int, L_cycles: int) -> None:
        """Train with so many cycles from here on. Only families with a `RecursiveCore` are asked to."""


class TrainableModel(nn.Module, Model):
    """The type of every family: a module with the interface above."""


def build(cfg: ModelSection, vocab: int, cells: int, identifiers: int) -> TrainableModel:
    """Build the family that `cfg` names; its weights come from torch's global generator."""
    module, function = FAMILIES[cfg.family].split(":")
    return cast(TrainableModel, getattr(import_module(module), function)(cfg, vocab, cells, identifiers))
