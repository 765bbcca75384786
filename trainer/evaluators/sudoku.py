"""Sudokus: answers that keep the rules and the givens, whether or not they are the known solution.

Legend: B puzzles, side * side cells; token 1 is a blank, token d + 1 the digit d.
"""

from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.sudoku_shuffle import BOXES
from trainer.evaluators.rows import RowChecks

BLANK = 1


class SudokuRules(RowChecks):
    """`valid`: every digit once in each row, column and box, and the givens as they were."""

    title = "rules"
    checks = ("valid", "exact")

    def check(self, questions: npt.NDArray[Any], answers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return whether each answer is valid, [B, 1]."""
        side = isqrt(questions.shape[1])
        kept = ((questions == BLANK) | (questions == answers)).all(axis=1)
        boards = answers.reshape(-1, side, side)
        tall, wide = BOXES[side]
        boxes = boards.reshape(-1, side // tall, tall, side // wide, wide).swapaxes(2, 3).reshape(-1, side, side)
        digits = np.arange(side) + BLANK + 1
        whole = [
            (np.sort(units, axis=2) == digits).all(axis=(1, 2)) for units in (boards, boards.swapaxes(1, 2), boxes)
        ]
        holds: npt.NDArray[np.bool_] = (kept & np.logical_and.reduce(whole))[:, None]
        return holds

    def remark(self, holds: npt.NDArray[np.bool_]) -> str:
        """Say so where an answer is another solution than the known one."""
        valid, exact = holds.tolist()
        return "another solution" if valid and not exact else ""
