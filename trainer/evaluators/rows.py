"""Evaluators that judge each row's taken answer by itself.

Legend: `B` rows, `C` checks, `L` cells.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluators import Indices, Judged, Outcome
from trainer.evaluators.intervals import of_rows

State = tuple[Indices, npt.NDArray[np.bool_]]
"""Rows [n], and what holds of each [n, C]."""


class RowChecks:
    """Counts of how many answers some checks hold. A subclass names the checks and makes them."""

    title: str
    """Name of the scores."""
    checks: tuple[str, ...]
    """Names of the checks."""

    def __init__(self, judged: Judged) -> None:
        self._split = judged.split
        self._rows: list[Indices] = []
        self._holds: list[npt.NDArray[np.bool_]] = []

    def check(self, questions: npt.NDArray[Any], answers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return which checks hold [B, C - 1] of `answers` [B, L] to `questions` [B, L].

        The last check, whether the answer is the known one, is made for all alike.
        """
        raise AssertionError("a subclass makes the checks")

    def remark(self, holds: npt.NDArray[np.bool_]) -> str:
        """Say in words what the checks [C] of an answer come to; '' if nothing."""
        return ""

    def add(self, rows: Indices, answers: npt.NDArray[Any], q_halt: npt.NDArray[np.float32], chosen: Indices) -> None:
        """Check the answers that were taken."""
        taken = answers[np.arange(len(rows)), chosen]
        exact = (taken == self._split.labels[rows]).all(axis=1)
        self._rows.append(rows)
        self._holds.append(np.column_stack((self.check(np.asarray(self._split.inputs[rows]), taken), exact)))

    def state(self) -> State:
        """Return the rows that came here and what holds of each."""
        return (
            np.concatenate([np.empty(0, np.int64), *self._rows]),
            np.concatenate([np.empty((0, len(self.checks)), np.bool_), *self._holds]),
        )

    def merged(self, states: list[State]) -> State:
        """Return the rows of all processes in their order."""
        rows, holds = (np.concatenate(parts) for parts in zip(*states, strict=True))
        order = np.argsort(rows)
        return rows[order], holds[order]

    def outcome(self, merged: State) -> Outcome:
        """Return the part of rows of which each check holds, with intervals."""
        rows, holds = merged
        if not len(rows):
            return Outcome({})
        shares = {name: float(holds[:, index].mean()) for index, name in enumerate(self.checks)}
        intervals = {name: of_rows(holds[:, index], rows) for index, name in enumerate(self.checks)}
        return Outcome(
            {self.title: {"count": len(rows), **shares, "intervals": intervals}},
            remarks={row: text for row, hold in zip(rows.tolist(), holds, strict=True) if (text := self.remark(hold))},
            summary=", ".join(f"{name} {share:.4f}" for name, share in shares.items()),
        )
