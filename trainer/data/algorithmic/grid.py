"""What language models are examined in: 50 conditions, some like what was trained on and most of them beyond it.

An item is a function of its condition and of seed + number. Where a condition is like training, its items come from a
fixed quarter of all examples (those whose fingerprint ends in two zero bits), so that training keeps some three
quarters of every kind, however many items there are, and though there are only 256 strings of 8 bits. With a + b goes
b + a, and so with products and comparisons: an item is held out in both orders.

With seed 1234 and 200 items, training keeps 203 strings of 8 bits (455 of all 508 of up to 8), 878 of the 1,001 numbers
that are counted on from, 9,049 of the 9,409 pairs that are added modulo 97, and 9,619 of the 10,000 multiplied.

Besides the first condition of each task four others are like training, and count as such: see `WITHIN`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trainer.data.algorithmic.lettering import EMPTY, strings
from trainer.data.algorithmic.tasks import MODULUS, Limits, draw, fingerprints
from trainer.data.algorithmic.wording import worded
from trainer.data.counter import Counted, Int64, UInt64, key_of
from trmkit.errors import DataError
from trmkit.spec.curriculum import Task

GRID_VERSION = "1"
"""Counted up whenever an item changes."""
WITHIN = (("addition", "carry 4"), ("chain", "8 operations"), ("chain", "operands up to 50"), ("chain", "negatives"))
"""Further conditions that are like training: it has such sums and chains, too, though the grid has them among those
that are beyond."""
IN_REACH = 4
"""One of so many examples may be an item of a condition that is like training."""
ATTEMPTS = 6_000
"""Draws until an item is one that its condition takes; the rarest is one of two hundred."""


@dataclass(frozen=True)
class Condition:
    """A task with what is asked for."""

    task: Task
    name: str
    iid: bool
    """Whether it is like what was trained on."""
    length: int
    """What accuracy is drawn against: bits, digits, operations, brackets, or the digits of the modulus."""
    limits: Limits = field(default=Limits(), repr=False)


@dataclass(frozen=True)
class Item:
    """A question and its answer: "… Answer:" and " 12"."""

    prompt: str
    answer: str


def conditions(tasks: Iterable[str]) -> list[Condition]:
    """Return the conditions of `tasks`, in the order of the grid, those like training first in each task."""
    wanted = set(tasks)
    return [condition for condition in _GRID if condition.task in wanted]


def items(condition: Condition, seed: int, count: int) -> list[Item]:
    """Return the first `count` items; item i of `seed` is item 0 of `seed + i`."""
    values = item_values(condition, seed, count)
    prompts, answers = worded(condition.task, values, np.zeros(count, np.int64))
    return [Item(*pair) for pair in zip(strings(prompts), strings(answers), strict=True)]


def item_values(condition: Condition, seed: int, count: int) -> Int64:
    """Return the numbers of the first `count` items, int64 [count, P]."""
    numbers = seed + np.arange(count)
    draws = Counted.of(key_of(0, "item", condition.task, condition.name), numbers)
    values = _draw(condition, draws)
    for attempt in range(1, ATTEMPTS):
        wrong = ~_taken(condition, values, numbers)
        if not wrong.any():
            return values
        values[wrong] = _draw(condition, draws.rows(wrong).again(attempt))
    raise AssertionError(f"no item of {condition.task} {condition.name} in {ATTEMPTS} draws")


class HeldOut:
    """The items of all conditions of some tasks: what training must not see."""

    def __init__(self, tasks: Iterable[str], seed: int, count: int) -> None:
        """Remember the first `count` items of `seed` of every condition."""
        found: dict[Task, list[UInt64]] = {}
        for condition in conditions(tasks):
            marks = fingerprints(condition.task, item_values(condition, seed, count))
            found.setdefault(condition.task, []).append(marks)
        self._marks = {task: np.unique(np.concatenate(parts)) for task, parts in found.items()}

    def holds(self, task: Task, values: Int64) -> npt.NDArray[np.bool_]:
        """Say which of the examples [n, P] are items, or items with their numbers swapped, bool [n]."""
        known, marks = self._marks[task], fingerprints(task, values)
        return np.asarray(known[np.minimum(np.searchsorted(known, marks), len(known) - 1)] == marks)

    def draw(self, task: Task, draws: Counted, difficulty: npt.NDArray[np.float64]) -> Int64:
        """Return training examples as `tasks.draw` does; those that are items are drawn again. int64 [n, P]."""
        values = draw(task, draws, difficulty)
        for attempt in range(1, ATTEMPTS):
            wrong = np.flatnonzero(self.holds(task, values))
            if not len(wrong):
                return values
            values[wrong] = draw(task, draws.rows(wrong).again(attempt), difficulty[wrong])
        raise DataError(f"{task}: what may be trained on is held out", next="lower data.items")


def _draw(condition: Condition, draws: Counted) -> Int64:
    return draw(condition.task, draws, np.ones(len(draws)), condition.limits)


def _taken(condition: Condition, values: Int64, numbers: Int64) -> npt.NDArray[np.bool_]:
    """Say which examples [n, P] can be the items `numbers` [n]. Of brackets every other item is balanced."""
    taken = np.ones(len(values), np.bool_)
    if condition.iid:
        taken &= fingerprints(condition.task, values) % np.uint64(IN_REACH) == 0
    if condition.limits.negatives:
        taken &= np.where(values == EMPTY, 0, values).sum(axis=1) < 0
    if condition.task == "dyck":
        taken &= values[:, 0] == numbers % 2
    return taken


def _of_task(task: Task, *entries: tuple[str, int, Limits]) -> list[Condition]:
    """Return the conditions of a task, the first of which is like training."""
    return [
        Condition(task, name, number == 0 or (task, name) in WITHIN, length, limits)
        for number, (name, length, limits) in enumerate(entries)
    ]


def _digits(count: int) -> tuple[int, int]:
    """Return the smallest and largest number with so many digits."""
    return 10 ** (count - 1), 10**count - 1


def _chained(length: int, largest: int, negatives: bool = False) -> Limits:
    return Limits(length=length, numbers=(1, largest), negatives=negatives)


_COPIED = [(f"length {length}", length, Limits(length=length)) for length in (8, 16, 32)]

_GRID: list[Condition] = [
    *_of_task("mod_add", *((f"modulus {m}", len(str(m)), Limits(modulus=m)) for m in (MODULUS, 1000, 10_000))),
    *_of_task("parity", *((f"length {bits}", bits, Limits(length=bits)) for bits in (8, 16, 32, 64))),
    *_of_task(
        "addition",
        ("length 4", 4, Limits(length=4, numbers=(5, 9))),
        *((f"length {digits}", digits, Limits(length=digits, numbers=(0, 9))) for digits in (5, 6, 8, 10, 12)),
        *((f"carry {digits}", digits, Limits(length=digits, numbers=(7, 9))) for digits in (4, 6, 8, 10)),
    ),
    *_of_task(
        "multiplication",
        ("up to 99", 2, Limits(numbers=(0, 99))),
        *((f"{digits} digits", digits, Limits(numbers=_digits(digits))) for digits in (3, 4)),
    ),
    *_of_task("copy", *_COPIED),
    *_of_task("reverse", *_COPIED),
    *_of_task(
        "dyck",
        *((f"length {length}", length, Limits(length=length, depth=4)) for length in (18, 32, 48, 64)),
        *((f"depth {depth}", 30, Limits(length=30, depth=depth)) for depth in (6, 8, 12)),
        *((f"length {s} depth {d}", s, Limits(length=s, depth=d)) for s, d in ((48, 6), (64, 8))),
    ),
    *_of_task(
        "chain",
        ("6 operations", 6, _chained(6, 20)),
        *((f"{length} operations", length, _chained(length, 20)) for length in (8, 10, 12)),
        *((f"operands up to {largest}", 6, _chained(6, largest)) for largest in (50, 100)),
        ("negatives", 6, _chained(6, 20, True)),
        *((f"{length} operations, up to 50, negatives", length, _chained(length, 50, True)) for length in (10, 12)),
    ),
    *_of_task(
        "compare",
        ("up to 999", 3, Limits(numbers=(0, 999))),
        *((f"{digits} digits", digits, Limits(numbers=_digits(digits))) for digits in (5, 6)),
    ),
    *_of_task(
        "successor",
        ("up to 999", 3, Limits(numbers=(0, 999))),
        *((f"{digits} digits", digits, Limits(numbers=_digits(digits), nines=True)) for digits in (5, 6)),
    ),
]
assert len(_GRID) == 50
