"""ARC answers as grids: whether one has the right size, how much of it is right, and whether it is right as a whole.

A grid ends where its tokens say so, so a model that never learned to end one has no whole answer, however right its
colours are. Legend: B rows, K rollouts, L cells.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.grid import crop_all
from trainer.evaluators import Indices, Judged, Outcome

NAMES = ("exact", "shape", "pixels")


@dataclass(frozen=True)
class Compared:
    """Rows, and what came of comparing each with its truth: `scores` [3, B] in the order of `NAMES`."""

    rows: Indices
    scores: npt.NDArray[np.float64]


def compare(answers: npt.NDArray[Any], truths: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return for each answer [B, L], cut to its grid: whether it is the truth's, of its size, and the part of cells.

    [3, B]. The part is that of the truth's cells which have the right colour where the answer has a cell there at all.
    """
    found, wanted = crop_all(answers), crop_all(truths)
    side = int(answers.shape[1] ** 0.5)
    down, right = np.divmod(np.arange(answers.shape[1]), side)
    inside = [(down < sizes[:, :1]) & (right < sizes[:, 1:]) for sizes in (found, wanted)]
    same = ((answers == truths) & inside[0] & inside[1]).sum(1)
    area = np.maximum(inside[1].sum(1), 1)
    shape = (found == wanted).all(1) & (wanted > 0).all(1)
    return np.stack([shape & (same == area), shape, same / area]).astype(np.float64)


class GridScores:
    """Compares the chosen answer of every row with its truth. Labels of rows that are shifted are shifted alike."""

    def __init__(self, judged: Judged) -> None:
        self._split = judged.split
        self._parts: list[Compared] = []

    def add(self, rows: Indices, answers: npt.NDArray[Any], q_halt: npt.NDArray[np.float32], chosen: Indices) -> None:
        """Compare the chosen rollout of every row."""
        picked = answers[np.arange(len(rows)), chosen]
        self._parts.append(Compared(rows, compare(picked, np.asarray(self._split.labels[rows]))))

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


def _joined(parts: list[Compared]) -> Compared:
    none = Compared(np.empty(0, np.int64), np.empty((3, 0)))
    rows, scores = zip(*((part.rows, part.scores) for part in (none, *parts)), strict=True)
    return Compared(np.concatenate(rows), np.concatenate(scores, axis=1))
