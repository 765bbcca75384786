"""ARC grids as tokens: what is encoded is decoded, and the crop is the reference's."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.grid import crop_all, decode, encode


def test_a_grid_is_surrounded_by_end_marks_and_the_corner_stays_empty() -> None:
    row = encode(np.array([[0, 9, 5]], np.uint8), canvas=5, down=1, right=1)
    assert row.reshape(5, 5).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 2, 11, 7, 1],
        [0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_a_grid_that_fills_the_canvas_has_no_end_marks() -> None:
    assert encode(np.full((3, 3), 4, np.uint8), canvas=3).tolist() == [6] * 9
    assert encode(np.full((3, 2), 4, np.uint8), canvas=3).tolist() == [6, 6, 1] * 3


def test_a_grid_that_does_not_fit_is_refused() -> None:
    for shift in ((0, 0), (-1, 0), (0, 4)):
        with pytest.raises(ValueError, match="is not within"):
            encode(np.zeros((6 if shift == (0, 0) else 2, 2), np.uint8), 5, *shift)


def test_encoding_equals_the_reference(vectors: Path) -> None:
    found = np.load(vectors / "arc_seq_encoding_seed77.npz", allow_pickle=False)
    draw = np.random.RandomState(77)
    for pair in range(6):
        grids = [found[f"in_{pair}"], found[f"out_{pair}"]]
        height, width = np.max([grid.shape for grid in grids], axis=0)
        down, right = draw.randint(0, 30 - height + 1), draw.randint(0, 30 - width + 1)
        for name, grid in zip(("in", "out"), grids, strict=True):
            np.testing.assert_array_equal(encode(grid), found[f"seq_{name}_{pair}_tr0"])
            np.testing.assert_array_equal(encode(grid, 30, down, right), found[f"seq_{name}_{pair}_tr1"])


def test_crop_equals_the_reference(vectors: Path) -> None:
    found = np.load(vectors / "arc_crop_50.npz", allow_pickle=False)
    sequences = np.stack([found[f"seq_{k}"] for k in range(50)])
    crops = [found[f"crop_{k}"] for k in range(50)]
    assert crop_all(sequences).tolist() == [list(crop.shape) for crop in crops]
    for sequence, crop in zip(sequences, crops, strict=True):
        np.testing.assert_array_equal(decode(sequence), crop)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.data())
def test_every_grid_comes_back_from_its_tokens(canvas: int, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, canvas)), data.draw(st.integers(1, canvas))
    draw = np.random.default_rng(data.draw(st.integers(0, 1000)))
    grid = draw.integers(0, 10, (height, width)).astype(np.uint8)
    np.testing.assert_array_equal(decode(encode(grid, canvas)), grid)


def test_a_prediction_without_a_colour_in_the_corner_shows_no_grid() -> None:
    row = encode(np.zeros((2, 2), np.uint8), canvas=4, down=1)
    assert crop_all(row[None]).tolist() == [[0, 0]]
    assert decode(row).shape == (0, 0)


def test_among_rectangles_of_one_size_the_widest_is_taken() -> None:
    rows = np.array([[2, 2, 2, 2], [2, 2, 1, 2], [1, 1, 1, 1], [2, 2, 2, 2]])
    assert crop_all(rows.reshape(1, -1)).tolist() == [[1, 4]]


def test_tokens_outside_the_vocabulary_end_a_grid() -> None:
    rows = np.array([[2, 300, 2], [2, -254, 2], [256 + 2, 2, 2]])
    assert crop_all(rows.reshape(1, -1)).tolist() == [[2, 1]]
