"""Sudokus from CSV files, and the symmetries of Sudoku."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data import build
from trainer.data.draws import generator
from trainer.data.store import Split, read_split
from trainer.data.sudoku_shuffle import BOXES, Shuffles, draw_shuffles, line_orders, shuffle
from trainer.data.sudoku_solver import layout_of
from trmkit.errors import DataError
from trmkit.spec.data import SudokuData


def build_from(folder: Path, root: Path, **fields: Any) -> tuple[Split, Split]:
    path = build(SudokuData.model_validate({"source": "sudoku", "path": str(folder), "num_aug": 2, **fields}), root)
    return read_split(path, "train"), read_split(path, "test")


def test_a_shuffle_equals_the_reference_given_its_draws(vectors: Path) -> None:
    found = np.load(vectors / "sudoku_shuffle_seed0.npz", allow_pickle=False)
    draw = np.random.RandomState(0)
    for k in range(20):
        digits = draw.permutation(np.arange(1, 10))
        transposed = draw.rand() < 0.5
        rows, columns = (
            np.concatenate([3 * band + draw.permutation(3) for band in draw.permutation(3)]) for _ in range(2)
        )
        symmetry = Shuffles(
            digits[None].astype(np.uint8),
            np.array([transposed]),
            rows[None].astype(np.uint8),
            columns[None].astype(np.uint8),
        )
        for name in ("board", "solution"):
            out = np.zeros((1, 81), np.uint8)
            shuffle(found[name].ravel(), symmetry, out)
            np.testing.assert_array_equal(out.reshape(9, 9) - 1, found[f"out_{name}"][k])


@pytest.mark.parametrize("name", ["out_sub3_aug2", "out_mindiff5"])
def test_the_arrays_equal_the_reference_up_to_its_unseeded_draws(vectors: Path, tmp_path: Path, name: str) -> None:
    fields = {"subsample_size": 3} if name == "out_sub3_aug2" else {"min_difficulty": 5, "num_aug": 1}
    ours = build_from(vectors / "sudoku_tiny", tmp_path, **fields)
    for mine, split in zip(ours, ("train", "test"), strict=True):
        theirs = read_split(vectors / "sudoku_tiny" / name, split)
        for index in ("puzzle_identifiers", "puzzle_indices", "group_indices"):
            np.testing.assert_array_equal(getattr(mine, index), getattr(theirs, index))
        assert mine.inputs.shape == theirs.inputs.shape
        assert mine.metadata.vocab_size == theirs.metadata.vocab_size == 11
        assert mine.metadata.total_groups == theirs.metadata.total_groups
    theirs = read_split(vectors / "sudoku_tiny" / name, "test")
    np.testing.assert_array_equal(ours[1].inputs, theirs.inputs)
    np.testing.assert_array_equal(ours[1].labels, theirs.labels)
    if name == "out_mindiff5":  # no subsample, so the originals are the same
        originals = ours[0].group_indices[:-1]
        theirs = read_split(vectors / "sudoku_tiny" / name, "train")
        np.testing.assert_array_equal(ours[0].inputs[originals], theirs.inputs[originals])
        np.testing.assert_array_equal(ours[0].labels[originals], theirs.labels[originals])


def test_blank_is_token_one_and_digit_d_is_d_plus_one(four_by_four: Path, tmp_path: Path, solved: str) -> None:
    train, test = build_from(four_by_four, tmp_path, num_aug=0)
    assert test.inputs[0].tolist() == [1, *(int(digit) + 1 for digit in solved[1:])]
    assert test.labels[0].tolist() == [int(digit) + 1 for digit in solved]
    assert train.inputs[0].tolist()[8:] == [1] * 8
    assert train.inputs.dtype == np.uint8
    assert train.metadata.vocab_size == 6


@pytest.mark.parametrize("side", [4, 6, 9])
def test_a_shuffled_solution_is_a_solution_and_the_puzzle_goes_with_it(side: int) -> None:
    height, width = BOXES[side]
    row, column = np.divmod(np.arange(side * side), side)
    solution = ((row % height) * width + row // height + column) % side + 1
    puzzle = np.where(np.arange(side * side) % 3 == 0, solution, 0)
    draw = generator(0, "test")
    shuffles = draw_shuffles(draw, 200, side)
    answers, questions = np.zeros((2, 200, side * side), np.uint8)
    shuffle(solution.astype(np.uint8), shuffles, answers)
    shuffle(puzzle.astype(np.uint8), shuffles, questions)
    layout = layout_of(side, height, width)
    for unit in range(3 * side):
        cells = np.sort(answers[:, (layout == unit).any(axis=1)], axis=1)
        assert (cells == np.arange(2, side + 2)).all()
    assert ((questions == 1) | (questions == answers)).all()
    assert ((questions > 1).sum(axis=1) == (puzzle > 0).sum()).all()
    assert len({row.tobytes() for row in answers}) > 100


def test_every_symmetry_is_drawn_about_equally_often() -> None:
    shuffles = draw_shuffles(generator(0, "test"), 24_000, 4)
    kinds = np.concatenate([shuffles.digits, shuffles.rows, shuffles.columns], axis=1)
    for part, count in ((kinds[:, :4], 24), (kinds[:, 4:8], 8), (kinds[:, 8:], 8)):
        times = np.unique(part, axis=0, return_counts=True)[1]
        assert len(times) == count
        assert times.min() > 0.85 * 24_000 / count
    assert 0.48 < shuffles.transposed.mean() < 0.52


def test_a_board_with_oblong_boxes_is_never_transposed() -> None:
    assert not draw_shuffles(generator(0, "test"), 100, 6).transposed.any()
    assert len(line_orders(6, 2)) == 48
    assert len(line_orders(6, 3)) == 72
    assert len(line_orders(9, 3)) == 1296


def test_a_group_is_a_puzzle_with_its_variants_the_puzzle_itself_first(four_by_four: Path, tmp_path: Path) -> None:
    train, _ = build_from(four_by_four, tmp_path, num_aug=5)
    assert train.group_indices.tolist() == [0, 6, 12, 18]
    assert (np.sort(train.labels[6:12], axis=1) == np.sort(train.labels[6])).all()
    givens = (train.inputs > 1).sum(axis=1).reshape(3, 6)
    assert (givens == givens[:, :1]).all()


def test_a_subsample_is_drawn_by_the_seed_and_keeps_the_files_order(four_by_four: Path, tmp_path: Path) -> None:
    whole, _ = build_from(four_by_four, tmp_path, num_aug=0, subsample_size=None)
    rows = [row.tobytes() for row in whole.inputs]
    drawn = set()
    for seed in range(12):
        train, _ = build_from(four_by_four, tmp_path, num_aug=0, subsample_size=2, seed=seed)
        places = tuple(rows.index(row.tobytes()) for row in train.inputs)
        assert list(places) == sorted(places)
        drawn.add(places)
    assert drawn == {(0, 1), (0, 2), (1, 2)}
    assert len(build_from(four_by_four, tmp_path, num_aug=0, subsample_size=99)[0]) == 3


def test_easy_puzzles_are_left_out_of_both_splits(four_by_four: Path, tmp_path: Path) -> None:
    train, test = build_from(four_by_four, tmp_path, num_aug=0, min_difficulty=1)
    assert (len(train), len(test)) == (2, 1)
    with pytest.raises(DataError, match=r"train\.csv: no puzzle is rated 5 or more"):
        build_from(four_by_four, tmp_path, min_difficulty=5)


def test_max_test_keeps_the_first_test_puzzles(write_csv: Callable[..., Path], tmp_path: Path, solved: str) -> None:
    folder = write_csv([("." * 16, solved)], [(f"{solved[:k]}{'.' * (16 - k)}", solved) for k in range(5)])
    _, test = build_from(folder, tmp_path, max_test=3)
    assert (test.inputs > 1).sum(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("question", "answer", "what"),
    [
        ("2" + "." * 15, None, "the answer contradicts the question"),
        ("." * 16, "." + "234341221434321", "the answer has blanks"),
        ("5" + "." * 15, None, "has a digit above 4"),
        ("." * 16, "1" * 16, "the answer has a digit twice"),
        ("." * 16, "1234341243212143", None),
        ("." * 16, "1234341241232341", None),
        ("." * 16, "1234234134124123", "the answer has a digit twice in a row, column or box"),
        ("." * 15, None, "has 15"),
        ("." * 25, "." * 25, "has 25 and 25 cells"),
    ],
)
def test_a_wrong_puzzle_is_named_by_file_and_line(
    write_csv: Callable[..., Path], tmp_path: Path, solved: str, question: str, answer: str | None, what: str | None
) -> None:
    folder = write_csv([("." * 16, solved), (question, answer or solved)], [("." * 16, solved)])
    if what is None:
        assert len(build_from(folder, tmp_path, num_aug=0)[0]) == 2
        return
    with pytest.raises(DataError, match=rf"train\.csv, line \d: .*{what}.*\n.*next: correct or remove this line"):
        build_from(folder, tmp_path)


def test_train_and_test_are_of_one_size(vectors: Path, four_by_four: Path, tmp_path: Path) -> None:
    (four_by_four / "test.csv").write_bytes((vectors / "sudoku_tiny" / "test.csv").read_bytes())
    with pytest.raises(DataError, match="another size"):
        build_from(four_by_four, tmp_path)


def test_the_manifest_has_the_hashes_of_the_files(four_by_four: Path, tmp_path: Path) -> None:
    build_from(four_by_four, tmp_path)
    (manifest,) = (json.loads(path.read_text()) for path in tmp_path.glob("sudoku-*/manifest.json"))
    assert all(len(digest) == 64 for digest in manifest["inputs"].values())
