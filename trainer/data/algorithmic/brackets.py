"""Strings of two kinds of brackets: half of them balanced, the others with one thing wrong.

Legend: `n` strings, `P` columns: 1 for balanced or 0, then the brackets as places in `BRACKETS`.
"""

import numpy as np

from trainer.data.algorithmic.lettering import EMPTY
from trainer.data.counter import Counted, Int64

BRACKETS = "([)]"
_KINDS = 2


def draw_brackets(draws: Counted, first: int, length: Int64, depth: Int64, most: int) -> Int64:
    """Return strings of `length` [n] (even, at most `most`) that reach `depth` [n] exactly, or one more if damaged.

    A damaged one lacks a closing bracket, has one of the wrong kind, or one too many at its end: so it is never
    balanced, and as deep. Uses draws from number `first` on. Returns int64 [n, most + 2].
    """
    text = _balanced(draws, first, length, depth, most)
    rest = first + 2 * most
    damaged, how = draws.between(rest, 0, 1) == 1, draws.between(rest + 1, 0, 2)
    everyone = np.arange(len(draws))
    values = np.full((len(draws), most + 2), EMPTY, np.int64)
    values[:, 0] = ~damaged
    values[:, 1:-1] = text
    append = damaged & (how == 0)
    values[everyone[append], 1 + length[append]] = draws.between(rest + 2, 0, 2 * _KINDS - 1)[append]
    flip = damaged & (how == 1)
    place = draws.between(rest + 3, 0, length - 1)
    values[everyone[flip], 1 + place[flip]] ^= 1
    drop = damaged & (how == 2)
    _drop(values, everyone[drop], draws.between(rest + 4, 0, length // 2 - 1))
    return values


def _balanced(draws: Counted, first: int, length: Int64, depth: Int64, most: int) -> Int64:
    """Walk up and down at random, but up where the depth could not be reached any more, and down to end at zero."""
    rows = np.arange(len(draws))
    ups, kinds = draws.table(first, most, 0, 1) == 1, draws.table(first + most, most, 0, _KINDS - 1)
    text = np.full((len(draws), most), EMPTY, np.int64)
    open_kinds = np.zeros((len(draws), most + 1), np.int64)
    height = np.zeros(len(draws), np.int64)
    reached = depth == 0
    for place in range(most):
        left = length - place
        must_rise = (height == 0) | (~reached & (left <= 2 * depth - height))
        rises = (must_rise | ups[:, place]) & (height < depth) & (height < left)
        inside = left > 0
        here = np.where(rises, height, np.maximum(height - 1, 0))
        kind = np.where(rises, kinds[:, place], open_kinds[rows, here])
        open_kinds[rows, here] = kind
        height = np.where(inside, np.where(rises, height + 1, height - 1), height)
        reached |= height == depth
        text[:, place] = np.where(inside, np.where(rises, kind, kind + _KINDS), EMPTY)
    return text


def _drop(values: Int64, rows: Int64, which: Int64) -> None:
    """Take the `which`-th closing bracket out of `rows` of `values`, in place."""
    closing = values[rows, 1:] >= _KINDS
    place = 1 + (np.cumsum(closing, axis=1) == which[rows, None] + 1).argmax(axis=1)
    columns = np.arange(values.shape[1])[None, :]
    source = np.minimum(columns + (columns >= place[:, None]), values.shape[1] - 1)  # the last column is always empty
    values[rows] = values[rows[:, None], source]
