"""The symmetries of Sudoku: relabelled digits, shuffled bands, rows, stacks and columns, and the transposed board.

A board is uint8 [side * side], 0 for a blank. As tokens: blank 1, digit d is d + 1, and 0 is never used.
Boxes are 2 x 2, 2 high and 3 wide, or 3 x 3; only square boxes stay boxes when the board is transposed.
Legend: V variants of one board.
"""

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from math import factorial

import numpy as np
import numpy.typing as npt

from trainer.data.compiled import compiled

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]

BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}
"""Side of a board -> height and width of its boxes."""
LINE_BITS = 11
"""Bits that the number of an order of rows takes: there are 1296 for 9 x 9."""


@dataclass(frozen=True)
class Shuffles:
    """V symmetries of a board."""

    digits: UInt8
    """[V, side]: what 1..side become."""
    transposed: npt.NDArray[np.bool_]
    """[V]: whether rows and columns change places first."""
    rows: UInt8
    """[V, side]: for each new row the old one."""
    columns: UInt8
    """[V, side]: for each new column the old one."""


def draw_shuffles(draw: np.random.Generator, count: int, side: int) -> Shuffles:
    """Draw `count` symmetries, each as likely as every other; the same one may come twice."""
    height, width = BOXES[side]
    codes, transposed, rows, columns = _draw_parts(draw, count, side)
    digits = np.zeros((count, side), np.uint8)
    decode_permutations(codes, digits)
    return Shuffles(
        digits, transposed.astype(np.bool_), line_orders(side, height)[rows], line_orders(side, width)[columns]
    )


def draw_numbers(draw: np.random.Generator, count: int, side: int) -> Int64:
    """Draw what `draw_shuffles` draws, each symmetry as one number, int64 [V].

    From the highest bit down: order of digits, transposed, orders of rows and of columns, `LINE_BITS` each.
    """
    codes, transposed, rows, columns = _draw_parts(draw, count, side)
    return codes << 1 + 2 * LINE_BITS | transposed << 2 * LINE_BITS | rows << LINE_BITS | columns


def _draw_parts(draw: np.random.Generator, count: int, side: int) -> tuple[Int64, Int64, Int64, Int64]:
    """Draw the parts of `count` symmetries, each as the number of one of its possibilities."""
    height, width = BOXES[side]
    codes = draw.integers(0, factorial(side), count)
    transposed = draw.integers(0, 2, count) * (height == width)
    rows = draw.integers(0, len(line_orders(side, height)), count)
    return codes, transposed, rows, draw.integers(0, len(line_orders(side, width)), count)


def shuffle(board: UInt8, shuffles: Shuffles, out: UInt8) -> None:
    """Fill `out` [V, cells] with the variants of `board` [cells] as tokens: digit + 1, blank 1.

    Given the draws of the reference's `shuffle_sudoku` the result is the reference's.
    """
    apply(board, shuffles.digits, shuffles.transposed, shuffles.rows, shuffles.columns, out)


@cache
def line_orders(side: int, group: int) -> UInt8:
    """Return all orders of `side` rows that keep groups of `group` rows together, uint8 [n, side]."""
    groups = side // group
    inner = [np.array(order) for order in permutations(range(group))]
    orders = [
        np.concatenate([group * at + order for at, order in zip(outer, chosen, strict=True)])
        for outer in permutations(range(groups))
        for chosen in product(inner, repeat=groups)
    ]
    return np.array(orders, np.uint8)


@compiled
def decode_permutations(codes: Int64, out: UInt8) -> None:
    """Fill `out` [V, n] with the permutations of 1..n that the numbers `codes` [V] in 0..n!-1 stand for."""
    n = out.shape[1]
    for v in range(len(codes)):
        code = codes[v]
        for i in range(n):
            out[v, i] = i + 1
        for i in range(n - 1, 0, -1):  # Fisher-Yates, each choice a digit of the code in mixed radix
            j = code % (i + 1)
            code //= i + 1
            out[v, i], out[v, j] = out[v, j], out[v, i]


@compiled
def apply(
    board: UInt8, digits: UInt8, transposed: npt.NDArray[np.bool_], rows: UInt8, columns: UInt8, out: UInt8
) -> None:
    """Do what `shuffle` says."""
    side = digits.shape[1]
    tokens = np.ones(side + 1, np.uint8)
    wanted = np.empty(side, np.uintp)
    for v in range(len(digits)):
        for d in range(side):
            tokens[d + 1] = digits[v, d] + 1
        down, right = (1, side) if transposed[v] else (side, 1)
        for j in range(side):
            wanted[j] = columns[v, j] * right
        row = out[v]
        for i in range(side):
            line = board[rows[v, i] * down :]
            for j in range(side):
                row[i * side + j] = tokens[line[wanted[j]]]
