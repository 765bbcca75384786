"""ARC grids as rows of tokens: 0 nothing, 1 a mark, 2..11 the ten colours, on a square canvas.

Two layouts show how large a grid is. `edges`, the reference's: the mark is the end of a row or column (EOS), below the
grid and to the right of it. `corners`: two marks, one cell outside of the grid's upper left and lower right corners.
Legend: L = canvas * canvas cells of a row. The reference's canvas is 30; a smaller one works the same.
"""

from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.kernels import crop_sizes, marked_boxes, move_to_corner, place, place_marked
from trainer.data.manifest import Layout

Cells = npt.NDArray[np.uint8]

PAD, EOS, FIRST_COLOUR, VOCAB_SIZE = 0, 1, 2, 12
UNCHANGED = np.arange(10, dtype=np.uint8)
MARKS = 2
"""Rows, and columns, of the canvas that the marks of `corners` take."""


def encode(grid: Cells, canvas: int = 30, down: int = 0, right: int = 0, layout: Layout = "edges") -> Cells:
    """Return `grid` [h, w] of colours 0..9 as tokens [L], moved `down` and `right`.

    EOS stands below the grid and to the right of it where the canvas has room; with `corners` the first mark is at
    (down, right), and the grid after it. ValueError: the grid does not fit.
    """
    height, width = grid.shape
    room = canvas - MARKS if layout == "corners" else canvas
    if down + height > room or right + width > room or min(down, right) < 0:
        raise ValueError(
            f"a grid of {height} x {width} at ({down}, {right}) is not within {canvas} x {canvas}, layout {layout}"
        )
    row = np.zeros(canvas * canvas, np.uint8)
    flat = np.ascontiguousarray(grid, np.uint8).ravel()
    put = place_marked if layout == "corners" else place
    put(row, canvas, flat, height, width, 0, UNCHANGED, down, right)
    return row


def known_tokens(sequences: npt.NDArray[Any]) -> Cells:
    """Return rows of tokens [N, L] as uint8, with `PAD` for every token that there is not."""
    if sequences.dtype == np.uint8:  # no value of which needs a look before the kernel's own
        return np.ascontiguousarray(sequences)
    known: Cells = np.where((sequences >= 0) & (sequences < VOCAB_SIZE), sequences, PAD).astype(np.uint8)
    return known


def canonical(sequences: npt.NDArray[Any], layout: Layout) -> npt.NDArray[Any]:
    """Return rows of tokens [N, L] in the layout `edges`, with grids that were marked by corners moved to the corner.

    Of a predicted canvas the grid is what lies between the first mark and the last one, if that is all colours; else
    what encloses all colours, if that is all colours; else there is none.
    """
    if layout == "edges":
        return sequences
    known, canvas = known_tokens(sequences), isqrt(sequences.shape[1])
    boxes, rows = np.zeros((len(known), 4), np.int64), np.zeros_like(known)
    marked_boxes(known, canvas, boxes)
    move_to_corner(known, canvas, boxes, rows)
    return rows


def crop_all(sequences: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return height and width, int64 [N, 2], of the grid that each row of tokens [N, L] shows; (0, 0) shows none.

    The layout is `edges`. It is the largest rectangle of colours that starts in the upper left corner, the widest among
    equals: the rule of the reference's evaluator (`arc.py`, `_crop`).
    """
    sizes = np.zeros((len(sequences), 2), np.int64)
    crop_sizes(known_tokens(sequences), isqrt(sequences.shape[1]), sizes)
    return sizes


def decode(sequence: npt.NDArray[Any], layout: Layout = "edges") -> Cells:
    """Return the grid of colours 0..9 [h, w] that a row of tokens [L] shows, as `canonical` and `crop_all` find it."""
    canvas, rows = isqrt(len(sequence)), canonical(sequence[None], layout)
    height, width = crop_all(rows)[0]
    cut = rows[0].reshape(canvas, canvas)[:height, :width]
    grid: Cells = (cut - FIRST_COLOUR).astype(np.uint8)
    return grid
