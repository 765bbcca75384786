"""The splits of a Sudoku data set, from boards: every board with its variants, stored or to be made when asked for."""

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from trainer.data.draws import generator
from trainer.data.store import create_rows, finish_single_rows, write_shuffled
from trainer.data.sudoku_virtual import Shuffled

UInt8 = npt.NDArray[np.uint8]
Boards = tuple[UInt8, UInt8]
"""Questions and answers, [n, cells] each, 0 for a blank."""


def write_boards(
    folder: Path, train: Boards, test: Boards, variants: int, seed: int, augment: Literal["stored", "on_the_fly"]
) -> None:
    """Write both splits: training boards with so many `variants` each, drawn from `seed`, and test boards as they are.

    The test split is stored in any case.
    """
    cells = train[0].shape[1]
    vocab_size = round(cells**0.5) + 2
    for split, (questions, answers), copies in (("train", train, 1 + variants), ("test", test, 1)):
        shuffled = Shuffled.draw(questions, answers, copies - 1, generator(seed, "variants"))
        if split == "train" and augment == "on_the_fly":
            write_shuffled(folder, split, shuffled, vocab_size)
        else:
            rows = len(shuffled.numbers)
            shuffled.write(*create_rows(folder, split, rows, cells, vocab_size))
            finish_single_rows(folder, split, rows, cells, vocab_size, rows_per_group=copies)
