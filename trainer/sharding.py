"""Tensors of which every process holds a share: PyTorch's FSDP2, `train.parallel: fsdp`.

A block's weights are gathered when it is about to be used, and let go after. Gradients are summed, not averaged, for
the loss is already divided by the global batch: the update is the one of a single process. What is elementwise, as an
optimizer or an average, works on shares; what goes into a checkpoint is whole, so that any number of processes, and
one that knows nothing of shares, can go on from it. All functions take plain tensors, too, and leave them as they are.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainer.dist import World
from trainer.models.prepare import is_repeated


def shard(model: nn.Module, world: World) -> None:
    """Leave this process its share of the weights of `model`, in place: of each repeated block, then of the rest."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    for module in [*(part for part in model.modules() if part is not model and is_repeated(part)), model]:
        part: Any = fully_shard(module, mesh=mesh)
        part.set_force_sum_reduction_for_comms(True)
        part.set_gradient_divide_factor(1.0)


def is_shared(tensor: Tensor) -> bool:
    """Say whether `tensor` is one of which every process holds a share."""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """Return what this process holds of `tensor`, as a plain tensor that shares its memory."""
    held: Tensor = tensor.to_local() if is_shared(tensor) else tensor  # type: ignore[attr-defined]
    return held


def locals_of(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return `local` of each."""
    return [local(tensor) for tensor in tensors]


def whole(tensor: Tensor) -> Tensor:
    """Return all of `tensor`; of a shared one every process must call it."""
    full: Tensor = tensor.full_tensor() if is_shared(tensor) else tensor  # type: ignore[attr-defined]
    return full


def collected(tensors: Mapping[str, Tensor], world: World) -> dict[str, Tensor]:
    """Return whole tensors for the first process to save, shared ones in the memory of its CPU, one after the other.

    Every process must call it; the others get nothing where there is something shared.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        full = whole(tensor)
        if not is_shared(tensor):
            found[name] = tensor
        elif world.first:
            found[name] = full.detach().cpu()
    return found


def share_of(full: Tensor, like: Tensor) -> Tensor:
    """Return `full` spread over the processes as `like` is."""
    if not is_shared(like):
        return full
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    here = full.to(like.device)
    return distribute_tensor(here, like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def fill(target: Tensor, full: Tensor) -> None:
    """Make `target` hold the numbers of `full`, a whole tensor."""
    local(target).copy_(local(share_of(full, target)))
