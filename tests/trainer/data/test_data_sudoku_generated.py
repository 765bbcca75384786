"""Sudokus made here: one solution each, hard enough, and no test puzzle a shuffle of a training puzzle."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data import build
from trainer.data.draws import generator
from trainer.data.store import read_split
from trainer.data.sudoku_classes import fingerprints, four_by_four
from trainer.data.sudoku_generated import make
from trainer.data.sudoku_shuffle import BOXES, draw_shuffles, line_orders, shuffle
from trainer.data.sudoku_solver import layout_of, make_puzzle, search, solve_all
from trmkit.errors import DataError
from trmkit.spec.data import SudokuGeneratedData


def section_of(side: int, **fields: Any) -> SudokuGeneratedData:
    given = {"source": "sudoku-generated", "side": side, "train_puzzles": 20, "test_puzzles": 10, "num_aug": 3}
    return SudokuGeneratedData.model_validate({**given, **fields})


def count_solutions(puzzle: np.ndarray, side: int) -> int:
    """Count solutions up to two by plain backtracking, without our solver."""
    height, width = BOXES[side]
    board = puzzle.reshape(side, side).astype(int).tolist()
    cells = [(i, j) for i in range(side) for j in range(side) if not board[i][j]]

    def candidates(i: int, j: int) -> set[int]:
        top, left = i - i % height, j - j % width
        used = set(board[i]) | {row[j] for row in board}
        return set(range(1, side + 1)) - used - {v for r in board[top : top + height] for v in r[left : left + width]}

    def count() -> int:
        blank = [(len(candidates(i, j)), i, j) for i, j in cells if not board[i][j]]
        if not blank:
            return 1
        _, i, j = min(blank)
        found = 0
        for digit in candidates(i, j):
            board[i][j] = digit
            found += count()
            board[i][j] = 0
            if found > 1:
                break
        return found

    return count()


@pytest.mark.parametrize("side", [4, 6, 9])
def test_every_puzzle_has_one_solution_and_it_is_the_answer(side: int) -> None:
    puzzles, solutions = make(section_of(side))
    assert puzzles.shape == solutions.shape == (30, side * side)
    layout = layout_of(side, *BOXES[side])
    for puzzle, solution in zip(puzzles, solutions, strict=True):
        assert ((puzzle == 0) | (puzzle == solution)).all()
        assert all(len(set(solution[(layout == unit).any(axis=1)])) == side for unit in range(3 * side))
    for puzzle in puzzles[:4]:
        assert count_solutions(puzzle, side) == 1


@pytest.mark.parametrize("side", [6, 9])
def test_a_puzzle_is_minimal(side: int) -> None:
    puzzles, _ = make(section_of(side))
    for puzzle in puzzles[: 3 if side == 6 else 1]:
        for cell in np.flatnonzero(puzzle):
            less = puzzle.copy()
            less[cell] = 0
            assert count_solutions(less, side) > 1


def test_the_solver_counts_solutions_and_wrong_guesses() -> None:
    layout = layout_of(4, 2, 2)
    empty, solution = np.zeros(16, np.uint8), np.zeros(16, np.uint8)
    first = np.zeros(1, np.uint64)
    assert search(4, layout, empty, -1, 1000, first, solution)[0] == 288
    assert search(4, layout, empty, -1, 1, first, solution) == (1, 0)
    broken = np.array([1, 0, 0, 0, 0, 1, *[0] * 10], np.uint8)
    assert search(4, layout, broken, -1, 2, first, solution)[0] == 0
    puzzles, _ = make(section_of(9))
    found, wrong = solve_all(9, layout_of(9, 3, 3), puzzles, limit=2)
    assert found.tolist() == [1] * 30
    assert (wrong >= solve_all(9, layout_of(9, 3, 3), puzzles)[1]).all()


def canonical_four_by_four(puzzle: np.ndarray, solution: np.ndarray) -> tuple[int, ...]:
    """Return the least of all shuffles of a 4 x 4 puzzle with its solution, by trying them."""
    images = []
    for board in (np.arange(16).reshape(4, 4), np.arange(16).reshape(4, 4).T):
        for rows in line_orders(4, 2):
            for columns in line_orders(4, 2):
                cells = board[rows][:, columns].ravel()
                names = np.zeros(5, int)
                answer = solution[cells]
                names[answer[:4]] = [1, 2, 3, 4]
                images.append((*names[answer].tolist(), *(puzzle[cells] > 0).astype(int).tolist()))
    return min(images)


def test_no_four_by_four_puzzle_is_a_shuffle_of_another() -> None:
    puzzles, solutions = make(section_of(4, train_puzzles=70, test_puzzles=30))
    assert len({canonical_four_by_four(*pair) for pair in zip(puzzles, solutions, strict=True)}) == 100


def test_the_list_of_four_by_four_puzzles_is_complete() -> None:
    puzzles, solutions = four_by_four()
    givens = np.bincount((puzzles > 0).sum(axis=1))
    assert givens[:5].tolist() == [0, 0, 0, 0, 13]  # the 13 puzzles with four givens are known
    draw = np.random.default_rng(0)
    chosen = draw.permutation(len(puzzles))[:150]
    listed = {canonical_four_by_four(puzzles[k], solutions[k]) for k in chosen}
    assert len(listed) == 150
    hard = {canonical_four_by_four(*pair) for pair in zip(puzzles, solutions, strict=True) if (pair[0] > 0).sum() == 4}
    for seed in range(40):  # whatever puzzle of four givens comes up, it is one of the 13
        state = np.full(1, seed + 1, np.uint64)
        puzzle, solution = np.zeros((2, 16), np.uint8)
        make_puzzle(4, layout_of(4, 2, 2), state, puzzle, solution)
        if (puzzle > 0).sum() == 4:
            assert canonical_four_by_four(puzzle, solution) in hard


@pytest.mark.parametrize("side", [6, 9])
def test_a_shuffle_has_the_fingerprint_of_its_puzzle_and_other_puzzles_have_others(side: int) -> None:
    puzzles, solutions = make(section_of(side, train_puzzles=300))
    layout = layout_of(side, *BOXES[side])
    keys = fingerprints(puzzles, solutions, layout)
    assert len(set(keys.tolist())) == 310
    draw = generator(1, "test")
    for index in range(20):
        shuffles = draw_shuffles(draw, 30, side)
        shown = np.zeros((2, 30, side * side), np.uint8)
        for board, target in zip((puzzles[index], solutions[index]), shown, strict=True):
            shuffle(board, shuffles, target)
        assert set(fingerprints(shown[0] - 1, shown[1] - 1, layout).tolist()) == {int(keys[index])}


def test_hard_puzzles_take_the_wrong_guesses_that_were_asked_for() -> None:
    puzzles, _ = make(section_of(9, train_puzzles=5, test_puzzles=5, min_backtracks=8))
    assert (solve_all(9, layout_of(9, 3, 3), puzzles)[1] >= 8).all()


def test_asking_for_more_than_there_are_says_how_many_there_are() -> None:
    total = len(four_by_four()[0])
    with pytest.raises(DataError, match=rf"{total + 1} puzzles of 4 x 4 are asked for, but there are {total} "):
        make(section_of(4, train_puzzles=total, test_puzzles=1))
    with pytest.raises(DataError, match="but there are 0 with 1 wrong guesses"):
        make(section_of(4, min_backtracks=1))


def test_puzzles_that_cannot_be_found_are_given_up_and_it_is_said_what_was_reached() -> None:
    with pytest.raises(DataError, match=r"made 0 of 30 puzzles .* 500 wrong guesses or more; the hardest .* took \d+"):
        make(section_of(6, min_backtracks=500), patience=100)


def test_the_same_seed_makes_the_same_puzzles() -> None:
    for side in (4, 6, 9):
        one, two, other = (make(section_of(side, seed=seed))[0] for seed in (5, 5, 6))
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("side", [4, 6, 9])
def test_a_built_data_set_has_variants_of_training_puzzles_and_plain_test_puzzles(side: int, tmp_path: Path) -> None:
    folder = build(section_of(side), tmp_path)
    puzzles, solutions = make(section_of(side))
    train, test = read_split(folder, "train"), read_split(folder, "test")
    np.testing.assert_array_equal(train.inputs[::4], puzzles[:20] + 1)
    np.testing.assert_array_equal(train.labels[::4], solutions[:20] + 1)
    np.testing.assert_array_equal(test.inputs, puzzles[20:] + 1)
    assert train.metadata.vocab_size == side + 2
    assert train.group_indices.tolist() == list(range(0, 81, 4))
    layout = layout_of(side, *BOXES[side])
    keys = fingerprints(train.inputs[:] - 1, train.labels[:] - 1, layout).reshape(20, 4)
    assert (keys == keys[:, :1]).all()


def test_the_puzzles_are_the_same_on_any_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = make(section_of(6, min_backtracks=1))
    for cores in (1, 7):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        for boards, expected in zip(make(section_of(6, min_backtracks=1)), wanted, strict=True):
            np.testing.assert_array_equal(boards, expected)
