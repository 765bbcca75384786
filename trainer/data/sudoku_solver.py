"""A Sudoku solver and puzzle maker for sides 4, 6 and 9, compiled.

The solver fills naked and hidden singles and otherwise guesses in a cell with the fewest candidates. A set of digits
is a number with bit d - 1 for digit d. Units are rows 0.., columns side.., boxes 2 side..
Legend: cells = side * side; a `layout` int64 [cells, 3] has the row, column and box unit of each cell.
"""

import numpy as np
import numpy.typing as npt

from trainer.data.compiled import compiled

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]

BITS = np.array([bin(mask).count("1") for mask in range(512)], np.int64)
DEAD, SOLVED = -1, -2
CLIMB_TRIES = 100
"""Neighbours looked at before a puzzle is given up."""


def layout_of(side: int, box_height: int, box_width: int) -> Int64:
    """Return the units of every cell, int64 [cells, 3]."""
    row, column = np.divmod(np.arange(side * side), side)
    box = row // box_height * (side // box_width) + column // box_width
    return np.stack([row, side + column, 2 * side + box], axis=1)


@compiled
def random_bits(state: UInt64) -> np.uint64:
    """Return the next 64 random bits and step `state` [1] (splitmix64)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z: np.uint64 = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def random_below(state: UInt64, limit: int) -> int:
    """Return a random number in 0..limit-1, for limits far below 2^31."""
    return int((random_bits(state) >> np.uint64(33)) % np.uint64(limit))


@compiled
def fill_naked(full: int, layout: Int64, used: Int64, values: Int64, left: Int64, counts: Int64, seen: Int64) -> int:
    """Fill every blank cell that has one candidate. Return DEAD, SOLVED, or a cell with the fewest candidates.

    `used` [units] are the digits of each unit, `values` [cells] the one bit of each filled cell, `left` the `counts[0]`
    blank cells; all change in place. `seen` [2, units] gets the digits with at least one and at least two places.
    """
    seen[:] = 0
    kept, fewest, best = 0, 99, SOLVED
    for k in range(counts[0]):
        cell = left[k]
        row, column, box = layout[cell, 0], layout[cell, 1], layout[cell, 2]
        digits = full & ~(used[row] | used[column] | used[box])
        size = BITS[digits]
        if size == 0:
            return DEAD
        if size == 1:
            values[cell] = digits
            used[row] |= digits
            used[column] |= digits
            used[box] |= digits
            continue
        left[kept] = cell
        kept += 1
        if size < fewest:
            fewest, best = size, cell
        for unit in (row, column, box):
            seen[1, unit] |= seen[0, unit] & digits
            seen[0, unit] |= digits
    counts[0] = kept
    return best


@compiled
def fill_hidden(full: int, layout: Int64, used: Int64, values: Int64, left: Int64, counts: Int64, seen: Int64) -> bool:
    """Fill every cell that is the one place of a digit in a unit, as `fill_naked` has `seen` it. False: no solution."""
    for unit in range(len(used)):
        if (seen[0, unit] | used[unit]) != full:
            return False
        seen[0, unit] &= ~seen[1, unit]
    kept = 0
    for k in range(counts[0]):
        cell = left[k]
        row, column, box = layout[cell, 0], layout[cell, 1], layout[cell, 2]
        digits = full & ~(used[row] | used[column] | used[box])
        only = digits & (seen[0, row] | seen[0, column] | seen[0, box])
        if only == 0:
            left[kept] = cell
            kept += 1
            continue
        if only & (only - 1):
            return False
        values[cell] = only
        used[row] |= only
        used[column] |= only
        used[box] |= only
    counts[0] = kept
    return True


@compiled
def settle(full: int, layout: Int64, used: Int64, values: Int64, left: Int64, counts: Int64, seen: Int64) -> int:
    """Fill singles until there are none. Return DEAD, SOLVED, or the cell to guess in. Arguments: `fill_naked`."""
    while True:
        before = counts[0]
        best = fill_naked(full, layout, used, values, left, counts, seen)
        if best < 0:
            return best
        if counts[0] == before:
            if not fill_hidden(full, layout, used, values, left, counts, seen):
                return DEAD
            if counts[0] == before:
                return best


@compiled
def take_bit(mask: int, state: UInt64) -> int:
    """Return the lowest bit of `mask`, or a random one if `state` is not zero."""
    if state[0] != 0:
        for _ in range(random_below(state, BITS[mask])):
            mask &= mask - 1
    return mask & -mask


@compiled
def search(
    side: int, layout: Int64, puzzle: UInt8, not_here: int, limit: int, state: UInt64, solution: UInt8
) -> tuple[int, int]:
    """Find up to `limit` solutions of `puzzle` [cells]; return how many, and the number of wrong guesses on the way.

    `not_here` >= 0 is a filled cell: the search is for solutions with another digit there. `solution` gets the last
    one found. Guesses are tried from the lowest digit up, or at random if `state` is not zero.
    """
    cells, full = side * side, (1 << side) - 1
    used, values = np.empty((cells + 1, 3 * side), np.int64), np.empty((cells + 1, cells), np.int64)
    left, counts = np.empty((cells + 1, cells), np.int64), np.zeros((cells + 1, 1), np.int64)
    guess_in, pending = np.zeros(cells + 1, np.int64), np.zeros(cells + 1, np.int64)
    seen = np.empty((2, 3 * side), np.int64)
    used[0] = 0
    for cell in range(cells):
        if puzzle[cell] == 0 or cell == not_here:
            left[0, counts[0, 0]] = cell
            counts[0, 0] += 1
        else:
            values[0, cell] = 1 << (puzzle[cell] - 1)
            for k in range(3):
                used[0, layout[cell, k]] |= values[0, cell]
    found, guesses, useful, level = 0, 0, 0, 0
    code = not_here if not_here >= 0 else settle(full, layout, used[0], values[0], left[0], counts[0], seen)
    while True:
        if code >= 0:
            open_digits = full & ~(used[level, layout[code, 0]] | used[level, layout[code, 1]])
            guess_in[level], pending[level] = code, open_digits & ~used[level, layout[code, 2]]
            if code == not_here:
                pending[level] &= ~(1 << (puzzle[code] - 1))
        else:
            if code == SOLVED:
                found, useful = found + 1, level
                for cell in range(cells):
                    solution[cell] = BITS[values[level, cell] - 1] + 1
                if found >= limit:
                    return found, guesses - useful
            level -= 1
        while level >= 0 and pending[level] == 0:
            level -= 1
        if level < 0:
            return found, guesses - useful
        bit = take_bit(pending[level], state)
        pending[level] ^= bit
        guess(layout, used, values, left, counts, level, guess_in[level], bit)
        level, guesses = level + 1, guesses + 1
        code = settle(full, layout, used[level], values[level], left[level], counts[level], seen)


@compiled
def guess(
    layout: Int64, used: Int64, values: Int64, left: Int64, counts: Int64, level: int, cell: int, bit: int
) -> None:
    """Make the next level of a search a copy of `level` with `bit` in `cell`."""
    used[level + 1] = used[level]
    values[level + 1] = values[level]
    values[level + 1, cell] = bit
    for k in range(3):
        used[level + 1, layout[cell, k]] |= bit
    kept = 0
    for k in range(counts[level, 0]):
        if left[level, k] != cell:
            left[level + 1, kept] = left[level, k]
            kept += 1
    counts[level + 1, 0] = kept


@compiled
def make_puzzle(side: int, layout: Int64, state: UInt64, puzzle: UInt8, solution: UInt8) -> int:
    """Make a minimal puzzle with one solution from random bits; return the wrong guesses before it is solved.

    A random full board loses its digits in random order, each for good if the solution stays the only one.
    """
    cells = side * side
    puzzle[:] = 0
    for cell, digit in enumerate(shuffled(side, state)):
        puzzle[cell] = digit + 1
    search(side, layout, puzzle, -1, 1, state, solution)
    puzzle[:] = solution
    dig(side, layout, shuffled(cells, state), puzzle)
    return search(side, layout, puzzle, -1, 1, np.zeros(1, np.uint64), solution)[1]


@compiled
def dig(side: int, layout: Int64, order: Int64, puzzle: UInt8) -> None:
    """Blank the cells of `puzzle` in `order`, each for good if the solution stays the only one."""
    first, nowhere = np.zeros(1, np.uint64), np.empty(side * side, np.uint8)
    for cell in order:
        if puzzle[cell] and search(side, layout, puzzle, cell, 1, first, nowhere)[0] == 0:
            puzzle[cell] = 0


@compiled
def shuffled(count: int, state: UInt64) -> Int64:
    """Return 0..count-1 in random order."""
    order = np.arange(count)
    for i in range(count - 1, 0, -1):
        j = random_below(state, i + 1)
        order[i], order[j] = order[j], order[i]
    return order


@compiled
def climb(
    side: int, layout: Int64, state: UInt64, target: int, wrong_guesses: int, puzzle: UInt8, solution: UInt8
) -> int:
    """Look among neighbours of a minimal `puzzle` for one with `target` wrong guesses; return how many it got to.

    A neighbour has a few more cells of the solution and is made minimal again. It replaces `puzzle` if it is no easier.
    """
    first, neighbour = np.zeros(1, np.uint64), np.empty(side * side, np.uint8)
    for _ in range(CLIMB_TRIES):
        if wrong_guesses >= target:
            break
        neighbour[:] = puzzle
        for _ in range(side):
            cell = random_below(state, side * side)
            neighbour[cell] = solution[cell]
        dig(side, layout, shuffled(side * side, state), neighbour)
        found = search(side, layout, neighbour, -1, 1, first, solution)[1]
        if found >= wrong_guesses:
            wrong_guesses = found
            puzzle[:] = neighbour
    return wrong_guesses


@compiled
def make_puzzles(
    side: int, layout: Int64, states: UInt64, target: int, puzzles: UInt8, solutions: UInt8, wrong_guesses: Int64
) -> None:
    """Make one puzzle from each of `states` [n], into `puzzles` and `solutions` [n, cells]; see `make_puzzle`.

    Where it takes fewer than `target` wrong guesses, `climb` tries to find a harder one near it.
    """
    for n in range(len(states)):
        state, puzzle, solution = states[n : n + 1], puzzles[n], solutions[n]
        found = make_puzzle(side, layout, state, puzzle, solution)
        wrong_guesses[n] = climb(side, layout, state, target, found, puzzle, solution)


def solve_all(side: int, layout: Int64, puzzles: UInt8, limit: int = 1) -> tuple[Int64, Int64]:
    """Return for each of `puzzles` [n, cells] the solutions there are, up to `limit`, and the wrong guesses, int64 [n].

    With the limit 1 these are the wrong guesses before the puzzle is solved.
    """
    found, wrong_guesses = np.zeros((2, len(puzzles)), np.int64)
    search_each(side, layout, puzzles, limit, found, wrong_guesses)
    return found, wrong_guesses


@compiled
def search_each(side: int, layout: Int64, puzzles: UInt8, limit: int, found: Int64, wrong_guesses: Int64) -> None:
    """Do what `solve_all` says."""
    first, solution = np.zeros(1, np.uint64), np.empty(side * side, np.uint8)
    for n in range(len(puzzles)):
        found[n], wrong_guesses[n] = search(side, layout, puzzles[n], -1, limit, first, solution)
