"""Where training takes its rows from, whatever they are.

Legend: `B` slots of this process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from trainer.models.base import Batch


class Source(Protocol):
    """Serves slots with rows of one shape."""

    def next(self, free: Tensor | None) -> Batch:
        """Return a batch for this process's slots; only rows of slots where `free` [B] is true are new ones.

        None means that every slot is free. Every process must call it.
        """


@dataclass(frozen=True)
class Lane:
    """Slots that rows of one shape are worked on in."""

    source: Source
    slots: int
    """Over all processes."""
    side: int | None = None
    """Of the window that its rows are worked on in; None: they are worked on whole."""

    @property
    def prefix(self) -> str:
        """What the names of its rows' tensors in a checkpoint begin with."""
        return "carry/" if self.side is None else f"carry/{self.side}/"


@dataclass(frozen=True)
class Part:
    """Rows that are worked on at once."""

    lane: int
    rows: slice
    """Among the rows of the lane on this process."""
    numbers: slice
    """Their numbers among the slots of all lanes and processes."""


def parts_of(lanes: Sequence[Lane], rank: int, processes: int, pieces: int) -> list[Part]:
    """Return what process `rank` works on in an update: so many `pieces` of its share of every lane, lane by lane."""
    found, first = [], 0
    for index, lane in enumerate(lanes):
        share = lane.slots // processes
        size, start = share // pieces, first + rank * share
        found += [
            Part(index, slice(at, at + size), slice(start + at, start + at + size)) for at in range(0, share, size)
        ]
        first += lane.slots
    return found


class Feed(Protocol):
    """An endless, seeded source of training rows, the same for any number of processes."""

    lanes: list[Lane]
    """The slots of a batch, by the shape of their rows."""

    def state(self) -> dict[str, int]:
        """Return the place in the source, for a checkpoint."""

    def restore(self, state: dict[str, int]) -> None:
        """Go on from a place that `state` returned. ValueError: there is no such place."""

    def numbers(self) -> dict[str, float]:
        """Return what a line of log has to say of the place in the source."""

    def close(self) -> None:
        """End what works in the background; `next` is not called again."""
