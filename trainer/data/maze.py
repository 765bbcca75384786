"""Maze-Hard, or another pair of CSV files with square mazes, laid out as the reference's `build_maze_dataset.py` does.

Tokens: wall 1, free 2, start 3, goal 4, path 5; 0 is never used. Legend: n mazes, cells = side * side.
"""

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.data.augment import dihedral
from trainer.data.csv_pair import Table, local_files, opened, read_table
from trainer.data.manifest import Built, Grid, Source
from trainer.data.store import write_identifiers, write_split
from trainer.data.sudoku import subsample
from trmkit.errors import DataError
from trmkit.spec.data import MazeData
from trmkit.store.local import sha256

UInt8 = npt.NDArray[np.uint8]

ALPHABET = {character: token for token, character in enumerate("# SGo", start=1)}
VOCAB_SIZE = 6


def source(section: MazeData) -> Source:
    """Return how to build the data set of `section`."""
    return Source(partial(write, section), local_files(section.path))


def write(section: MazeData, folder: Path) -> Built:
    """Write the data set into `folder`. DataError: a file or a line in it is not what it should be."""
    with opened(section.path) as files:
        train, test = (read_table(files[name], ALPHABET, None) for name in ("train.csv", "test.csv"))
        inputs = {name: sha256(file) for name, file in files.items()}
    for table in (train, test):
        check(table)
    if train.questions.shape[1] != test.questions.shape[1]:
        raise DataError(f"{test.file}: its mazes have another size than those of {train.file}", next="take one size")
    train = subsample(train, section.subsample_size, section.seed)
    copies = 8 if section.dihedral else 1
    write_split(
        folder,
        "train",
        turned(train.questions, copies),
        turned(train.answers, copies),
        VOCAB_SIZE,
        rows_per_group=copies,
    )
    write_split(folder, "test", test.questions, test.answers, VOCAB_SIZE)
    write_identifiers(folder, [])
    side = round(train.questions.shape[1] ** 0.5)
    counts = {"train_rows": len(train.questions) * copies, "test_rows": len(test.questions)}
    return Built(Grid("maze", side, side), counts, inputs)


def turned(mazes: UInt8, copies: int) -> UInt8:
    """Return each of `mazes` [n, cells] in the first `copies` of its eight rotations and reflections in turn."""
    cells = mazes.shape[1]
    side = round(cells**0.5)
    places = np.arange(cells, dtype=np.uint16).reshape(side, side)
    orders = np.stack([dihedral(places, turn).ravel() for turn in range(copies)])
    return mazes[:, orders].reshape(-1, cells)


def check(table: Table) -> None:
    """DataError, naming the line: an answer changes more than free cells into path, or there is no start or goal."""
    start, goal, path, free = (ALPHABET[character] for character in "SGo ")
    for end in (start, goal):
        table.refuse((table.questions == end).sum(axis=1) != 1, "has not exactly one S and one G")
    changed = table.questions != table.answers
    drawn = (table.questions == free) & (table.answers == path)
    table.refuse((changed & ~drawn).any(axis=1), "the answer contradicts the question")
