"""How often the layers are gone through."""

import math

import torch
from torch import Tensor, nn

from trainer.models.base import Draws
from trainer.models.ladder.blocks import Kept, Stack
from trainer.models.sight import View
from trmkit.spec.ladder import LadderModel

SPREAD = 0.5
"""Sigma of the log-normal in which the mean of the Poisson is drawn (arXiv 2502.05171)."""


class Once(nn.Module):
    """Every layer once."""

    rounds: int | None = None

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.stack = stack

    def forward(self, e: Tensor, view: View, draws: Draws | None) -> Tensor:
        """Map the embedded tokens [B, T, D] to [B, T, D]."""
        out: Tensor = self.stack(e, view)
        return out

    def read(self, e: Tensor, view: View, kept: list[Kept]) -> Tensor:
        """Do the same for tokens that follow what is `kept` of each layer."""
        return self.stack.read(e, view, kept)


class Looped(nn.Module):
    """The layers again and again; how often may be drawn while training, and set while scoring.

    Each round may be given the embedded tokens again; the first one has nothing else. Of a drawn number of rounds only
    the last ones have gradients.
    """

    def __init__(self, stack: Stack, cfg: LadderModel) -> None:
        super().__init__()
        self.stack = stack
        self.rounds = cfg.n_unroll_eval or cfg.n_unroll
        """Rounds while scoring."""
        self._mean, self._inject, self._kept_rounds = cfg.n_unroll, cfg.loop_inject, cfg.loop_backprop
        self._drawn = cfg.loop_sampling == "poisson_lognormal"
        self.last = self.rounds
        """Rounds of the last step."""

    def forward(self, e: Tensor, view: View, draws: Draws | None) -> Tensor:
        """Map the embedded tokens [B, T, D] to [B, T, D]."""
        h, rounds = e, self.count(draws)
        self.last = rounds
        blind = max(0, rounds - self._kept_rounds) if self.training and self._drawn else 0
        with torch.set_grad_enabled(torch.is_grad_enabled() and not blind):
            for number in range(blind):
                h = self.stack(self._given(h, e, number), view)
        for number in range(blind, rounds):
            h = self.stack(self._given(h, e, number), view)
        return h

    def count(self, draws: Draws | None) -> int:
        """Return the rounds of a step: one number for all rows of an update."""
        if not self.training:
            return self.rounds
        if not self._drawn or draws is None:
            return self._mean
        if self._mean == 1:
            return 1
        normal = torch.randn((), generator=draws.common, dtype=torch.float64)
        rate = torch.exp(math.log(self._mean - 1) - SPREAD**2 / 2 + SPREAD * normal)
        return 1 + int(torch.poisson(rate, generator=draws.common))

    def _given(self, h: Tensor, e: Tensor, number: int) -> Tensor:
        return h + e if self._inject and number else h

    def read(self, e: Tensor, view: View, kept: list[Kept]) -> Tensor:
        """Do the same for tokens that follow what is `kept` of each layer in each round."""
        h, layers = e, len(self.stack.layers)
        for number in range(len(kept) // layers):
            h = self.stack.read(self._given(h, e, number), view, kept[number * layers : (number + 1) * layers])
        return h
