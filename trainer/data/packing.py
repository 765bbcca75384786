"""Documents put into rows, whole, in their order.

Legend: `n` documents, `N` rows, `L` places of a row. A document of m tokens takes m - 1 places: the last is only a
label.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.data.counter import Int64
from trainer.data.language import IGNORED
from trainer.data.store import Int32

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Documents:
    """Documents of tokens, of which the part behind the prompt is learned."""

    tokens: Int32
    """Of all of them, in any order."""
    starts: Int64
    """Where each begins in `tokens`, [n]."""
    lengths: Int64
    """Tokens of each, with the first and the last one, [n]."""
    prompts: Int64
    """Tokens of its prompt, with the first one, [n]."""


@dataclass(frozen=True)
class Rows:
    """What a language model is trained with, [N, L] each; see `trainer.models.text`."""

    inputs: Int32
    labels: Int32
    documents: Int32
    prompt_ends: Bool

    @classmethod
    def empty(cls, count: int, seq_len: int, pad: int) -> "Rows":
        """Return rows of nothing but padding."""
        shape = (count, seq_len)
        filled = np.full(shape, pad, np.int32), np.full(shape, IGNORED, np.int32)
        return cls(*filled, np.zeros(shape, np.int32), np.zeros(shape, np.bool_))


def pack(lengths: Int64, rows: int, seq_len: int) -> tuple[Int64, int]:
    """Put documents of `lengths` [n] into `rows` rows, each as many as fit, in order.

    Returns where the documents of each row begin, int64 [rows + 1], and how many places were left over for want of
    documents (0: there were enough).
    """
    ends = np.cumsum(lengths - 1)
    bounds = np.zeros(rows + 1, np.int64)
    for row in range(rows):
        first = bounds[row]
        before = ends[first - 1] if first else 0
        bounds[row + 1] = np.searchsorted(ends, before + seq_len, side="right")
        if bounds[row + 1] == len(lengths):
            return bounds, int(before + (rows - row) * seq_len - ends[-1])
    return bounds, 0


def place(into: Rows, documents: Documents, chosen: Int64, rows: Int64, first: Bool) -> None:
    """Write the `chosen` documents [n] into `rows` [n], in place.

    `first` [n] says that a document is the first of its row; those of a row come one after the other.
    """
    if not len(chosen):
        return
    taken = documents.lengths[chosen] - 1
    ends = np.cumsum(taken)
    heads = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    columns = ends - taken - (ends - taken)[heads][group]
    number = np.arange(len(chosen)) - heads[group]
    seq_len = into.inputs.shape[1]
    within = np.arange(int(ends[-1])) - np.repeat(ends - taken, taken)
    source = np.repeat(documents.starts[chosen], taken) + within
    target = np.repeat(rows * seq_len + columns, taken) + within
    into.inputs.reshape(-1)[target] = documents.tokens[source]
    learned = within >= np.repeat(documents.prompts[chosen] - 1, taken)
    into.labels.reshape(-1)[target[learned]] = documents.tokens[source[learned] + 1]
    into.documents.reshape(-1)[target] = np.repeat(number, taken)
    into.prompt_ends.reshape(-1)[rows * seq_len + columns + documents.prompts[chosen] - 1] = True
    last = np.append(heads[1:], len(chosen)) - 1
    filled = columns[last] + taken[last]
    for row, begin, padding in zip(rows[last], filled, number[last] + 1, strict=True):
        into.documents[row, begin:] = padding
