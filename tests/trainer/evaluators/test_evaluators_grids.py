"""ARC answers compared with the truth as grids."""

import numpy as np

from trainer.data.grid import encode
from trainer.evaluators.grids import compare

TRUTH = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)


def compared(*answers: np.ndarray) -> list[list[float]]:
    rows = np.stack([encode(answer, 5) if answer.ndim == 2 else answer for answer in answers])
    return compare(rows, np.stack([encode(TRUTH, 5)] * len(rows))).T.tolist()


def test_the_truth_is_right_in_every_way() -> None:
    assert compared(TRUTH) == [[1, 1, 1]]


def test_one_wrong_cell_leaves_the_shape_right() -> None:
    wrong = TRUTH.copy()
    wrong[1, 2] = 0
    assert compared(wrong) == [[0, 1, 5 / 6]]


def test_a_grid_that_does_not_end_is_not_right_however_right_its_colours_are() -> None:
    endless = encode(TRUTH, 5)
    endless[endless < 2] = 9  # what a model says where it never learned to end a grid
    assert compared(endless) == [[0, 0, 1]]


def test_cells_that_an_answer_lacks_are_wrong() -> None:
    assert compared(TRUTH[:1], np.zeros(25, np.uint8)) == [[0, 0, 1 / 2], [0, 0, 0]]
