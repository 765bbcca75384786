"""Muon for matrices, Adam-atan2 for the rest (arXiv 2502.16982; the orthogonalisation is PyTorch's own)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from trainer.optim.adam_atan2 import AdamATan2


class MuonWithAdam(torch.optim.Optimizer):
    """Two optimizers that look like one: `torch.optim.Muon` on the matrices it is given, Adam-atan2 on the others.

    Muon's rate is scaled by 0.2 sqrt(longer side), so that its updates are as large as Adam's and one rate fits both.
    """

    def __init__(
        self, matrices: Sequence[nn.Parameter], others: list[dict[str, Any]], *, lr: float, weight_decay: float,
        betas: tuple[float, float],
    ) -> None:  # fmt: skip
        """Take the `matrices`, and the `others` as groups. Both decay alike unless a group says otherwise."""
        muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        adam = AdamATan2(others, lr=lr, betas=betas, weight_decay=weight_decay)
        super().__init__([*muon.param_groups, *adam.param_groups], {})
        self._both = (muon, adam)
        for optimizer in self._both:
            optimizer.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        if closure is not None:
            raise TypeError("MuonWithAdam takes no closure")
        for optimizer in self._both:
            optimizer.step()
