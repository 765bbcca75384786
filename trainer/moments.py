"""What an optimizer keeps of every weight, by the weight's name, into and out of a checkpoint."""

from typing import Any

import torch
from torch import Tensor

from trainer.sharding import share_of


def kind_of(value: Tensor) -> str:
    """Return type and shape in words."""
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


def moments_of(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return what `optimizer` keeps, tensors and numbers, as `weight/what`."""
    tensors, numbers = {}, {}
    for name, p in model.named_parameters():
        for key, value in optimizer.state.get(p, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{key}"] = value
            else:
                numbers[f"{name}/{key}"] = value
    return tensors, numbers


def restore_moments(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Give `optimizer` back what it kept. ValueError: something is of another shape or type than its weight."""
    params = dict(model.named_parameters())
    for path, value in {**tensors, **state["optimizer"]}.items():
        name, _, key = path.rpartition("/")
        on_cpu = key == "step" and isinstance(value, Tensor)  # where torch keeps it, to read it without waiting
        moment = isinstance(value, Tensor) and key != "step"
        if moment and (value.shape != params[name].shape or not value.is_floating_point()):
            raise ValueError(f"{path} is {kind_of(value)}, its weight is {kind_of(params[name])}")
        if moment:
            value = share_of(value, params[name])
        optimizer.state[params[name]][key] = value.cpu() if on_cpu else value
