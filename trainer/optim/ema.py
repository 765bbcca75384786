"""The moving average of the weights, which is what gets evaluated and exported."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainer.sharding import locals_of


class WeightAverage:
    """`shadow <- (1 - mu) p + mu shadow` after every update, from the initial weights on, without bias correction.

    With a warm-up `mu` is at most `(1 + n) / (10 + n)` after n updates, so that the initial weights are soon forgotten.
    Buffers are not averaged: neither the puzzle table nor the initial states.
    """

    def __init__(self, model: nn.Module, mu: float, *, warmup: bool = False) -> None:
        self._params = dict(model.named_parameters())
        self.mu, self.warmup = mu, warmup
        self.shadow: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._params.items()}

    def decay(self, n: int) -> float:
        """Return what is kept of the average after `n` updates of the weights."""
        return min(self.mu, (1 + n) / (10 + n)) if self.warmup else self.mu

    @torch.no_grad()
    def update(self, n: int) -> None:
        """Move the average towards the weights as they are now, after `n` updates of them."""
        current = locals_of(p.detach() for p in self._params.values())
        torch._foreach_lerp_(locals_of(self.shadow.values()), current, 1 - self.decay(n))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average into the model for the time of a `with` block; no second model is held."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, p in self._params.items():
            average = self.shadow[name]
            kept = p.detach().clone()
            p.copy_(average)
            average.copy_(kept)
