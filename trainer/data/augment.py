"""The variants of an ARC task: eight rotations and reflections, and permutations of the colours, as a rule but black.

A variant is named `<task>|||t<turn>|||<ten digits>`, digit c being the new colour of colour c, as in the reference.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from trainer.data.kernels import walk

Cells = npt.NDArray[np.uint8]
Array = TypeVar("Array", bound=npt.NDArray[Any])

SEPARATOR = "|||"
INVERSE_TURN = (0, 3, 2, 1, 4, 5, 6, 7)
"""Which turn takes each turn back."""


def dihedral(grid: Array, turn: int) -> Array:
    """Return `grid` [h, w] turned.

    0 as it is, 1..3 that many quarters counter-clockwise, 4 left-right, 5 upside down, 6 transposed, 7 a quarter
    counter-clockwise and then left-right: the numbers of the reference.
    """
    height, width, start, down, right = walk(turn, *grid.shape)
    index = start + down * np.arange(height)[:, None] + right * np.arange(width)
    turned: Array = np.ravel(grid)[index]
    return turned


def augment(grid: Cells, turn: int, colours: npt.ArrayLike) -> Cells:
    """Return `grid` recoloured by the table `colours` [10] and turned."""
    return dihedral(np.asarray(colours, np.uint8)[grid], turn)


def variant_names(task: str, turns: npt.ArrayLike, colours: npt.ArrayLike) -> list[str]:
    """Name the variants of `task` that `augment` makes with `turns` [V] and the tables `colours` [V, 10]."""
    digits = (np.asarray(colours) + ord("0")).astype(np.uint8).tobytes().decode("ascii")
    tables = [digits[start : start + 10] for start in range(0, len(digits), 10)]
    return [
        f"{task}{SEPARATOR}t{turn}{SEPARATOR}{table}"
        for turn, table in zip(np.asarray(turns).tolist(), tables, strict=True)
    ]


def redo(name: str) -> Callable[[Cells], Cells]:
    """Return the function that takes a grid of the task to the variant `name`. ValueError: it names no variant."""
    _, *parts = name.split(SEPARATOR)
    if not parts:
        return np.copy
    turn, colours = _parse(name, parts)
    return lambda grid: augment(grid, turn, colours)


def undo(name: str) -> tuple[str, Callable[[Cells], Cells]]:
    """Return the task a variant is of, and the function that takes a grid of the variant back to the task.

    A name without a variant is the task itself. ValueError: the name is no name of a variant.
    """
    task, *parts = name.split(SEPARATOR)
    if not parts:
        return task, np.copy
    turn, colours = _parse(name, parts)
    back = np.argsort(colours).astype(np.uint8)
    return task, lambda grid: back[dihedral(grid, INVERSE_TURN[turn])]


def _parse(name: str, parts: list[str]) -> tuple[int, list[int]]:
    if len(parts) == 2 and parts[0] in [f"t{turn}" for turn in range(8)] and sorted(parts[1]) == list("0123456789"):
        return int(parts[0][1:]), [int(digit) for digit in parts[1]]
    raise ValueError(f"{name!r} is not the name of a variant: <task>|||t<0..7>|||<ten digits>")
