"""Sudokus whose variants are made from a board and a number: when they are written, or when training asks for them.

The number of a row says which symmetry was drawn for it. 1000 boards with 1000 variants are 16 MB with all indices, not
170.
Legend: n boards, N rows, the same number of them from every board, B rows asked for, V symmetries.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from math import factorial
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.compiled import compiled
from trainer.data.sudoku_shuffle import BOXES, LINE_BITS, decode_permutations, draw_numbers, line_orders

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
Tokens = npt.NDArray[Any]

GIVEN = 16
"""Added to the digit of a solved board where the question has it too."""
BLANK = 1
"""The token of a blank."""
ROWS_AT_ONCE = 4096
"""Rows written at a time: what is kept of them for the kernel stays in the cache."""


@dataclass(frozen=True)
class Symmetries:
    """Tables of what the symmetries of a board of `side` rows do: a number has a place in each (see `draw_numbers`)."""

    digits: UInt8
    """[side!, side]: what 1..side become."""
    rows: UInt8
    """[orders, side]: for each new row the old one."""
    columns: UInt8
    """[orders, side]: for each new column the old one."""

    @property
    def unchanged(self) -> int:
        """The number of the symmetry that leaves a board as it is: the last order of digits, the first one of lines."""
        return len(self.digits) - 1 << 1 + 2 * LINE_BITS

    def know(self, numbers: Int64) -> bool:
        """Say whether all `numbers` are in the tables."""
        lines = (1 << LINE_BITS) - 1
        parts = (numbers >> 1 + 2 * LINE_BITS, numbers >> LINE_BITS & lines, numbers & lines)
        tables = (self.digits, self.rows, self.columns)
        return all(0 <= part.min() <= part.max() < len(table) for part, table in zip(parts, tables, strict=True))


@cache
def symmetries(side: int) -> Symmetries:
    """Return the tables for boards of `side` rows; 3.3 MB for 9."""
    height, width = BOXES[side]
    digits = np.empty((factorial(side), side), np.uint8)
    decode_permutations(np.arange(len(digits)), digits)
    return Symmetries(digits, line_orders(side, height), line_orders(side, width))


@dataclass(frozen=True)
class Shuffled:
    """Boards, each with its variants one after the other, the board itself first."""

    boards: UInt8
    """The digits of the answers, [n, cells], with `GIVEN` added to those that the questions have."""
    numbers: Int64
    """The symmetry of every row, [N]."""

    @classmethod
    def draw(cls, questions: UInt8, answers: UInt8, variants: int, draw: np.random.Generator) -> "Shuffled":
        """Draw so many `variants` of each board [n, cells], 0 for a blank in a question."""
        side = round(questions.shape[1] ** 0.5)
        numbers = np.full((len(questions), 1 + variants), symmetries(side).unchanged)
        for row in numbers:
            row[1:] = draw_numbers(draw, variants, side)
        return cls(np.where(questions, answers + np.uint8(GIVEN), answers), numbers.ravel())

    @cached_property
    def copies(self) -> int:
        """Rows that every board has."""
        return len(self.numbers) // len(self.boards)

    @cached_property
    def tables(self) -> Symmetries:
        """What the numbers stand for."""
        return symmetries(round(self.boards.shape[1] ** 0.5))

    @property
    def sides(self) -> tuple["Side", "Side"]:
        """Questions and answers, each like an array [N, cells]."""
        return Side(self, 0), Side(self, 1)

    def wrong(self, cells: int) -> str:
        """Say what is wrong with boards and numbers from a disk, for rows of so many `cells`; empty if nothing is."""
        side = round(cells**0.5)
        if side not in BOXES or side * side != cells or self.boards.shape[1] != cells:
            return f"has boards of {self.boards.shape[1]} cells, dataset.json says {cells}"
        if not self.boards.size or not self.numbers.size or len(self.numbers) % len(self.boards):
            return f"has {len(self.boards)} boards, which {len(self.numbers)} symmetries are not shared out among"
        digits = self.boards % GIVEN
        if self.boards.max() >= 2 * GIVEN or not 1 <= digits.min() <= digits.max() <= side:
            return f"holds a digit that is not in 1..{side}"
        return "" if self.tables.know(self.numbers) else "is for other symmetries than those there are"

    def pairs(self, rows: Int64, dtype: type[np.integer[Any]] = np.uint8) -> tuple[Tokens, Tokens]:
        """Return `rows` [B] as tokens, questions and answers, [B, cells] each."""
        inputs, labels = np.empty((2, len(rows), self.boards.shape[1]), dtype)
        self.fill(rows, inputs, labels)
        return inputs, labels

    def fill(self, rows: Int64, inputs: Tokens, labels: Tokens) -> None:
        """Put what `pairs` returns into arrays that are there."""
        known = self.tables
        shuffle_rows(
            self.boards, self.numbers, known.digits, known.rows, known.columns, self.copies, rows, inputs, labels
        )

    def write(self, inputs: Tokens, labels: Tokens) -> None:
        """Fill `inputs` and `labels` [N, cells] with all rows."""
        for start in range(0, len(inputs), ROWS_AT_ONCE):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, len(inputs)))
            into = (part[start : start + len(rows)].view(np.ndarray) for part in (inputs, labels))
            self.fill(rows, *into)


@dataclass(frozen=True)
class Side:
    """The questions or the answers of `Shuffled`, to be read like the array uint8 [N, cells] that is not there."""

    of: Shuffled
    side: int
    """0 the questions, 1 the answers."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and cells."""
        return len(self.of.numbers), self.of.boards.shape[1]

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """The type of a token."""
        return np.dtype(np.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes that are there, for both sides."""
        return self.of.boards.nbytes + self.of.numbers.nbytes

    def __getitem__(self, rows: int | slice | npt.NDArray[np.integer]) -> UInt8:
        """Return rows of tokens as numpy would; there is no second index. IndexError: there is no such row."""
        total = len(self.of.numbers)
        wanted: npt.NDArray[Any] = np.arange(*rows.indices(total)) if isinstance(rows, slice) else np.asarray(rows)
        if wanted.size and not -total <= wanted.min() <= wanted.max() < total:
            raise IndexError(f"a row of {wanted.min()}..{wanted.max()} is not among {total}")
        found: UInt8 = self.of.pairs(np.atleast_1d(wanted % total).astype(np.int64))[self.side]
        return found if wanted.ndim else found[0]


@compiled
def shuffle_rows(
    boards: UInt8, numbers: Int64, digits: UInt8, row_orders: UInt8, column_orders: UInt8, copies: int, rows: Int64,
    inputs: Tokens, labels: Tokens,
) -> None:  # fmt: skip
    """Fill `inputs` and `labels` [B, cells] with `rows` [B] of a `Shuffled`.

    What is scattered over large tables is collected for all rows first, so that memory is asked for many at a time:
    twice as fast. A cell is looked up once for both: its name has the label's token in the upper byte.
    """
    side, lines = row_orders.shape[1], (1 << LINE_BITS) - 1
    found, names = np.empty(len(rows), np.int64), np.full((len(rows), 2 * GIVEN), BLANK, np.uint16)
    for b in range(len(rows)):
        found[b] = numbers[rows[b]]
    for b in range(len(rows)):
        order = found[b] >> 1 + 2 * LINE_BITS
        for d in range(side):
            token = np.uint16(digits[order, d] + 1)
            names[b, d + 1] = token << 8 | BLANK
            names[b, GIVEN + d + 1] = token << 8 | token
    wanted, both = np.empty(side, np.uintp), np.empty(side * side, np.uint16)
    for b in range(len(rows)):
        down, right = (1, side) if found[b] >> 2 * LINE_BITS & 1 else (side, 1)
        row_order, column_order = row_orders[found[b] >> LINE_BITS & lines], column_orders[found[b] & lines]
        for j in range(side):
            wanted[j] = column_order[j] * right
        board, name, question, answer = boards[rows[b] // copies], names[b], inputs[b], labels[b]
        for i in range(side):
            line, into = board[row_order[i] * down :], both[i * side :]
            for j in range(side):
                into[j] = name[line[wanted[j]]]
        for cell in range(side * side):
            question[cell] = both[cell] & 255
            answer[cell] = both[cell] >> 8
