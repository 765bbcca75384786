"""The puzzles that a person can hand in: read from text, shown as text, and their answers checked.

A kind of puzzle is a file beside this one and a line in `KINDS`. Legend: `V` views of a puzzle, `L` cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from trainer.data.manifest import Grid
from trainer.features.prompts import Prompt
from trmkit.errors import DataError

Tokens = npt.NDArray[np.uint8]
Cells = list[list[int]]
"""A grid as numbers: digits of a Sudoku with 0 for a blank, colours of ARC, tokens of a maze."""

KINDS = {
    "sudoku": "trainer.puzzles.sudoku:Sudokus",
    "maze": "trainer.puzzles.maze:Mazes",
    "arc": "trainer.puzzles.arc:ArcPuzzles",
}
"""`Grid.kind` -> the class that reads, shows and checks its puzzles."""


@dataclass(frozen=True)
class Question:
    """One puzzle as the model takes it."""

    label: str
    """Where it stood in the input."""
    rows: Tokens
    """The puzzle in each of its views, [V, L]; the first is the puzzle as it was given."""
    identifiers: tuple[int, ...]
    """Puzzle identifier of each view."""
    names: tuple[str, ...] = ("",)
    """Name of the identifier of each view."""
    truth: Cells | None = None
    """The answer, where the input has it."""
    prompts: tuple[Prompt, ...] = ()
    """Of each view the text that it is read by, for a model that reads any."""
    side: int | None = None
    """Side of the window of the canvas in which it is worked on; None: the model sees all of it."""
    note: str = ""
    """What the reader should know about this answer, whatever it is."""


@dataclass(frozen=True)
class Candidate:
    """An answer that some views agree on."""

    cells: Cells
    votes: int
    confidence: float
    """Mean over these views of the probability that the q-head gives its answer to be right."""


@dataclass(frozen=True)
class Verdict:
    """What can be said about an answer without knowing the right one."""

    valid: bool | None
    """Whether it solves the puzzle; None where that cannot be told."""
    words: str


class Kind(Protocol):
    """What a kind of puzzle knows."""

    def read(self, text: str, source: str, votes: int) -> list[Question]:
        """Return the puzzles in `text`. DataError, naming `source`, line and column: something in it is wrong."""

    def candidates(self, question: Question, preds: Tokens, confidences: list[float]) -> list[Candidate]:
        """Return what the views [V, L] answered, the best first."""

    def cells(self, tokens: Tokens) -> Cells:
        """Return a row of tokens [L] as a grid of numbers."""

    def text(self, cells: Cells) -> str:
        """Write a grid as the input is written."""

    def check(self, question: Question, cells: Cells) -> Verdict:
        """Say whether `cells` answer the question."""


def kind_of(grid: Grid, names: list[str], *, reads_text: bool = False, sides: Mapping[str, int] | None = None) -> Kind:
    """Return what reads and checks puzzles on `grid`, for a model that reads text, too, or does not.

    `sides` are those of the windows of the tasks it was trained on, where it works in windows.
    DataError: the data set did not say what its rows mean.
    """
    if grid.kind not in KINDS:
        raise DataError(
            "this run was trained on a folder that does not say what its rows mean, so nothing can be read for it",
            next="train it on a data set that was built here",
        )
    module, name = KINDS[grid.kind].split(":")
    made: Any = getattr(import_module(module), name)
    more: dict[str, Any] = ({"reads_text": True} if reads_text else {}) | ({"sides": sides} if sides else {})
    return cast(Kind, made(grid, names, **more))


def wrong(source: str, line: int, column: int | None, what: str, remedy: str) -> DataError:
    """Return the error for a place in an input, lines and columns counted from 1."""
    place = f"line {line}" if column is None else f"line {line}, column {column}"
    return DataError(f"{source}: {place}: {what}", next=remedy)
