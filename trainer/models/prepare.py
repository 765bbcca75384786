"""Options of the run file that change how a model computes, not what."""

from torch import nn

from trmkit.spec.train import TrainSection


def prepare(model: nn.Module, cfg: TrainSection) -> None:
    """Apply `compile` and `activation_checkpointing` to `model`, in place.

    Modules say themselves what may be done to them: one with a `recompute` recomputes what is in it when that is set,
    one whose `repeated` is true is compiled. Only such repeated blocks are compiled: they are most of the work, their
    shapes never change, and one of them is compiled in a fraction of the time that a whole unrolled recursion takes.
    """
    for module in model.modules():
        if isinstance(getattr(module, "recompute", None), bool):
            module.recompute = cfg.activation_checkpointing  # type: ignore[assignment]
        if cfg.compile and is_repeated(module):
            module.compile()


def is_repeated(module: nn.Module) -> bool:
    """Say whether `module` is one of the blocks that a model is made of many times, or goes through many times."""
    return getattr(module, "repeated", False) is True
