"""The moving average of the weights, which is what gets evaluated and exported."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainer.sharding import locals_of


class WeightAverage:
    """`shadow <- (1 - mu) p + mu shadow` after every update, from the initial weights on, without bias correction.

    Buffers are not averaged: neither the puzzle table nor the initial states.
    """

    def __init__(self, model: nn.Module, mu: float) -> None:
        self._params = dict(model.named_parameters())
        self.mu = mu
        self.shadow: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._params.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights as they are now."""
        current = locals_of(p.detach() for p in self._params.values())
        torch._foreach_lerp_(locals_of(self.shadow.values()), current, 1 - self.mu)

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
