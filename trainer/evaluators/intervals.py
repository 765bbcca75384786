"""95 % intervals: how far a score may be from what more tasks of the same sort would give.

Wilson's interval where every value is right or wrong and they are independent; a bootstrap with a fixed seed where a
task's score is a mean, or where the rows of a task rise and fall together.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.draws import generator

Interval = dict[str, Any]
"""`{low, high, method}`."""

Z = 1.959963984540054
"""97.5 % of a unit normal lies below."""

RESAMPLES = 2000


def wilson(successes: int, count: int) -> Interval:
    """Return Wilson's score interval (1927) of a proportion; `count` is at least 1."""
    share, squared = successes / count, Z * Z
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    half = Z / (1 + squared / count) * (share * (1 - share) / count + squared / (4 * count * count)) ** 0.5
    low = middle - half if successes else 0.0  # exactly: rounding must not put the score outside
    high = middle + half if successes < count else 1.0
    return {"low": low, "high": high, "method": "Wilson"}


def of_mean(values: npt.NDArray[np.float64]) -> Interval:
    """Return the interval of the mean of task scores [n] in 0..1: Wilson's if all are 0 or 1, else a bootstrap."""
    if ((values == 0) | (values == 1)).all():
        return wilson(int(values.sum()), len(values))
    return _bootstrap(values, np.ones(len(values)), "bootstrap over tasks")


def of_rows(right: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]) -> Interval:
    """Return the interval of the part of rows that are right [n], which belong to `groups` [n].

    Rows of a group are variants of one task: whole groups are drawn again, not rows as if they were independent.
    """
    _, place = np.unique(groups, return_inverse=True)
    counts = np.bincount(place)
    if counts.max() == 1:
        return wilson(int(right.sum()), len(right))
    if right.all() or not right.any():  # drawn again, that is always the same: no interval at all
        return wilson(len(counts) if right.all() else 0, len(counts))
    return _bootstrap(
        np.bincount(place, weights=right).astype(np.float64), counts.astype(np.float64), "bootstrap over tasks"
    )


def _bootstrap(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], method: str) -> Interval:
    draw = generator(0, "bootstrap", len(sums))
    means = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        drawn = draw.integers(0, len(sums), len(sums))
        means[index] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return {"low": low, "high": high, "method": method}
