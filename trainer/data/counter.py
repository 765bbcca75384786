"""Random numbers by their number: draw `k` of example `i` under a seed is a function of the three, and of nothing else.

So any examples can be made alone, in any order and on any process, many at a time. The function is splitmix64 (Steele,
Lea and Flood, "Fast splittable pseudorandom number generators", 2014) on whole arrays.

Legend: `n` examples.
"""

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

_GAMMA = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1


def mix(words: UInt64) -> UInt64:
    """Return words (uint64, any shape) of which every bit depends on every bit of those given; no two become one."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


@lru_cache(maxsize=4096)
def key_of(seed: int, *purpose: int | str) -> np.uint64:
    """Return a word for what numbers are drawn for."""
    text = "\0".join(str(part) for part in (seed, *purpose))
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


class Counted:
    """The numbers of `n` examples."""

    def __init__(self, base: UInt64) -> None:
        self._base = base

    @classmethod
    def of(cls, key: np.uint64, indices: npt.ArrayLike) -> "Counted":
        """Return the numbers of the examples `indices` [n] (not negative) drawn for what `key` stands for."""
        return cls(mix(mix(np.asarray(indices).astype(np.uint64) + np.uint64(1)) ^ key))

    def __len__(self) -> int:
        return len(self._base)

    def rows(self, chosen: npt.NDArray[np.bool_] | Int64) -> "Counted":
        """Return the numbers of some of the examples."""
        return Counted(self._base[chosen])

    def again(self, attempt: int) -> "Counted":
        """Return other numbers for the same examples; attempt 0 is the first."""
        return Counted(mix(self._base ^ np.uint64(attempt * _GAMMA & _WORD))) if attempt else self

    def words(self, first: int, count: int) -> UInt64:
        """Return draws `first` .. `first + count - 1` of every example, uint64 [n, count]."""
        steps = [(first + k + 1) * _GAMMA & _WORD for k in range(count)]
        return mix(self._base[:, None] + np.array(steps, np.uint64)[None, :])

    def fractions(self, k: int) -> Float64:
        """Return draw `k` of every example as a number in [0, 1), float64 [n]."""
        return (self.words(k, 1)[:, 0] >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def between(self, k: int, low: npt.ArrayLike, high: npt.ArrayLike) -> Int64:
        """Return draw `k` of every example as a whole number in low..high [n] (fewer than 2**32 of them), int64 [n]."""
        return scaled(self.words(k, 1)[:, 0], low, high)

    def table(self, first: int, count: int, low: npt.ArrayLike, high: npt.ArrayLike) -> Int64:
        """Return draws `first` .. `first + count - 1` as whole numbers in low..high [n or 1], int64 [n, count]."""
        lows, highs = (np.asarray(limit, np.int64).reshape(-1, 1) for limit in (low, high))
        return scaled(self.words(first, count), lows, highs)


def scaled(words: UInt64, low: npt.ArrayLike, high: npt.ArrayLike) -> Int64:
    """Return words as whole numbers in low..high, evenly to one part in 2**32 over their count."""
    lows = np.asarray(low, np.int64)
    counts = (np.asarray(high, np.int64) - lows + 1).astype(np.uint64)
    return lows + (((words >> np.uint64(32)) * counts) >> np.uint64(32)).astype(np.int64)


def permuted(places: Int64, count: int, key: np.uint64) -> Int64:
    """Return where a random permutation of 0..count-1 puts `places` [n]: a Feistel network, with no table of it.

    Numbers that it puts at `count` or beyond are put again, until all are below.
    """
    half = max(1, (int(count - 1).bit_length() + 1) // 2)
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    found = places.astype(np.uint64)
    outside = np.ones(len(found), np.bool_)
    while outside.any():
        left, right = found[outside] >> shift, found[outside] & mask
        for turn in range(4):
            left, right = right, left ^ (mix((right + np.uint64(turn << 40)) ^ key) & mask)
        found[outside] = (left << shift) | right
        outside = found >= np.uint64(count)
    return found.astype(np.int64)
