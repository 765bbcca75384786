"""A reader that needs no weights: sequences of words and where they stand in their lines, counted by their hashes.

It tells texts apart and understands nothing, so it shows what a model makes of *any* vector for a task, and serves
tests. It reads from left to right as a language model does: the vector of a token knows all that came before it. All
sums are of whole numbers, so it gives the same bits on every machine. Legend: T tokens, S vectors of a text, F numbers.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.features.readers import Vectors
from trmkit.spec.features import FeaturesSection

VERSION = 1
"""Counted up whenever the same text gives other vectors."""
LONGEST_RUN = 3
"""Words of the longest sequences that are counted."""
IDENTITY = f"hash-{VERSION}"
PLACES = 8
"""Numbers of a vector that one sequence adds to or takes from."""


class HashReader:
    """Counts hashed sequences of words."""

    def __init__(self, section: FeaturesSection, _device: Any = None) -> None:
        """Make vectors of `section.width` numbers."""
        self._section = section
        self.identity = IDENTITY
        self._places = lru_cache(1 << 18)(self._hashed)

    def count(self, text: str) -> int:
        """Return the number of words."""
        return len(text.split())

    def read(self, texts: Sequence[str]) -> Vectors:
        """See `Reader`."""
        return np.stack([self._read(text) for text in texts])

    def _read(self, text: str) -> Vectors:
        section = self._section
        words = [list(seen) for seen in _seen(text)][-section.max_length :]
        if section.pooling in ("last", "mean"):
            weights = range(len(words), 0, -1) if section.pooling == "mean" else repeat(1)
            sums = self._sum(words, weights)[None]
        else:
            kept = min(len(words), section.vectors)
            sums = np.empty((kept, section.width), np.int64)
            before = self._sum(words[: len(words) - kept], repeat(1))
            for place, word in enumerate(words[len(words) - kept :]):
                before = sums[place] = before + self._sum([word], (1,))
        found = np.zeros((section.vectors, section.width), np.float16)
        found[: len(sums)] = _unit(sums)
        return found

    def _sum(self, words: Sequence[list[str]], weights: Iterable[int]) -> npt.NDArray[np.int64]:
        """Return the sum [F] of what the sequences that end at each of `words` [T] add, times the word's weight."""
        total = np.zeros(self._section.width, np.int64)
        counted: dict[str, int] = defaultdict(int)
        for word, weight in zip(words, weights, strict=False):
            for seen in word:
                counted[seen] += weight
        if counted:
            hashed = [self._places(seen) for seen in counted]
            each = np.repeat(np.fromiter(counted.values(), np.int64, len(counted)), PLACES)
            np.add.at(
                total, np.concatenate([places for places, _ in hashed]), each * np.concatenate([s for _, s in hashed])
            )
        return total

    def _hashed(self, seen: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return where in a vector a sequence counts, and whether up or down, [PLACES] each."""
        drawn = np.frombuffer(hashlib.blake2b(seen.encode(), digest_size=8 * PLACES).digest(), "<u8")
        return (drawn >> 1).astype(np.int64) % self._section.width, 2 * (drawn & 1).astype(np.int64) - 1


def _seen(text: str) -> Iterator[list[str]]:
    """Yield for each word what is seen there: it, the words before it in its line, and what stands above it.

    All of it under the last line that ends in a colon, so that examples and the question are told apart.
    """
    heading, above = "", [""]
    for line in text.splitlines():
        words = line.split()
        for place, word in enumerate(words):
            runs = [" ".join(words[max(0, place - back) : place + 1]) for back in range(LONGEST_RUN)]
            over = above[place] if place < len(above) else ""
            yield [f"{heading}|{back}|{run}" for back, run in enumerate(runs)] + [
                f"{heading}|above|{over}|{word}",
                f"{heading}|{place}|{word}",
            ]
        heading, above = (line if line.endswith(":") else heading), words


def _unit(sums: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return vectors [S, F] of root mean square 1: what is counted often counts by the root of it."""
    sizes = np.abs(sums)
    scale = np.sqrt(sizes.sum(axis=1, keepdims=True) / sums.shape[1])
    found: npt.NDArray[np.float64] = np.sign(sums) * np.sqrt(sizes) / np.maximum(scale, np.finfo(np.float64).tiny)
    return found
