"""Differences between two models on the same items, with intervals.

Legend: `S` seeds, `C` conditions, `n` items of a condition.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.data.draws import generator

RESAMPLES = 2_000

Right = dict[str, npt.NDArray[np.bool_]]
"""Condition -> which of its items were answered right, [n]."""


@dataclass(frozen=True)
class Difference:
    """How much better one model is than another, in parts of 1, with a 95 % interval."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def as_json(self) -> dict[str, float | int]:
        """Return it as plain numbers."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "seeds": self.seeds}


def difference(pairs: Sequence[tuple[Right, Right]]) -> Difference | None:
    """Return how much better the first model of each pair is than the second; None: there is nothing to compare.

    A pair has the same seed and, per condition, the same items. The score is the mean over conditions. The interval is
    a paired bootstrap (Efron 1979) on two levels: seeds are drawn again, and the items within each condition; so it
    covers both that other items could have been asked, and that other seeds could have been trained. Of one seed it
    covers the items alone.
    """
    shared = [sorted(set(first) & set(second)) for first, second in pairs]
    gaps = [
        [first[name].astype(np.float64) - second[name] for name in names]
        for (first, second), names in zip(pairs, shared, strict=True)
        if names
    ]
    if not gaps:
        return None
    draw = generator(0, "paired", len(gaps))
    means = np.empty(RESAMPLES)
    by_seed = [_resampled(one, draw) for one in gaps]
    for index in range(RESAMPLES):
        chosen = draw.integers(0, len(gaps), len(gaps))
        means[index] = np.mean([by_seed[seed][index] for seed in chosen])
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    mean = float(np.mean([np.mean([gap.mean() for gap in one]) for one in gaps]))
    return Difference(mean, low, high, len(gaps))


def _resampled(gaps: Sequence[npt.NDArray[np.float64]], draw: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return the mean over conditions with their items drawn again, `RESAMPLES` times.

    A gap is -1, 0 or 1, so drawing its items again is drawing how often each of these comes.
    """
    total = np.zeros(RESAMPLES)
    for gap in gaps:
        shares = [float((gap == value).mean()) for value in (-1, 0, 1)]
        counts = draw.multinomial(len(gap), np.array(shares) / sum(shares), size=RESAMPLES)
        total += (counts[:, 2] - counts[:, 0]) / len(gap)
    return total / len(gaps)
