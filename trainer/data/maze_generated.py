"""Mazes made on this machine: random walls with loops, and one shortest path, which is long.

No maze of the data set is another one rotated or reflected. Tokens are those of `maze`. Candidate number k is a
function of the seed and k alone. Legend: n mazes, cells = side * side.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.data.draws import generator
from trainer.data.manifest import Built, Grid, Source
from trainer.data.maze import ALPHABET, VOCAB_SIZE, turned
from trainer.data.maze_paths import make_mazes
from trainer.data.store import write_identifiers, write_split
from trmkit.errors import DataError
from trmkit.spec.data import MazeGeneratedData

UInt8 = npt.NDArray[np.uint8]

BATCH = 64
"""Mazes made between two looks at how far we are."""

PATIENCE = 3_000
"""Mazes made in a row, none of them new and long enough, before giving up: ten seconds or so for 30 x 30."""


def source(section: MazeGeneratedData) -> Source:
    """Return how to build the data set of `section`."""
    return Source(partial(write, section))


def write(section: MazeGeneratedData, folder: Path) -> Built:
    """Write the data set into `folder`. DataError: there are not so many mazes, or no path so long is found."""
    questions, answers = make(section)
    train, copies = section.train_puzzles, 8 if section.dihedral else 1
    for split, chosen, views in (("train", slice(0, train), copies), ("test", slice(train, None), 1)):
        write_split(
            folder,
            split,
            turned(questions[chosen], views),
            turned(answers[chosen], views),
            VOCAB_SIZE,
            rows_per_group=views,
        )
    write_identifiers(folder, [])
    counts = {"train_puzzles": train, "train_rows": train * copies, "test_rows": section.test_puzzles}
    return Built(Grid("maze", section.side, section.side), counts)


def make(section: MazeGeneratedData, patience: int = PATIENCE) -> tuple[UInt8, UInt8]:
    """Return the training mazes followed by the test mazes, and their answers, uint8 [n, cells] in tokens.

    None is a turned or mirrored other one. DataError: there are not so many, or `patience` in a row were of no use.
    """
    wanted = section.train_puzzles + section.test_puzzles
    known: set[bytes] = set()
    questions, answers = [], []
    longest, useless = 0, 0
    for mazes, solved, cells in _batches(section):
        longest, useless = max(longest, int(cells.max())), useless + len(mazes)
        for index in np.flatnonzero(cells >= section.least_path):
            name = min(view.tobytes() for view in turned(mazes[index : index + 1], 8))
            if name not in known:
                known.add(name)
                questions.append(mazes[index])
                answers.append(solved[index])
                useless = 0
            if len(questions) == wanted:
                return np.stack(questions), np.stack(answers)
        if useless >= patience:
            raise DataError(
                f"made {len(questions)} of {wanted} mazes of {section.side} x {section.side} with a path of"
                f" {section.least_path} cells or more; the longest of all had {longest}",
                next="lower data.min_path, data.train_puzzles or data.test_puzzles, or take a larger data.side",
            )
    raise AssertionError("the batches never end")


def _batches(section: MazeGeneratedData) -> Iterator[tuple[UInt8, UInt8, npt.NDArray[np.int32]]]:
    """Make mazes without end: questions and answers [n, cells] in tokens, and the cells of their paths [n]."""
    wall, free, start, goal, path = (ALPHABET[character] for character in "# SGo")
    draw = generator(section.seed, "mazes")
    rows = np.arange(BATCH)
    while True:
        states = draw.integers(1, 2**64, BATCH, np.uint64)
        open_cells, paths = np.zeros((2, BATCH, section.side**2), np.uint8)
        starts, goals, moves = np.zeros((3, BATCH), np.int32)
        make_mazes(section.side, section.least_path - 1, states, open_cells, paths, starts, goals, moves)
        questions = np.where(open_cells == 1, np.uint8(free), np.uint8(wall))
        questions[rows, starts], questions[rows, goals] = start, goal
        answers = np.where(paths == 1, np.uint8(path), questions)
        yield questions, answers, moves + 1
