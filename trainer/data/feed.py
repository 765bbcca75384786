"""Where training takes its rows from, whatever they are.

Legend: `B` slots of this process.
"""

from typing import Protocol

from torch import Tensor

from trainer.models.base import Batch


class Feed(Protocol):
    """An endless, seeded source of training rows, the same for any number of processes."""

    def next(self, free: Tensor | None) -> Batch:
        """Return a batch for this process's slots; only rows of slots where `free` [B] is true are new ones.

        None means that every slot is free. Every process must call it.
        """

    def state(self) -> dict[str, int]:
        """Return the place in the source, for a checkpoint."""

    def restore(self, state: dict[str, int]) -> None:
        """Go on from a place that `state` returned. ValueError: there is no such place."""

    def numbers(self) -> dict[str, float]:
        """Return what a line of log has to say of the place in the source."""

    def close(self) -> None:
        """End what works in the background; `next` is not called again."""
