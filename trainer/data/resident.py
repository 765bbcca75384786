"""Training rows that are on the device, so that a batch of them is arithmetic there and the host waits for nothing.

Legend: n boards, N rows, L cells, B rows asked for.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from trainer.data.store import Split, Table
from trainer.data.sudoku_shuffle import LINE_BITS
from trainer.data.sudoku_virtual import BLANK, GIVEN, Shuffled

Pairs = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From rows [B] to inputs and labels [B, L], new tensors, all on one device."""


def resident(split: Split, device: torch.device) -> Pairs:
    """Put the rows of `split` on the device, or the boards that they are made of."""
    if split.shuffled is not None:
        return shuffled_on(device, split.shuffled)
    inputs, labels = (_tensor(array, device) for array in (split.inputs, split.labels))
    return lambda rows: (inputs.index_select(0, rows), labels.index_select(0, rows))


def shuffled_on(device: torch.device, source: Shuffled) -> Pairs:
    """Return what makes on the device the rows that `source.pairs` makes on the host."""
    tables, copies, lines = source.tables, source.copies, (1 << LINE_BITS) - 1
    side, known = tables.rows.shape[1], (source.boards, source.numbers, tables.digits, tables.rows, tables.columns)
    boards, numbers, digits, row_orders, column_orders = (torch.from_numpy(array).to(device) for array in known)

    def pairs(rows: Tensor) -> tuple[Tensor, Tensor]:
        number = numbers[rows]
        down, right = row_orders[number >> LINE_BITS & lines].long(), column_orders[number & lines].long()
        straight = down[:, :, None] * side + right[:, None, :]
        turned = down[:, :, None] + right[:, None, :] * side
        transposed = (number >> 2 * LINE_BITS & 1).bool()
        places = torch.where(transposed[:, None, None], turned, straight).flatten(1)
        cells = boards[rows // copies].gather(1, places)
        tokens = digits[number >> 1 + 2 * LINE_BITS].gather(1, cells.long() % GIVEN - 1) + 1
        return torch.where(cells < GIVEN, BLANK, tokens), tokens

    return pairs


def _tensor(array: Table, device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.uint8 if array.dtype == np.uint8 else np.int32)).to(device)
