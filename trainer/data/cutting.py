"""Windows cut out of canvases, and put back.

Legend: `B` rows, `L` cells of a canvas, `K` cells of a window.
"""

from math import isqrt

import torch
from torch import Tensor

from trainer.models.base import Batch


def cut(batch: Batch, side: int) -> Batch:
    """Return rows [B, L] in windows of `side` squared cells, with the number of each cell kept, `positions` [B, K].

    A window begins where the question does, or as far before as it needs to end with the canvas. So it is a function of
    the question alone; labels outside of it are lost.
    """
    inputs = batch["inputs"]
    canvas = isqrt(inputs.shape[1])
    filled = inputs.view(-1, canvas, canvas) != 0
    down, right = (filled.any(axis).int().argmax(1).clamp(max=canvas - side) for axis in (2, 1))
    span = torch.arange(side, device=inputs.device)
    positions = ((down[:, None] + span)[:, :, None] * canvas + (right[:, None] + span)[:, None, :]).flatten(1)
    cells = {name: batch[name].gather(1, positions) for name in ("inputs", "labels")}
    return batch | cells | {"positions": positions.int()}


def on_canvas(cells: Tensor, positions: Tensor, like: Tensor) -> Tensor:
    """Return `cells` [B, K] of windows on their canvas, of the shape of `like` [B, L], with nothing around them."""
    return cells.new_zeros(like.shape).scatter_(1, positions.long(), cells)
