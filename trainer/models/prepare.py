"""Options of the run file that change how a model computes, not what."""

from torch import nn

from trainer.models.recursion import Block, Level
from trmkit.spec.train import TrainSection


def prepare(model: nn.Module, cfg: TrainSection) -> None:
    """Apply `compile` and `activation_checkpointing` to `model`, in place.

    Only the repeated blocks are compiled: they are most of the work, their shapes never change, and one of them is
    compiled in a fraction of the time that the whole unrolled recursion takes.
    """
    for module in model.modules():
        if isinstance(module, Level):
            module.recompute = cfg.activation_checkpointing
        if isinstance(module, Block) and cfg.compile:
            module.compile()
