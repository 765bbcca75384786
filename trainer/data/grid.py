"""ARC grids as rows of tokens: 0 nothing, 1 end of a row or column (EOS), 2..11 the ten colours, on a square canvas.

Legend: L = canvas * canvas cells of a row. The reference's canvas is 30; a smaller one works the same.
"""

from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.kernels import crop_sizes, place

Cells = npt.NDArray[np.uint8]

PAD, EOS, FIRST_COLOUR, VOCAB_SIZE = 0, 1, 2, 12
UNCHANGED = np.arange(10, dtype=np.uint8)


def encode(grid: Cells, canvas: int = 30, down: int = 0, right: int = 0) -> Cells:
    """Return `grid` [h, w] of colours 0..9 as tokens [L], moved `down` and `right`.

    EOS stands below the grid and to the right of it where the canvas has room. ValueError: the grid does not fit.
    """
    height, width = grid.shape
    if down + height > canvas or right + width > canvas or min(down, right) < 0:
        raise ValueError(f"a grid of {height} x {width} at ({down}, {right}) is not within {canvas} x {canvas}")
    row = np.zeros(canvas * canvas, np.uint8)
    flat = np.ascontiguousarray(grid, np.uint8).ravel()
    place(row, canvas, flat, height, width, 0, UNCHANGED, down, right)
    return row


def crop_all(sequences: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return height and width, int64 [N, 2], of the grid that each row of tokens [N, L] shows; (0, 0) shows none.

    It is the largest rectangle of colours that starts in the upper left corner, the widest among equals: the rule
    of the reference's evaluator (`arc.py`, `_crop`).
    """
    canvas = isqrt(sequences.shape[1])
    if sequences.dtype == np.uint8:  # no value of which needs a look before the kernel's own
        known = np.ascontiguousarray(sequences)
    else:
        known = np.where((sequences >= 0) & (sequences < VOCAB_SIZE), sequences, PAD).astype(np.uint8)
    sizes = np.zeros((len(sequences), 2), np.int64)
    crop_sizes(known, canvas, sizes)
    return sizes


def decode(sequence: npt.NDArray[Any]) -> Cells:
    """Return the grid of colours 0..9 [h, w] that a row of tokens [L] shows, as `crop_all` finds it."""
    canvas = isqrt(len(sequence))
    height, width = crop_all(sequence[None])[0]
    cut = sequence.reshape(canvas, canvas)[:height, :width]
    return (cut - FIRST_COLOUR).astype(np.uint8)
