"""What a rung has to show to win against the baseline, and whether it did."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trainer.evaluators.paired import Difference, Right, difference
from trmkit.ladder import CLAIM

Status = Literal["met", "not met", "not shown", "not measured"]
BETTER = 0.05
"""How much more of the items in distribution a winner answers right."""
SLOWER = 2.0
"""Training time that a winner takes at most, relative to the baseline."""
WORSE_BITS = 1.1
"""Bits per byte that a winner has at most, relative to the baseline."""
REPEATS = 0.1
"""How much more of what it writes a winner repeats at most, in parts of 1."""


@dataclass(frozen=True)
class Criterion:
    """One thing that a winner has to show."""

    name: str
    asks: str
    status: Status
    said: str
    difference: dict[str, float | int] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"asks": self.asks, "status": self.status, "said": self.said, "difference": self.difference}


def criteria(mine: Mapping[int, Any], baseline: Mapping[int, Any], measured: Mapping[str, Any]) -> list[Criterion]:
    """Return the four criteria for a rung whose results by seed are `mine`, against those of the `baseline`."""
    pairs = pairs_of(mine, baseline)
    inside = difference([(right(a, iid=True), right(b, iid=True)) for a, b in pairs])
    outside = difference([(right(a, iid=False), right(b, iid=False)) for a, b in pairs])
    return [
        _accuracy("C1", f"in distribution at least {100 * BETTER:.0f} points more right", inside, BETTER),
        _accuracy("C2", "out of distribution more right", outside, 0.0),
        _time(measured),
        _language([first for first, _ in pairs], [second for _, second in pairs]),
    ]


def pairs_of(mine: Mapping[int, Any], baseline: Mapping[int, Any]) -> list[tuple[Any, Any]]:
    """Return the results of the seeds that both have."""
    return [(mine[seed], baseline[seed]) for seed in sorted(set(mine) & set(baseline))]


def right(results: Mapping[str, Any], *, iid: bool) -> Right:
    """Return which items were answered right, by condition."""
    return {
        f"{one['task']} {one['condition']}": np.array([bit == "1" for bit in one["right"]])
        for one in results["algorithmic"]["conditions"]
        if one["iid"] is iid
    }


def points(gap: Difference) -> str:
    """Return a difference in words."""
    return f"{100 * gap.mean:+.1f} points (95 % interval {100 * gap.low:+.1f} to {100 * gap.high:+.1f})"


def _accuracy(name: str, asks: str, gap: Difference | None, least: float) -> Criterion:
    if gap is None:
        return Criterion(name, asks, "not measured", "no seed was trained with both")
    status: Status = "not shown"
    if gap.shown:
        status = "met" if gap.low > 0 and gap.mean >= least else "not met"
    return Criterion(name, asks, status, points(gap), gap.as_json())


def _time(measured: Mapping[str, Any]) -> Criterion:
    asks, time, flops = f"at most {SLOWER:g} times the training time", measured.get("time"), measured.get("flops_ratio")
    if time is None:
        return Criterion("C3", asks, "not measured", "no seed was trained with both")
    if not measured.get("one_device"):
        return Criterion("C3", asks, "not measured", "not all of these runs were made on the same device")
    operations = f", {flops:.2f} times the operations" if flops else ""
    return Criterion("C3", asks, "met" if time <= SLOWER else "not met", f"{time:.2f} times the time{operations}")


def _language(results: list[dict[str, Any]], baseline: list[dict[str, Any]]) -> Criterion:
    asks = f"at most {WORSE_BITS:g} times the bits per byte, and text that does not repeat itself"
    ours, theirs = (_mean(found, "bits_per_byte") for found in (results, baseline))
    if ours is None or theirs is None:
        whose = "its" if ours is None else "the baseline's"
        return Criterion("C4", asks, "not measured", f"{whose} perplexity was not scored")
    ratio = ours / theirs
    said = f"{ratio:.3f} times the bits per byte ({ours:.3f} against {theirs:.3f})"
    ours_again, theirs_again = (_repetition(found) for found in (results, baseline))
    collapsed = ours_again is not None and theirs_again is not None and ours_again > theirs_again + REPEATS
    if ours_again is not None and theirs_again is not None:
        said += f", repeats {100 * ours_again:.0f} % against {100 * theirs_again:.0f} %"
    return Criterion("C4", asks, "met" if ratio <= WORSE_BITS and not collapsed else "not met", said)


def _mean(found: list[dict[str, Any]], key: str) -> float | None:
    known = [one["ppl"][key] for one in found if key in (one.get("ppl") or {})]
    return sum(known) / len(known) if known else None


def _repetition(found: list[dict[str, Any]]) -> float | None:
    texts = [(one.get("ppl") or {}).get("repetition") or {} for one in found]
    known = [text["generated"] for text in texts if "generated" in text]
    return sum(known) / len(known) if known else None


def verdict(checks: list[Criterion], seeds: int) -> str:
    """Return what is to be said of a rung: wins, does not win, or not shown, and why."""
    by_status: dict[str, list[str]] = {}
    for check in checks:
        by_status.setdefault(check.status, []).append(check.name)
    few = f"; {seeds} of the {CLAIM} seeds that a claim needs" if seeds < CLAIM else ""
    if failed := by_status.get("not met"):
        return f"does not win: {', '.join(failed)} not met{few}"
    if unsure := by_status.get("not shown"):
        return f"not shown: the interval of {', '.join(unsure)} covers zero{few}"
    if unknown := by_status.get("not measured"):
        return f"not shown: {', '.join(unknown)} not measured{few}"
    return f"not shown: all four met, but{few.removeprefix(';')}" if few else "wins: all four met"
