"""Sudoku-Extreme, or other CSV files with Sudokus, laid out as the reference's `build_sudoku_dataset.py` does.

Unlike there everything is drawn from a seed, so two builds are equal. Legend: n puzzles, cells = side * side.
"""

from functools import partial
from pathlib import Path

import numpy as np

from trainer.data.csv_pair import Table, local_files, opened, read_table
from trainer.data.draws import generator
from trainer.data.manifest import Built, Grid, Source
from trainer.data.store import write_identifiers
from trainer.data.sudoku_rows import write_boards
from trainer.data.sudoku_shuffle import BOXES
from trainer.data.sudoku_solver import layout_of
from trmkit.errors import DataError
from trmkit.spec.data import SudokuData
from trmkit.store.local import sha256

ALPHABET = {".": 0, **{str(digit): digit for digit in range(10)}}


def source(section: SudokuData) -> Source:
    """Return how to build the data set of `section`."""
    return Source(partial(write, section), local_files(section.path))


def write(section: SudokuData, folder: Path) -> Built:
    """Write the data set into `folder`. DataError: a file or a line in it is not what it should be."""
    with opened(section.path) as files:
        train, test = (_read(section, files[name]) for name in ("train.csv", "test.csv"))
        inputs = {name: sha256(file) for name, file in files.items()}
    cells = train.questions.shape[1]
    if test.questions.shape[1] != cells:
        raise DataError(f"{test.file}: its puzzles have another size than those of {train.file}", next="take one size")
    train = subsample(train, section.subsample_size, section.seed)
    test = test.keep(slice(section.max_test))
    side = round(cells**0.5)
    boards, tests = ((table.questions, table.answers) for table in (train, test))
    write_boards(folder, boards, tests, section.num_aug, section.seed, section.augment)
    write_identifiers(folder, [])
    counts = {"train_puzzles": len(train.questions), "test_puzzles": len(test.questions)}
    counts["train_rows"] = len(train.questions) * (1 + section.num_aug)
    return Built(Grid("sudoku", side, side), counts, inputs)


def subsample(table: Table, size: int | None, seed: int) -> Table:
    """Return `size` rows drawn without replacement, in the order of the file; all where there are no more."""
    total = len(table.questions)
    if size is None or size >= total:
        return table
    return table.keep(np.sort(generator(seed, "subsample").choice(total, size, replace=False)))


def _read(section: SudokuData, file: Path) -> Table:
    table = read_table(file, ALPHABET, tuple(BOXES), rated=section.min_difficulty is not None)
    check(table)
    if section.min_difficulty is not None:
        table = table.keep(table.ratings >= section.min_difficulty)
        if not len(table.questions):
            raise DataError(
                f"{file}: no puzzle is rated {section.min_difficulty} or more", next="lower data.min_difficulty"
            )
    return table


def check(table: Table) -> None:
    """DataError, naming the line: an answer is no solved Sudoku, or is not the answer of its question."""
    side = round(table.questions.shape[1] ** 0.5)
    questions, answers = table.questions, table.answers
    table.refuse((questions > side).any(axis=1) | (answers > side).any(axis=1), f"has a digit above {side}")
    table.refuse((answers == 0).any(axis=1), "the answer has blanks")
    table.refuse(((questions != 0) & (questions != answers)).any(axis=1), "the answer contradicts the question")
    layout = layout_of(side, *BOXES[side])
    bits = (np.uint16(1) << np.arange(side + 1, dtype=np.uint16))[answers]
    for unit in range(3 * side):
        digits = np.bitwise_or.reduce(bits[:, (layout == unit).any(axis=1)], axis=1)
        table.refuse(digits != 2 ** (side + 1) - 2, "the answer has a digit twice in a row, column or box")
