"""Mazes: answers that hold a path from start to goal, and a shortest one.

Several paths may be shortest, so an answer that is not the known one can be as good.
Legend: B mazes, L = side * side cells. Tokens: see `trainer.data.maze`.
"""

from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.compiled import compiled
from trainer.data.maze import ALPHABET
from trainer.evaluators.rows import RowChecks

WALL, FREE, START, GOAL, PATH = (ALPHABET[character] for character in "# SGo")


class MazePaths(RowChecks):
    """`valid`: one unbranched line of path cells from start to goal; `shortest`: no other path is shorter."""

    title = "paths"
    checks = ("valid", "shortest", "exact")

    def check(self, questions: npt.NDArray[Any], answers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return whether each answer is valid, and whether it is shortest, [B, 2]."""
        holds = np.zeros((len(questions), 2), np.bool_)
        _judge(questions.astype(np.int64), answers.astype(np.int64), isqrt(questions.shape[1]), holds)
        return holds

    def remark(self, holds: npt.NDArray[np.bool_]) -> str:
        """Say of what sort the path is where it is not the known one."""
        valid, shortest, exact = holds.tolist()
        if exact:
            return ""
        return "another path, as short" if shortest else "a path, but not the shortest" if valid else "no path"


@compiled
def _judge(
    questions: npt.NDArray[np.int64], answers: npt.NDArray[np.int64], side: int, holds: npt.NDArray[np.bool_]
) -> None:
    """Fill `holds` [B, 2].

    An answer is valid if it changes nothing but free cells into path, and if the shortest way from start to goal over
    its path cells needs all of them: then they are one line, without branches, loops or loose cells.
    """
    for maze in range(len(questions)):
        question, answer = questions[maze], answers[maze]
        unchanged, cells, start, goal = True, 0, -1, -1
        for cell in range(len(question)):
            drawn = question[cell] == FREE and answer[cell] == PATH
            cells += drawn
            unchanged &= drawn or answer[cell] == question[cell]
            if question[cell] == START:
                start = cell
            if question[cell] == GOAL:
                goal = cell
        if not unchanged or start < 0 or goal < 0:
            continue
        over_path = _distance(answer == PATH, start, goal, side)
        if over_path == cells + 1:
            holds[maze, 0] = True
            holds[maze, 1] = over_path == _distance(question != WALL, start, goal, side)


@compiled
def _distance(passable: npt.NDArray[np.bool_], start: int, goal: int, side: int) -> int:
    """Return the fewest moves from `start` to `goal` over passable cells, -1 if there is no way."""
    moves = np.full(len(passable), -1)
    queue = np.empty(len(passable), np.int64)
    moves[start], queue[0], head, tail = 0, start, 0, 1
    while head < tail:
        cell = queue[head]
        head += 1
        for direction in range(4):
            column = cell % side
            if (direction == 0 and column == 0) or (direction == 1 and column == side - 1):
                continue
            near = cell + (-1 if direction == 0 else 1 if direction == 1 else -side if direction == 2 else side)
            if near < 0 or near >= len(passable) or moves[near] >= 0:
                continue
            if near == goal:
                return int(moves[cell] + 1)
            if passable[near]:
                moves[near] = moves[cell] + 1
                queue[tail] = near
                tail += 1
    return -1
