"""Rows of a split as small grids of numbers, for people to look at."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.grid import decode
from trainer.data.manifest import Grid
from trainer.data.store import Split
from trainer.evaluators.exact import Solved
from trmkit.store.local import write_whole

Picture = list[list[int]]
WATCHED_ROWS = 6
"""Test rows that can be watched while the model learns them."""


@dataclass(frozen=True)
class Watched:
    """Where a few rows go at every evaluation during training, for who watches it."""

    path: Path
    grid: Grid
    identifiers: list[str]

    def write(self, step: int, split: Split, solved: Solved) -> None:
        """Write the rows that `solved` has predictions of, in place of those of the evaluation before."""
        rows = show_rows("test", split, solved, self.grid, self.identifiers)
        write_whole(self.path, json.dumps({"step": step, "kind": self.grid.kind, "rows": rows}))


def show_rows(name: str, split: Split, solved: Solved, grid: Grid, identifiers: list[str]) -> list[dict[str, Any]]:
    """Return one entry per row that `solved` has predictions of: set, row, puzzle, question, truth, prediction."""
    shown = []
    ignored = split.metadata.ignore_label_id
    for row, cells in sorted(solved.predictions.items()):
        labels = np.asarray(split.labels[row])
        labelled = labels != ignored if ignored is not None else np.ones(len(labels), bool)
        identifier = int(split.row_identifiers[row])
        named = identifier != split.metadata.blank_identifier_id and identifier < len(identifiers)
        shown.append(
            {
                "set": name,
                "row": row,
                "puzzle": identifiers[identifier] if named else "",
                "exact": bool((cells == labels)[labelled].all()),
                "question": picture(np.asarray(split.inputs[row]), grid),
                "truth": picture(labels, grid),
                "prediction": picture(cells, grid),
            }
        )
    return shown


def picture(tokens: npt.NDArray[Any], grid: Grid) -> Picture:
    """Return a row of tokens [L] as lists of numbers.

    ARC: colours 0..9 of the grid it shows. Sudoku: digits, 0 for a blank. Others: the tokens themselves.
    """
    if grid.kind == "arc":
        moved = _upper_left(tokens, grid) if grid.layout == "edges" else np.asarray(tokens)
        cells = decode(moved, grid.layout).astype(np.int64)
    else:
        cells = np.asarray(tokens, dtype=np.int64).reshape(grid.height, grid.width)
    rows: Picture = ((cells - 1).clip(min=0) if grid.kind == "sudoku" else cells).tolist()
    return rows


def _upper_left(tokens: npt.NDArray[Any], grid: Grid) -> npt.NDArray[Any]:
    """Move an ARC grid that stands anywhere on its canvas to the upper left corner."""
    canvas = np.asarray(tokens).reshape(grid.height, grid.width)
    filled = np.argwhere(canvas > 0)
    if len(filled) == 0:
        return np.asarray(tokens)
    down, right = filled.min(0)
    moved = np.zeros_like(canvas)
    moved[: grid.height - down, : grid.width - right] = canvas[down:, right:]
    return moved.ravel()
