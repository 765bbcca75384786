"""The ten tasks in words: several ways to ask in training, one to examine in.

A document is a question, " Answer:", and an answer that begins with a space. Legend: `n` examples, `W` columns.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from trainer.data.algorithmic.brackets import BRACKETS
from trainer.data.algorithmic.lettering import EMPTY, UInt8, decimal, phrases, spaced, symbols
from trainer.data.counter import Int64
from trmkit.spec.curriculum import Task

ANSWER = " Answer:"
DIGITS = "0123456789"


class Wording(NamedTuple):
    """How a task is put into words."""

    templates: tuple[str, ...]
    """Questions with {} for each gap; the first one is asked in examinations."""
    gaps: Callable[[Int64], list[UInt8]]
    """Numbers [n, P] to what fills the gaps, in order."""
    answer: Callable[[Int64], UInt8]
    """Numbers [n, P] to the answer, without its space."""


def templates_of(task: Task) -> int:
    """Return how many ways there are to ask."""
    return len(WORDINGS[task].templates)


def worded(task: Task, values: Int64, template: Int64) -> tuple[UInt8, UInt8]:
    """Return prompts and answers of examples [n, P], asked by `template` [n], as tables of bytes [n, W] each."""
    wording = WORDINGS[task]
    fixed = _fixed_parts(wording.templates)
    parts = [fixed[0][template]]
    for gap, text in zip(wording.gaps(values), fixed[1:], strict=True):
        parts += [gap, text[template]]
    space = np.full((len(values), 1), ord(" "), np.uint8)
    return np.column_stack(parts), np.column_stack([space, wording.answer(values)])


def widest(task: Task, values: Int64) -> int:
    """Return the bytes of the longest document of which the numbers are as wide as any of these, [n, P]."""
    wording = WORDINGS[task]
    fixed = max(len(template.replace("{}", "")) for template in wording.templates)
    tables = [*wording.gaps(values), wording.answer(values)]
    return fixed + len(ANSWER) + 1 + sum(int(table.shape[1]) for table in tables)


@lru_cache(maxsize=64)
def _fixed_parts(templates: tuple[str, ...]) -> tuple[UInt8, ...]:
    """Return what stands before, between and behind the gaps, a table with a row for each template."""
    split = [f"{template}{ANSWER}".split("{}") for template in templates]
    return tuple(phrases(texts) for texts in zip(*split, strict=True))


def _numbers(values: Int64) -> list[UInt8]:
    return [decimal(column) for column in values.T]


def _total(values: Int64) -> UInt8:
    return decimal(np.where(values == EMPTY, 0, values).sum(axis=1))


def _operations(values: Int64) -> list[UInt8]:
    """Write the start, and each number with its sign and spaces around that."""
    parts = [decimal(values[:, 0])]
    for column in values[:, 1:].T:
        sign = np.where(column < 0, ord("-"), ord("+"))
        around = np.full(len(column), ord(" "))
        table = np.column_stack([around, sign, around])
        parts += [np.where((column == EMPTY)[:, None], 0, table).astype(np.uint8)]
        parts += [decimal(np.where(column == EMPTY, EMPTY, np.abs(column)))]
    return [np.column_stack(parts)]


def _reversed(values: Int64) -> UInt8:
    length = (values != EMPTY).sum(axis=1)
    place = length[:, None] - 1 - np.arange(values.shape[1])[None, :]
    turned = np.take_along_axis(values, np.maximum(place, 0), axis=1)
    return spaced(np.where(place < 0, EMPTY, turned), DIGITS)


def _order(values: Int64) -> UInt8:
    return symbols(np.sign(values[:, :1] - values[:, 1:2]) + 1, "<=>")


def _copied(values: Int64) -> UInt8:
    return spaced(values, DIGITS)


_YES_NO = phrases(["no", "yes"])

WORDINGS: dict[Task, Wording] = {
    "mod_add": Wording(
        (
            "What is ({} + {}) mod {}?",
            "Compute ({} + {}) mod {}.",
            "Add {} and {} modulo {}.",
            "The remainder of {} + {} after division by {}?",
        ),
        _numbers,
        lambda values: decimal((values[:, 0] + values[:, 1]) % values[:, 2]),
    ),
    "parity": Wording(
        (
            "What is the parity of {}?",
            "Parity of {}?",
            "Are the ones of {} odd (1) or even (0)?",
            "Count the ones in {} modulo 2.",
        ),
        lambda values: [spaced(values, "01")],
        lambda values: decimal((values == 1).sum(axis=1) % 2),
    ),
    "addition": Wording(
        ("What is {} + {}?", "Compute {} + {}.", "Add {} and {}.", "The sum of {} and {}?"),
        _numbers,
        _total,
    ),
    "multiplication": Wording(
        ("What is {} * {}?", "Compute {} * {}.", "Multiply {} by {}.", "The product of {} and {}?"),
        _numbers,
        lambda values: decimal(values[:, 0] * values[:, 1]),
    ),
    "copy": Wording(
        ("Copy these digits: {}.", "Repeat {}.", "Write {} once more.", "Say the same digits again: {}."),
        lambda values: [spaced(values, DIGITS)],
        _copied,
    ),
    "reverse": Wording(
        (
            "Reverse these digits: {}.",
            "Write {} backwards.",
            "Turn {} around.",
            "Say from last to first: {}.",
        ),
        lambda values: [spaced(values, DIGITS)],
        _reversed,
    ),
    "dyck": Wording(
        (
            "Are these brackets balanced: {}?",
            "Is {} balanced?",
            "Does every bracket in {} have its partner?",
            "Balanced or not: {}?",
        ),
        lambda values: [symbols(values[:, 1:], BRACKETS)],
        lambda values: _YES_NO[values[:, 0]],
    ),
    "chain": Wording(
        ("What is {}?", "Compute {}.", "Work out {} step by step in your head.", "The result of {}?"),
        _operations,
        _total,
    ),
    "compare": Wording(
        (
            "Which sign belongs between {} and {}: <, > or =?",
            "Compare {} and {}.",
            "{} ? {}",
            "Put <, > or = between {} and {}.",
        ),
        _numbers,
        _order,
    ),
    "successor": Wording(
        ("Which number comes after {}?", "What follows {}?", "Count on from {}.", "The successor of {}?"),
        _numbers,
        lambda values: decimal(values[:, 0] + 1),
    ),
}
