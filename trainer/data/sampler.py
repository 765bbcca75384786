"""Which rows an epoch takes, in which order. A pure function of the split, a seed and the number of the epoch."""

import numpy as np
import numpy.typing as npt

from trainer.data.draws import generator
from trainer.data.store import Split

Rows = npt.NDArray[np.int64]


def epoch_rows(split: Split, seed: int, epoch: int) -> Rows:
    """Return the rows of one epoch, int64 [n]: of every group one random puzzle, with all its rows.

    Groups come in random order and the rows of a puzzle too; the order does not depend on how many processes share it.
    The scheme is the one of the reference's `puzzle_dataset.py`, without the rows it drops at the end of a batch.
    """
    draw = generator(seed, "epoch", epoch)
    groups = draw.permutation(len(split.group_indices) - 1)
    limits = split.group_sizes[groups] if split.group_size is None else split.group_size
    puzzles = split.group_indices[groups] + draw.integers(0, limits, len(groups))
    if len(split) == len(split.puzzle_identifiers):  # every puzzle is one row: nothing is left to be put in order
        return puzzles
    starts = split.puzzle_indices[puzzles].astype(np.int64)
    sizes = split.puzzle_indices[puzzles + 1] - starts
    rows = _runs(starts, sizes)
    place = np.repeat(np.arange(len(sizes)), sizes)
    return rows[np.argsort(place + draw.random(len(rows)), kind="stable")]


def original_rows(split: Split, count: int) -> Rows:
    """Return up to `count` rows of puzzles as they were before augmentation, int64, evenly spread over the groups."""
    puzzles = split.group_indices[:-1]  # the first puzzle of a group is the original
    starts = split.puzzle_indices[puzzles].astype(np.int64)
    return evenly(_runs(starts, split.puzzle_indices[puzzles + 1] - starts), count)


def evenly(rows: Rows, count: int) -> Rows:
    """Return `count` of `rows`, evenly spread, or all of them if there are no more."""
    return rows if len(rows) <= count else rows[np.arange(count, dtype=np.int64) * len(rows) // count]


def _runs(starts: Rows, sizes: Rows) -> Rows:
    """Concatenate `start .. start + size - 1` of every run."""
    before = np.cumsum(sizes) - sizes
    return np.repeat(starts - before, sizes) + np.arange(int(sizes.sum()), dtype=np.int64)
