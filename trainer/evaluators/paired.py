"""Differences between two models on the same items, with intervals.

Legend: `S` seeds, `n` items of a condition, `R` resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.data.draws import generator
from trmkit.errors import DataError

RESAMPLES = 4_000

Right = dict[str, npt.NDArray[np.bool_]]
"""Condition -> which of its items were answered right, [n]."""
Gaps = npt.NDArray[np.float64]


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

    A pair has the same seed; all have the same items. The score is the mean over conditions. The interval covers that
    other items could have been asked, by a paired bootstrap (Efron 1979) that draws the same items for all seeds, and
    that other seeds could have been trained, by Student's t of the seeds' differences: drawing three seeds again would
    give the range of three numbers, which is too narrow by far. Of one seed it covers the items alone.
    DataError: items of a condition are not the same in all.
    """
    names = sorted(set.intersection(*(set(side) for pair in pairs for side in pair))) if pairs else []
    if not names:
        return None
    by_condition = [_gaps(name, pairs) for name in names]
    by_seed = np.mean([gaps.mean(axis=1) for gaps in by_condition], axis=0)
    draw, seeds = generator(0, "paired", len(pairs)), len(pairs)
    means = np.mean([_resampled(gaps.mean(axis=0), draw) for gaps in by_condition], axis=0)
    if seeds > 1:
        means += by_seed.std(ddof=1) / seeds**0.5 * draw.standard_t(seeds - 1, RESAMPLES)
    low, high = np.quantile(means.clip(-1, 1), (0.025, 0.975)).tolist()  # no two scores differ by more
    return Difference(float(by_seed.mean()), low, high, seeds)


def _gaps(name: str, pairs: Sequence[tuple[Right, Right]]) -> Gaps:
    """Return what the first of each pair has right more than the second, [S, n], each -1, 0 or 1."""
    sides = [side[name] for pair in pairs for side in pair]
    if len({len(side) for side in sides}) > 1:
        counts = ", ".join(str(len(side)) for side in sides)
        raise DataError(
            f"{name}: runs were scored on different items ({counts} of them)",
            next="score them all again with the same run file: trmctl evaluate",
        )
    return np.stack([first[name].astype(np.float64) - second[name] for first, second in pairs])


def _resampled(gaps: Gaps, draw: np.random.Generator) -> Gaps:
    """Return the mean of `gaps` [n] with items drawn again, [R].

    Only so many values come, so drawing items is drawing how often each value comes.
    """
    values, counts = np.unique(gaps, return_counts=True)
    drawn = draw.multinomial(len(gaps), counts / len(gaps), size=RESAMPLES)
    return np.asarray(drawn @ values / len(gaps))
