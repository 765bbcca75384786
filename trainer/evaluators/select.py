"""Which of several answers to a row is taken: the one the q-head is surest of, or the one found most often.

Legend: n rows, K rollouts of each.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainer.data.compiled import compiled

Selection = Literal["q_halt", "vote"]


def select(
    q_halt: npt.NDArray[np.float32], answers: npt.NDArray[np.int64], first: int, by: Selection
) -> npt.NDArray[np.int64]:
    """Return the rollout taken for each row [n] among its `first` ones.

    `q_halt` [n, K] are the q-head's logits, `answers` [n, K] names of answers: equal ones are equal. By vote the most
    frequent answer wins, among equally frequent ones that of the highest logit; taken is its surest rollout. Of equal
    ones the earliest is taken.
    """
    if by == "q_halt":
        surest: npt.NDArray[np.int64] = np.argmax(q_halt[:, :first], axis=1)
        return surest
    chosen = np.zeros(len(q_halt), np.int64)
    _elect(np.ascontiguousarray(q_halt[:, :first]), np.ascontiguousarray(answers[:, :first]), chosen)
    return chosen


@compiled
def _elect(q_halt: npt.NDArray[np.float32], answers: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]) -> None:
    for row in range(len(q_halt)):
        most = 0
        for one in range(q_halt.shape[1]):
            votes = 0
            for other in range(q_halt.shape[1]):
                votes += answers[row, one] == answers[row, other]
            surer = q_halt[row, one] > q_halt[row, chosen[row]]
            if votes > most or (votes == most and surer):
                most, chosen[row] = votes, one


def calls_and_scores(
    exact: npt.NDArray[np.bool_],
    q_halt: npt.NDArray[np.float32],
    answers: npt.NDArray[np.int64],
    steps: npt.NDArray[np.int32],
    by: Selection,
) -> list[dict[str, Any]]:
    """Return what the first 1, 2, 4, ... of K rollouts [n, K] would have cost and given: one evaluation tells all."""
    total, found = exact.shape[1], []
    for first in sorted({2**power for power in range(total.bit_length()) if 2**power < total} | {total}):
        chosen = select(q_halt, answers, first, by)
        found.append(
            {
                "rollouts": first,
                "calls": float(steps[:, :first].sum(1).mean()),
                "exact_accuracy": float(exact[np.arange(len(exact)), chosen].mean()),
            }
        )
    return found
