"""The ablation ladder: language models that differ from one another by one part at a time."""

from importlib import import_module
from typing import cast

from trainer.models import TrainableModel
from trmkit.spec.ladder import LadderModel

OTHERS = {"nano_absolute": "trainer.models.absolute_lm:build"}
"""Variants that are no rungs but controls, with a file of their own."""


def build(cfg: LadderModel, vocab: int, cells: int, identifiers: int) -> TrainableModel:
    """Build the variant for rows of `cells` tokens; its weights come from torch's global generator."""
    module, function = OTHERS.get(cfg.variant, "trainer.models.ladder.lm:build").split(":")
    return cast(TrainableModel, getattr(import_module(module), function)(cfg, vocab, cells, identifiers))
