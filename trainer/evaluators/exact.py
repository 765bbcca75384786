"""Scores of rows that have one right answer: every cell right, cells right, and what the q-head knew about it.

Legend: `n` rows, `M` supervision steps.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 10


@dataclass(frozen=True)
class Solved:
    """How every row went. After a row left early, its numbers stay what they were."""

    exact: npt.NDArray[np.bool_]
    """Whether every labelled cell was right, [n, M], after each supervision step."""
    accuracy: npt.NDArray[np.float32]
    """Part of the labelled cells that were right, [n, M]."""
    q_halt: npt.NDArray[np.float32]
    """The q-head's logit for "my answer is right", [n, M]."""
    steps: npt.NDArray[np.int32]
    """Supervision steps that were worked, [n]."""
    predictions: dict[int, npt.NDArray[np.int32]]
    """Predicted cells [L] after the last step, of the rows that were asked for, by row of the split."""


def scores(solved: Solved) -> dict[str, Any]:
    """Return the scores as plain numbers and lists; an empty set has only its count."""
    rows = len(solved.steps)
    if rows == 0:
        return {"count": 0}
    exact, probability = solved.exact[:, -1], _sigmoid(solved.q_halt[:, -1])
    return {
        "count": rows,
        "exact_accuracy": float(exact.mean()),
        "accuracy": float(solved.accuracy[:, -1].mean()),
        "steps": float(solved.steps.mean()),
        "exact_accuracy_by_step": solved.exact.mean(0).tolist(),
        "accuracy_by_step": solved.accuracy.mean(0).tolist(),
        "q_halt_accuracy": float(((probability >= 0.5) == exact).mean()),
        "calibration": calibration(probability, exact),
    }


def calibration(probability: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return how often rows were right, by the probability [n] the q-head gave, and the expected calibration error."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    bins = []
    for index in np.unique(place):
        members = place == index
        bins.append(
            {
                "count": int(members.sum()),
                "predicted": float(probability[members].mean()),
                "observed": float(right[members].mean()),
            }
        )
    error = sum(entry["count"] * abs(entry["predicted"] - entry["observed"]) for entry in bins) / len(right)
    return {"bins": bins, "expected_error": float(error)}


def _sigmoid(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-x.astype(np.float64))), dtype=np.float32)
