"""What a row is to answer at a supervision step, and how much that step weighs.

Legend: `B` rows, `L` cells.
"""

import torch
from torch import Tensor

from trainer.models.base import IGNORED_LABEL

_ODD = -7046029254386353131
"""2^64 divided by the golden ratio, as a signed number: what is multiplied by it is spread over all 64 bits."""


def step_weight(steps: Tensor, decay: float) -> Tensor:
    """Return float32 [B]: `decay^(n - 1)` for rows at their step n, `steps` (int32 [B])."""
    return torch.pow(decay, steps.float() - 1)


def interpolated(inputs: Tensor, labels: Tensor, steps: Tensor, most: int) -> Tensor:
    """Return the targets [B, L] of rows at step `steps` [B] of `most`: ever more of the answer, at last all of it.

    A cell has its label from step `ceil(u * most)` on, where u in 0..1 is a function of the question and the cell, and
    what the question has there before; so nothing is drawn, and a cell that has its label keeps it. Ignored labels
    stay ignored.
    """
    shown = order_of_cells(inputs) * most < steps[:, None]
    return torch.where(shown | (labels == IGNORED_LABEL), labels, inputs.to(labels.dtype))


def order_of_cells(inputs: Tensor) -> Tensor:
    """Return float32 [B, L] in [0, 1): one number for each cell, the same for equal questions `inputs` [B, L]."""
    places = torch.arange(1, inputs.shape[1] + 1, device=inputs.device)
    of_row = (_mixed(places) * (inputs.long() + 1)).sum(-1, keepdim=True)
    return (_mixed(of_row + places * _ODD) & 0xFFFFFF).float() / (1 << 24)


def _mixed(numbers: Tensor) -> Tensor:
    """Spread int64 `numbers` over their bits; sums and products wrap around, the same on every device."""
    for _ in range(2):
        numbers = numbers * _ODD
        numbers = numbers ^ ((numbers >> 29) & 0x7FFFFFFFF)
    return numbers
