"""When two Sudokus are the same: one is the other after a symmetry (see `sudoku_shuffle`).

For 4 x 4 there are few enough puzzles to list one of each class. For larger boards `fingerprints` gives the same puzzle
the same number, so puzzles with different numbers are never shuffles of each other.
"""

from itertools import permutations, product

import numpy as np
import numpy.typing as npt

from trainer.data.compiled import compiled
from trainer.data.sudoku_shuffle import line_orders
from trainer.data.sudoku_solver import layout_of, solve_all

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]

ROUNDS = 4
"""Rounds of refinement in a fingerprint."""


def fingerprints(puzzles: UInt8, solutions: UInt8, layout: Int64) -> UInt64:
    """Return a number for each puzzle, uint64 [n], that no symmetry changes.

    Colour refinement: a cell's colour starts as given or blank and takes in, round by round, the colours in its row and
    its column (in either order), in its box and of its digit. A symmetry maps rows, columns, boxes and digits onto
    such, so it moves the colours about and keeps their sum. Different puzzles may share a number: that costs a puzzle.
    """
    found = np.zeros(len(puzzles), np.uint64)
    refine(puzzles, solutions, layout, found)
    return found


def four_by_four() -> tuple[UInt8, UInt8]:
    """Return a puzzle of every class of 4 x 4 puzzles with one solution, and the solutions, uint8 [n, 16]."""
    moves = _cell_moves()
    boards = _all_boards()
    puzzles, solutions = [], []
    while boards:
        board = min(boards)
        images = [_relabelled(tuple(board[cell] for cell in move)) for move in moves]
        boards -= set(images)
        keeping = np.array([move for move, image in zip(moves, images, strict=True) if image == board])
        solution = np.array(board, np.uint8)
        found = _given_patterns(keeping) * solution
        found = found[solve_all(4, layout_of(4, 2, 2), found, limit=2)[0] == 1]
        puzzles.append(found)
        solutions.append(np.broadcast_to(solution, found.shape))
    return np.concatenate(puzzles), np.concatenate(solutions)


def _cell_moves() -> list[tuple[int, ...]]:
    """Return all 128 ways to move the cells of a 4 x 4 board: for each new cell the old one."""
    cells = np.arange(16).reshape(4, 4)
    orders = line_orders(4, 2)
    return [tuple(b[r][:, c].ravel().tolist()) for b, r, c in product((cells, cells.T), orders, orders)]


def _all_boards() -> set[tuple[int, ...]]:
    """Return the twelve full 4 x 4 boards with 1 2 3 4 on top; the others are these with other labels."""
    first, *_ = orders = list(permutations(range(1, 5)))
    boards = (first + b + c + d for b, c, d in product(orders, repeat=3))
    layout = layout_of(4, 2, 2)
    units = [np.flatnonzero((layout == unit).any(axis=1)) for unit in range(4, 12)]
    return {board for board in boards if all(len({board[cell] for cell in unit}) == 4 for unit in units)}


def _relabelled(board: tuple[int, ...]) -> tuple[int, ...]:
    """Name the digits in the order in which they come."""
    names: dict[int, int] = {}
    return tuple(names.setdefault(digit, len(names) + 1) for digit in board)


def _given_patterns(keeping: Int64) -> UInt8:
    """Return a pattern of givens (1) for each class under moves that keep the board as it is, uint8 [n, 16]."""
    codes = np.arange(2**16 - 1, dtype=np.int32)  # bit k: cell k is given; all sixteen given is no puzzle
    smallest = codes.copy()
    for move in keeping:
        moved = np.zeros_like(codes)
        for new, old in enumerate(move):
            moved |= ((codes >> old) & 1) << new
        np.minimum(smallest, moved, out=smallest)
    return ((codes[smallest == codes, None] >> np.arange(16)) & 1).astype(np.uint8)


@compiled
def scatter(x: np.uint64) -> np.uint64:
    """Scatter the bits of a number (the finaliser of splitmix64)."""
    z = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def refine(puzzles: UInt8, solutions: UInt8, layout: Int64, found: UInt64) -> None:
    """Fill `found` [n] with what `fingerprints` describes."""
    cells = puzzles.shape[1]
    colours, sums = np.empty(cells, np.uint64), np.empty(4 * cells, np.uint64)
    for n in range(len(puzzles)):
        for cell in range(cells):
            colours[cell] = 1 if puzzles[n, cell] else 2
        for _ in range(ROUNDS):
            sums[:] = 0
            for cell in range(cells):
                colour = scatter(colours[cell])
                for k in range(3):
                    sums[layout[cell, k]] += colour
                sums[3 * cells + solutions[n, cell]] += colour
            for cell in range(cells):
                lines = scatter(sums[layout[cell, 0]]) + scatter(sums[layout[cell, 1]])
                box = scatter(sums[layout[cell, 2]] + np.uint64(1))
                digit = scatter(sums[3 * cells + solutions[n, cell]] + np.uint64(2))
                colours[cell] = scatter(colours[cell] + scatter(lines) + scatter(box + digit * np.uint64(3)))
        for cell in range(cells):
            found[n] += scatter(colours[cell])
