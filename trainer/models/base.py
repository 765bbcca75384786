"""The one interface between a model family and the trainer.

Legend: `B` rows worked on in one call, `L` cells of a puzzle, `V` kinds of tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainer.generators import mixed

Carry = dict[str, Tensor]
"""State of the rows being worked on: every tensor has rows first, so a carry can be cut, joined and saved by rows.

`halted` (bool [B]) says which rows are final and take new data at the next call.
"""

Batch = dict[str, Tensor]
"""`inputs` [B, L] and `labels` [B, L] (integers, label -100 is ignored), `puzzle_identifiers` [B]."""

IGNORED_LABEL = -100


class Step(NamedTuple):
    """What one supervised step gives back."""

    loss: Tensor
    """Scalar, summed over rows; of a model that is updated after several calls, the call's share of the update."""
    carry: Carry | None
    """State of the rows, detached. None: every row is final."""
    outputs: dict[str, Tensor]
    """`logits` [B, L, V], `preds` [B, L] and `q_halt` [B] (float32), all detached."""
    metrics: dict[str, Tensor]
    """Sums over rows that became final, and their `count`; the `*_loss` ones are sums over all rows."""


APART = 0x9E3779B1
"""How far apart the draws of two seeds begin: torch's generator on the CPU takes 32 bits, and ignores all above."""


class Draws:
    """Random numbers for one step. A row gets the same ones however the rows are spread over processes and parts."""

    def __init__(self, seed: int, step: int, rows: slice, total: int, device: torch.device) -> None:
        """Draw for `rows` out of `total` rows; the numbers are a function of `seed`, `step` and the row alone."""
        self._generator = torch.Generator().manual_seed((step + (seed + (seed >> 32)) * APART) % 2**32)
        self._common = torch.Generator().manual_seed(mixed(seed, step))
        self._rows, self._total, self._device = rows, total, device

    @property
    def common(self) -> torch.Generator:
        """The generator, on the CPU, of draws that all rows of all processes and parts share in this step."""
        return self._common

    def uniform(self) -> Tensor:
        """Return float32 [B] in [0, 1)."""
        return self._mine(torch.rand(self._total, generator=self._generator))

    def integers(self, low: int, high: int) -> Tensor:
        """Return int32 [B] in low..high-1."""
        return self._mine(torch.randint(low, high, (self._total,), generator=self._generator, dtype=torch.int32))

    def _mine(self, drawn: Tensor) -> Tensor:
        """Cut out these rows; from pinned memory the copy to a GPU does not wait for the work before it."""
        part = drawn[self._rows]
        return (
            part.pin_memory().to(self._device, non_blocking=True)
            if self._device.type == "cuda"
            else part.to(self._device)
        )


class SparseEmbedding(nn.Module):
    """A table of vectors of which a batch touches a few rows. It is a buffer; `optim.SparseSignSGD` trains it.

    In training mode every look-up leaves its gradient behind in `touched`, for the optimizer to take.
    """

    weights: Tensor

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(rows, width))
        self.touched: list[tuple[Tensor, Tensor]] = []

    def forward(self, identifiers: Tensor) -> Tensor:
        """Return [B, width] (float32) for `identifiers` [B]."""
        vectors = self.weights[identifiers.long()]
        if self.training and torch.is_grad_enabled():
            vectors = vectors.detach().requires_grad_()
            self.touched.append((identifiers, vectors))
        return vectors
