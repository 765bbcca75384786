"""ARC answers as grids: whether one has the right size, how much of it is right, and whether it is right as a whole.

A grid ends where its tokens say so, so a model that never learned to end one has no whole answer, however right its
colours are. Legend: B rows, K rollouts, L cells.
"""

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.grid import FIRST_COLOUR, canonical, crop_all
from trainer.evaluators import Indices, Judged, Outcome

Tokens = npt.NDArray[Any]

NAMES = ("exact", "shape", "pixels")


@dataclass(frozen=True)
class Compared:
    """Rows, and what came of comparing each with its truth: `scores` [3, B] in the order of `NAMES`."""

    rows: Indices
    scores: npt.NDArray[np.float64]


def compare(answers: Tokens, truths: Tokens) -> npt.NDArray[np.float64]:
    """Return for each answer [B, L], cut to its grid: whether it is the truth's, of its size, and the part of cells.

    [3, B]. The part is that of the truth's cells which have the right colour where the answer has a cell there at all.
    """
    found, wanted = crop_all(answers), crop_all(truths)
    side = isqrt(answers.shape[1])
    down, right = np.divmod(np.arange(answers.shape[1]), side)
    inside = [(down < sizes[:, :1]) & (right < sizes[:, 1:]) for sizes in (found, wanted)]
    same = ((answers == truths) & inside[0] & inside[1]).sum(1)
    area = np.maximum(inside[1].sum(1), 1)
    shape = (found == wanted).all(1) & (wanted > 0).all(1)
    return np.stack([shape & (same == area), shape, same / area]).astype(np.float64)


class GridScores:
    """Compares the chosen answer of every row with its truth, wherever on the canvas the two are."""

    def __init__(self, judged: Judged) -> None:
        self._split, self._layout = judged.split, judged.layout
        self._parts: list[Compared] = []

    def add(self, rows: Indices, answers: Tokens, q_halt: npt.NDArray[np.float32], chosen: Indices) -> None:
        """Compare the chosen rollout of every row."""
        picked = answers[np.arange(len(rows)), chosen]
        truths = np.asarray(self._split.labels[rows])
        if self._layout == "edges":
            pair = _moved_to_the_corner(picked, truths)
        else:
            pair = canonical(picked, self._layout), canonical(truths, self._layout)
        self._parts.append(Compared(rows, compare(*pair)))

    def state(self) -> Compared:
        """Return what was compared here."""
        return _joined(self._parts)

    def merged(self, states: list[Compared]) -> Compared:
        """Return what all processes compared, in the order of rows."""
        whole = _joined(states)
        order = np.argsort(whole.rows, kind="stable")
        return Compared(whole.rows[order], whole.scores[:, order])

    def outcome(self, merged: Compared) -> Outcome:
        """Return the means over rows."""
        if not len(merged.rows):
            return Outcome({})
        return Outcome({"grids": {name: float(score.mean()) for name, score in zip(NAMES, merged.scores, strict=True)}})


def _moved_to_the_corner(answers: Tokens, truths: Tokens) -> tuple[Tokens, Tokens]:
    """Return answers and truths [B, L] moved by as much as each truth is away from the corner of its canvas."""
    side = isqrt(truths.shape[1])
    colours = (truths >= FIRST_COLOUR).reshape(-1, side, side)
    index = np.arange(side)
    down = (index + colours.any(2).argmax(1)[:, None]) % side
    right = (index + colours.any(1).argmax(1)[:, None]) % side
    places = (down[:, :, None] * side + right[:, None, :]).reshape(len(truths), -1)
    return np.take_along_axis(answers, places, 1), np.take_along_axis(truths, places, 1)


def _joined(parts: list[Compared]) -> Compared:
    none = Compared(np.empty(0, np.int64), np.empty((3, 0)))
    rows, scores = zip(*((part.rows, part.scores) for part in (none, *parts)), strict=True)
    return Compared(np.concatenate(rows), np.concatenate(scores, axis=1))
