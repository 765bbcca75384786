"""What the ten tasks ask: their numbers are drawn here, in three steps of difficulty, unless limits say otherwise.

Legend: `n` examples, `P` numbers of an example, `EMPTY` behind the last one. Draw 0.. of each example are a task's own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from trainer.data.algorithmic.brackets import draw_brackets
from trainer.data.algorithmic.lettering import EMPTY
from trainer.data.counter import Counted, Float64, Int64, UInt64, key_of, mix
from trmkit.spec.curriculum import TASKS, Task

MEDIUM, HARD = 0.3, 0.7
"""Difficulties at which the second and the third step begin."""
MODULUS = 97
LONGEST = {"parity": 8, "copy": 14, "reverse": 14, "dyck": 30, "chain": 8}
"""Bits, digits, brackets and operations of the longest example that is trained on."""
SWAPPABLE: tuple[Task, ...] = ("mod_add", "addition", "multiplication", "compare")
"""Tasks on two numbers in which who knows the answer for one order knows it for the other."""

T = TypeVar("T")
Steps = tuple[T, T, T]


@dataclass(frozen=True)
class Limits:
    """What is asked for instead of what the difficulty gives; a task takes what concerns it."""

    modulus: int | None = None
    """mod_add."""
    length: int | None = None
    """Bits, digits, brackets, operations; of addition, digits of both numbers."""
    depth: int | None = None
    """dyck: brackets open at once, somewhere in it."""
    numbers: tuple[int, int] | None = None
    """Smallest and largest number; of addition, smallest and largest digit."""
    negatives: bool | None = None
    """chain: whether results may fall below zero."""
    nines: bool = False
    """successor: half of the numbers end in one to three nines."""


def step_of(difficulty: Float64) -> Int64:
    """Return 0, 1 or 2 for easy, medium and hard, int64 [n]."""
    return np.digitize(difficulty, (MEDIUM, HARD)).astype(np.int64)


def draw(task: Task, draws: Counted, difficulty: Float64, limits: Limits | None = None) -> Int64:
    """Return the numbers of examples of `task` at `difficulty` [n] in [0, 1], int64 [n, P]."""
    return _DRAWN[task](draws, step_of(difficulty), limits or Limits())


def fingerprints(task: Task, values: Int64) -> UInt64:
    """Return a word for each example, the same for the same task and numbers, uint64 [n].

    Where swapping the first two numbers gives the same answer or the mirrored one, both examples have the same word.
    """
    if task in SWAPPABLE:
        values = np.column_stack([np.sort(values[:, :2], axis=1), values[:, 2:]])
    places = Counted.of(key_of(0, "fingerprint", TASKS.index(task)), np.arange(values.shape[1])).words(0, 1)[:, 0]
    words = np.where(values == EMPTY, np.uint64(0), mix(values.astype(np.uint64) ^ places))
    return mix(words.sum(axis=1, dtype=np.uint64))


def _mod_add(draws: Counted, step: Int64, limits: Limits) -> Int64:
    modulus = limits.modulus or MODULUS
    first, second = (draws.between(k, 0, modulus - 1) for k in range(2))
    return np.column_stack([first, second, np.full(len(draws), modulus)])


def _parity(draws: Counted, step: Int64, limits: Limits) -> Int64:
    most = limits.length or LONGEST["parity"]
    length = draws.between(0, limits.length or 2, most)
    return _cut(draws.table(1, most, 0, 1), length)


def _addition(draws: Counted, step: Int64, limits: Limits) -> Int64:
    width = limits.length or 4
    numbers = []
    for turn in range(2):
        length = draws.between(turn, *_spread(step, ((1, 2), (2, 3), (4, 4)), _exactly(limits.length)))
        low, high = _spread(step, ((0, 4), (0, 9), (5, 9)), limits.numbers)
        digits = draws.table(2 + turn * width, width, low, high)
        leading = draws.between(2 + turn * width, np.maximum(low, length > 1), high)
        number = leading
        for place in range(1, width):
            number = np.where(place < length, number * 10 + digits[:, place], number)
        numbers.append(number)
    return np.column_stack(numbers)


def _multiplication(draws: Counted, step: Int64, limits: Limits) -> Int64:
    low, high = limits.numbers or (0, 99)
    return np.column_stack([draws.between(k, low, high) for k in range(2)])


def _digits(draws: Counted, step: Int64, limits: Limits) -> Int64:
    most = limits.length or LONGEST["copy"]
    length = draws.between(0, *_spread(step, ((4, 6), (7, 10), (11, 14)), _exactly(limits.length)))
    return _cut(draws.table(1, most, 0, 9), length)


def _dyck(draws: Counted, step: Int64, limits: Limits) -> Int64:
    """Return 1 for balanced or 0, and then the brackets."""
    halves = _halved(_exactly(limits.length))
    length = 2 * draws.between(0, *_spread(step, ((3, 5), (5, 9), (9, 15)), halves))
    deepest = np.array((2, 3, 4), np.int64)[step]
    depth = draws.between(1, 1, deepest) if limits.depth is None else np.full(len(draws), limits.depth)
    return draw_brackets(draws, 2, length, depth, limits.length or LONGEST["dyck"])


def _chain(draws: Counted, step: Int64, limits: Limits) -> Int64:
    """Return the start, and then what is added or, if negative, taken away."""
    most = limits.length or LONGEST["chain"]
    length = draws.between(0, *_spread(step, ((2, 3), (3, 5), (5, 8)), _exactly(limits.length)))
    total = draws.between(1, *_spread(step, ((5, 40), (10, 60), (20, 100)), None))
    largest = _spread(step, ((1, 9), (1, 20), (1, 50)), limits.numbers)
    operands = draws.table(2, most, *largest)
    minus = draws.table(2 + most, most, 0, 1) == 1
    if limits.negatives is None:
        below_zero = (step == 2) | ((step == 1) & (draws.between(2 + 2 * most, 0, 1) == 1))
    else:
        below_zero = np.full(len(draws), limits.negatives)
    values = np.full((len(draws), 1 + most), EMPTY, np.int64)
    values[:, 0] = total
    for place in range(most):
        taken = minus[:, place] & (below_zero | (operands[:, place] <= total))
        change = np.where(taken, -operands[:, place], operands[:, place])
        total = total + change
        values[:, 1 + place] = np.where(place < length, change, EMPTY)
    return values


def _compare(draws: Counted, step: Int64, limits: Limits) -> Int64:
    """Make a third of the pairs equal: drawn evenly, almost none would be."""
    low, high = limits.numbers or (0, 1000)
    first, second = (draws.between(k, low, high) for k in range(2))
    return np.column_stack([first, np.where(draws.between(2, 0, 2) == 0, first, second)])


def _successor(draws: Counted, step: Int64, limits: Limits) -> Int64:
    """Let every fourth number end in a nine, or half of them in one to three: there the answer has a carry."""
    low, high = limits.numbers or (0, 1000)
    number = draws.between(0, low, high)
    tail = 10 ** draws.between(1, 1, 3 if limits.nines else 1)
    ended = number - number % tail + tail - 1
    chosen = (draws.between(2, 0, 3) < (2 if limits.nines else 1)) & (ended <= high)
    return np.where(chosen, ended, number)[:, None]


def _exactly(length: int | None) -> tuple[int, int] | None:
    return None if length is None else (length, length)


def _halved(limits: tuple[int, int] | None) -> tuple[int, int] | None:
    return None if limits is None else (limits[0] // 2, limits[1] // 2)


def _spread(step: Int64, steps: Steps[tuple[int, int]], limits: tuple[int, int] | None) -> tuple[Int64, Int64]:
    """Return the lowest and highest value for each example, [n] both: by its step, unless there are limits."""
    table = np.array(steps if limits is None else (limits,) * 3, np.int64)[step]
    return table[:, 0], table[:, 1]


def _cut(values: Int64, length: Int64) -> Int64:
    """Put `EMPTY` behind the first `length` [n] of values [n, P]."""
    return np.where(np.arange(values.shape[1])[None, :] < length[:, None], values, EMPTY)


_DRAWN: dict[Task, Callable[[Counted, npt.NDArray[np.int64], Limits], Int64]] = {
    "mod_add": _mod_add,
    "parity": _parity,
    "addition": _addition,
    "multiplication": _multiplication,
    "copy": _digits,
    "reverse": _digits,
    "dyck": _dyck,
    "chain": _chain,
    "compare": _compare,
    "successor": _successor,
}
