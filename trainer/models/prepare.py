"""Options of the run file that change how a model computes, not what."""

import os
import shutil
from importlib.util import find_spec

import torch
from torch import nn

from trmkit.errors import SpecError
from trmkit.spec.train import TrainSection

COMPILERS = {"a C compiler": ("gcc", "clang", "cc"), "a C++ compiler": ("g++", "clang++", "c++")}


def prepare(model: nn.Module, cfg: TrainSection) -> None:
    """Apply `compile` and `activation_checkpointing` to `model`, in place. SpecError: nothing can be compiled here.

    Modules say themselves what may be done to them: one with a `recompute` recomputes what is in it when that is set,
    one whose `repeated` is true is compiled. Only such repeated blocks are compiled: they are most of the work, their
    shapes never change, and one of them is compiled in a fraction of the time that a whole unrolled recursion takes.
    """
    compiled = is_compiled(cfg, next(model.parameters()).device)
    for module in model.modules():
        if isinstance(getattr(module, "recompute", None), bool):
            module.recompute = cfg.activation_checkpointing  # type: ignore[assignment]
        if compiled and is_repeated(module):
            module.compile()


def is_compiled(cfg: TrainSection, device: torch.device) -> bool:
    """Say whether blocks on `device` are to be compiled. SpecError: they are, and cannot be."""
    if cfg.compile == "auto":
        return may_compile(cfg, device) and lacking(device) is None
    if cfg.compile and (missing := lacking(device)):
        raise SpecError(
            f"train.compile: to compile for this device takes {missing}, and none is found",
            next="install one, or --set train.compile=false",
        )
    return cfg.compile


def may_compile(cfg: TrainSection, device: torch.device) -> bool:
    """Say whether `compile: auto` stands for compiled blocks on `device`, if all that this takes is installed."""
    return device.type == "cuda" and cfg.parallel == "replicate"


def lacking(device: torch.device) -> str | None:
    """Return what is not installed of what compiling for `device` takes; None: all of it is.

    A GPU's kernels are written in Triton, which has their launchers compiled by a C compiler; a CPU's are C++.
    """
    if device.type == "cuda" and find_spec("triton") is None:
        return "Triton"
    variable, name = ("CC", "a C compiler") if device.type == "cuda" else ("CXX", "a C++ compiler")
    chosen = os.environ.get(variable)
    return None if any(map(shutil.which, (chosen,) if chosen else COMPILERS[name])) else name


def is_repeated(module: nn.Module) -> bool:
    """Say whether `module` is one of the blocks that a model is made of many times, or goes through many times."""
    return getattr(module, "repeated", False) is True
