"""Sudokus made on this machine, each with one solution; none of the test puzzles is a shuffle of a training puzzle.

6 x 6 and 9 x 9 puzzles are minimal: without any one of their givens they have several solutions. Hard ones are looked
for among the neighbours of random ones. 4 x 4 puzzles are drawn from the list of all that are not shuffles of each
other, with every number of givens.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.draws import generator
from trainer.data.manifest import Built, Grid, Source
from trainer.data.store import write_identifiers
from trainer.data.sudoku_classes import fingerprints, four_by_four
from trainer.data.sudoku_rows import write_boards
from trainer.data.sudoku_shuffle import BOXES, draw_shuffles, shuffle
from trainer.data.sudoku_solver import layout_of, make_puzzles, solve_all
from trmkit.errors import DataError
from trmkit.spec.data import SudokuGeneratedData

UInt8 = npt.NDArray[np.uint8]

BATCH = 64
"""Puzzles made between two looks at how far we are."""

AT_ONCE = 4
"""Puzzles of a batch that a thread makes before it takes others."""

PATIENCE = 10_000
"""Puzzles made in a row, none of them new and hard enough, before giving up: minutes for 9 x 9."""


def source(section: SudokuGeneratedData) -> Source:
    """Return how to build the data set of `section`."""
    return Source(partial(write, section))


def write(section: SudokuGeneratedData, folder: Path) -> Built:
    """Write the data set into `folder`. DataError: there are not so many puzzles, or none so hard is found."""
    puzzles, solutions = make(section)
    train, variants = section.train_puzzles, 1 + section.num_aug
    boards, tests = ((puzzles[part], solutions[part]) for part in (slice(0, train), slice(train, None)))
    write_boards(folder, boards, tests, section.num_aug, section.seed, section.augment)
    write_identifiers(folder, [])
    counts = {
        "train_puzzles": train,
        "train_rows": train * variants,
        "test_rows": section.test_puzzles,
    }
    return Built(Grid("sudoku", section.side, section.side), counts)


def make(section: SudokuGeneratedData, patience: int = PATIENCE) -> tuple[UInt8, UInt8]:
    """Return the training puzzles followed by the test puzzles, and their solutions, uint8 [n, cells], 0 for a blank.

    None is a shuffle of another. DataError: there are not so many, or `patience` puzzles in a row were of no use.
    """
    wanted = section.train_puzzles + section.test_puzzles
    if section.side == 4:
        return _choose_four_by_four(section, wanted)
    known: set[int] = set()
    puzzles, solutions = [], []
    hardest, useless = 0, 0
    for batch, answers, wrong_guesses, keys in _batches(section):
        hardest, useless = max(hardest, int(wrong_guesses.max())), useless + len(batch)
        for index in np.flatnonzero(wrong_guesses >= section.min_backtracks):
            if int(keys[index]) not in known:
                known.add(int(keys[index]))
                puzzles.append(batch[index])
                solutions.append(answers[index])
                useless = 0
            if len(puzzles) == wanted:
                return np.stack(puzzles), np.stack(solutions)
        if useless >= patience:
            raise DataError(
                f"made {len(puzzles)} of {wanted} puzzles of {section.side} x {section.side} with"
                f" {section.min_backtracks} wrong guesses or more; the hardest of all took {hardest}",
                next="lower data.min_backtracks, data.train_puzzles or data.test_puzzles",
            )
    raise AssertionError("the batches never end")


def _batches(
    section: SudokuGeneratedData,
) -> Iterator[tuple[UInt8, UInt8, npt.NDArray[np.int64], npt.NDArray[np.uint64]]]:
    """Make puzzles without end: puzzles and solutions [n, cells], wrong guesses [n] and fingerprints [n]."""
    side = section.side
    layout = layout_of(side, *BOXES[side])
    draw = generator(section.seed, "puzzles")
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        while True:
            states = draw.integers(1, 2**64, BATCH, np.uint64)
            puzzles, solutions = np.zeros((2, BATCH, side * side), np.uint8)
            wrong_guesses = np.zeros(BATCH, np.int64)
            made = (states, puzzles, solutions, wrong_guesses)

            def work(start: int, made: tuple[npt.NDArray[Any], ...] = made) -> None:
                some, *into = (array[start : start + AT_ONCE] for array in made)
                make_puzzles(side, layout, some, section.min_backtracks, *into)

            list(threads.map(work, range(0, BATCH, AT_ONCE)))  # each puzzle from its own state, whoever makes it
            yield puzzles, solutions, wrong_guesses, fingerprints(puzzles, solutions, layout)


def _choose_four_by_four(section: SudokuGeneratedData, wanted: int) -> tuple[UInt8, UInt8]:
    """Draw puzzles of different classes, each shown after a random symmetry."""
    puzzles, solutions = four_by_four()
    hard = solve_all(4, layout_of(4, *BOXES[4]), puzzles)[1] >= section.min_backtracks
    if hard.sum() < wanted:
        raise DataError(
            f"{wanted} puzzles of 4 x 4 are asked for, but there are {hard.sum()} with {section.min_backtracks} wrong"
            " guesses or more that are not shuffles of each other",
            next="lower data.train_puzzles, data.test_puzzles or data.min_backtracks, or take side 6 or 9",
        )
    draw = generator(section.seed, "puzzles")
    chosen = draw.permutation(np.flatnonzero(hard))[:wanted]
    shown = np.empty((2, wanted, 16), np.uint8)
    for place, index in enumerate(chosen):
        symmetry = draw_shuffles(draw, 1, 4)
        for boards, target in zip((puzzles, solutions), shown, strict=True):
            shuffle(boards[index], symmetry, target[place : place + 1])
    return shown[0] - np.uint8(1), shown[1] - np.uint8(1)
