"""The text of a row: the other pairs of its task as examples, then its own input. Pure, and made of the built arrays.

So it shows a task as the row shows it: turned, reflected and recoloured alike. Where a grid lies on its canvas does not
matter. Legend: L cells of a row, N rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.store import Split

TEMPLATE = "arc-1"
"""Version of the text. It is part of every key, so another one shares no vectors with it."""
FIRST_COLOUR = 2
"""The token of colour 0 (`trainer.data.grid.FIRST_COLOUR`, which would load a compiler)."""
INSTRUCTION = "One rule turns every input grid into its output grid. Digits are colours."
REQUEST = "Apply the rule to the test input and write its output grid."
PAIRS_AT_HAND = 4096
"""Pairs whose text is remembered: all those of a task come one after the other."""

Pair = tuple[str, str]
"""Input and output, as text."""


@dataclass(frozen=True)
class Prompt:
    """What is known of a question."""

    examples: tuple[Pair, ...]
    question: str
    feedback: str = ""
    """What is wrong with the last answer."""

    def text(self, left_out: int = 0) -> str:
        """Return the text, without the first `left_out` examples."""
        shown = enumerate(self.examples[left_out:], 1)
        parts = [f"Example {number}:\nInput:\n{one}\nOutput:\n{other}\n" for number, (one, other) in shown]
        said = [f"Your last output grid is wrong: {self.feedback}\n"] if self.feedback else []
        return "\n".join([f"{INSTRUCTION}\n", *parts, f"Test Input:\n{self.question}\n", *said, REQUEST])


def fitted(prompt: Prompt, count: Callable[[str], int], most: int) -> str:
    """Return the text with as many of the last examples as leave it at most `most` long by `count`.

    The question always stays; alone, it may be longer.
    """
    for left_out in range(len(prompt.examples)):
        text = prompt.text(left_out)
        if count(text) <= most:
            return text
    return prompt.text(len(prompt.examples))


def cells_text(grid: npt.NDArray[Any]) -> str:
    """Return a grid of colours 0..9 [h, w] as lines of digits with spaces between them."""
    return "\n".join(" ".join(map(str, row)) for row in grid.tolist())


def tokens_text(row: npt.NDArray[Any]) -> str:
    """Return the grid that a row of tokens [L] shows, as `cells_text` does: the rectangle that has all its colours."""
    side = isqrt(len(row))
    board = np.asarray(row).reshape(side, side).astype(np.int64)
    coloured = board >= FIRST_COLOUR
    down, right = (np.flatnonzero(coloured.any(axis=axis)) for axis in (1, 0))
    if not len(down):
        return ""
    return cells_text(board[down[0] : down[-1] + 1, right[0] : right[-1] + 1] - FIRST_COLOUR)


class Prompts:
    """The prompts of all rows of a data set, by split."""

    def __init__(self, splits: Mapping[str, Split]) -> None:
        """Take the splits `train`, whose pairs are the examples, and any others."""
        self._splits = splits
        identifiers = splits["train"].row_identifiers
        self._blank = splits["train"].metadata.blank_identifier_id
        self._rows = np.argsort(identifiers, kind="stable")
        self._sorted = identifiers[self._rows]
        self._pair = lru_cache(PAIRS_AT_HAND)(self._read_pair)

    def of(self, split: str, row: int) -> Prompt:
        """Return the prompt of a row: all training pairs of its puzzle, but for itself, are examples.

        A row without an identifier has none: nothing says which rows are of the same task.
        """
        identifier = int(self._splits[split].row_identifiers[row])
        question, answer = self._pair(split, row)
        if identifier == self._blank:
            return Prompt((), question)
        first, after = np.searchsorted(self._sorted, [identifier, identifier + 1])
        pairs: Sequence[Pair] = [self._pair("train", int(other)) for other in self._rows[first:after]]
        if split == "train":  # neither itself nor a pair like it: the answer would be in the prompt
            pairs = [pair for pair in pairs if pair != (question, answer)]
        return Prompt(tuple(pairs), question)

    def _read_pair(self, split: str, row: int) -> Pair:
        found = self._splits[split]
        return tokens_text(found.inputs[row]), tokens_text(found.labels[row])
