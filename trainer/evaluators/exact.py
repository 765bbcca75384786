"""Scores of rows that have one right answer: every cell right, cells right, and what the q-head knew about it.

Legend: `n` rows, `M` supervision steps, `K` rollouts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluators.intervals import of_rows
from trainer.evaluators.select import Selection, calls_and_scores

BINS = 10
Losses = tuple[dict[str, float], int]
"""Sums of losses, and the number of a row's steps that they are of."""


@dataclass(frozen=True)
class Rollouts:
    """How every rollout of every row ended, each [n, K] but `chosen`."""

    exact: npt.NDArray[np.bool_]
    accuracy: npt.NDArray[np.float32]
    q_halt: npt.NDArray[np.float32]
    steps: npt.NDArray[np.int32]
    answers: npt.NDArray[np.int64]
    """Names of answers: equal ones are equal."""
    chosen: npt.NDArray[np.int64]
    """The rollout whose answer was taken, [n]."""
    by: Selection


@dataclass(frozen=True)
class Solved:
    """How every row went, without noise. After a row left early, its numbers stay what they were."""

    exact: npt.NDArray[np.bool_]
    """Whether every labelled cell was right, [n, M], after each supervision step."""
    accuracy: npt.NDArray[np.float32]
    """Part of the labelled cells that were right, [n, M]."""
    q_halt: npt.NDArray[np.float32]
    """The q-head's logit for "my answer is right", [n, M]."""
    steps: npt.NDArray[np.int32]
    """Supervision steps that were worked, [n]."""
    predictions: dict[int, npt.NDArray[np.int32]]
    """The answer taken [L], of the rows that were asked for, by row of the split."""
    rollouts: Rollouts | None = None
    """None where every row was worked on once."""
    losses: Losses = ({}, 0)
    """Over all steps of all rows, and of all rollouts."""

    def taken(self, name: str) -> npt.NDArray[Any]:
        """Return `exact`, `accuracy` or `q_halt` of the answer that was taken, [n]."""
        if self.rollouts is None:
            last: npt.NDArray[Any] = getattr(self, name)[:, -1]
            return last
        chosen: npt.NDArray[Any] = getattr(self.rollouts, name)[np.arange(len(self.steps)), self.rollouts.chosen]
        return chosen


def scores(solved: Solved, groups: npt.NDArray[np.int64] | None = None) -> dict[str, Any]:
    """Return the scores as plain numbers and lists; an empty set has only its count.

    `groups` [n] says which rows belong together (variants of a task): with it comes an interval. The scores by step are
    those of the first rollout, which has no noise; the others are those of the answer that was taken.
    """
    rows = len(solved.steps)
    if rows == 0:
        return {"count": 0}
    exact, probability = solved.taken("exact"), _sigmoid(solved.taken("q_halt"))
    return {
        "count": rows,
        "exact_accuracy": float(exact.mean()),
        **({} if groups is None else {"interval": of_rows(exact, groups)}),
        "accuracy": float(solved.taken("accuracy").mean()),
        "steps": float(solved.steps.mean()),
        "compute": compute(solved),
        "exact_accuracy_by_step": solved.exact.mean(0).tolist(),
        "accuracy_by_step": solved.accuracy.mean(0).tolist(),
        "q_halt_accuracy": float(((probability >= 0.5) == exact).mean()),
        "calibration": calibration(probability, exact),
        **halting(solved.q_halt),
        **{name: value / solved.losses[1] for name, value in solved.losses[0].items()},
    }


def halting(q_halt: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return when the q-head, whose logits are `q_halt` [n, M], would have halted rows: the part of them by each step.

    And the step in the mean; M for a row that it would not halt.
    """
    wants = np.maximum.accumulate(q_halt > 0, axis=1)
    depth = np.where(wants[:, -1], wants.argmax(axis=1) + 1, q_halt.shape[1])
    return {"halt_depth": float(depth.mean()), "halted_by_depth": wants.mean(0).tolist()}


def log_line(found: dict[str, Any]) -> dict[str, Any]:
    """Return of the scores `found` what a line of log has of an evaluation during training; see `trmkit.metrics`."""
    line = {"count": found["count"]}
    if not found["count"]:
        return line
    names = ("exact_accuracy", "accuracy", "steps", "q_halt_accuracy", "halt_depth", "halted_by_depth")
    line |= {name: found[name] for name in names}
    line |= {name: value for name, value in found.items() if name.endswith("loss")}
    line |= {
        "accuracy_by_depth": found["accuracy_by_step"],
        "exact_accuracy_by_depth": found["exact_accuracy_by_step"],
        "q_halt_calibration_error": found["calibration"]["expected_error"],
    }
    bins: list[dict[str, Any]] = [{} for _ in range(BINS)]
    for entry in found["calibration"]["bins"]:
        bins[entry["bin"]] = entry
    return line | {
        f"q_halt_{name}": [entry.get(key, empty) for entry in bins]
        for name, key, empty in (("predicted", "predicted", None), ("observed", "observed", None), ("rows", "count", 0))
    }


def compute(solved: Solved) -> list[dict[str, Any]]:
    """Return accuracy against calls of the network per row: after each step once, then after all with 1, 2, 4, ..."""
    by_step = [
        {"steps": step, "rollouts": 1, "calls": float(np.minimum(solved.steps, step).mean()), "exact_accuracy": exact}
        for step, exact in enumerate(solved.exact.mean(0).tolist(), 1)
    ]
    if solved.rollouts is None:
        return by_step
    r, last = solved.rollouts, solved.exact.shape[1]
    return by_step + [
        {"steps": last, **entry} for entry in calls_and_scores(r.exact, r.q_halt, r.answers, r.steps, r.by)
    ]


def calibration(probability: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return how often rows were right, by the probability [n] the q-head gave, and the expected calibration error.

    Of the `BINS` equal parts of 0..1 only those with rows are returned.
    """
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    bins = []
    for index in np.unique(place):
        members = place == index
        bins.append(
            {
                "bin": int(index),
                "count": int(members.sum()),
                "predicted": float(probability[members].mean()),
                "observed": float(right[members].mean()),
            }
        )
    error = sum(entry["count"] * abs(entry["predicted"] - entry["observed"]) for entry in bins) / len(right)
    return {"bins": bins, "expected_error": float(error)}


def _sigmoid(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-x.astype(np.float64))), dtype=np.float32)
