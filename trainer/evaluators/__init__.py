"""What solved rows are worth: scores by evaluator.

Every row has scores that need no evaluator (`exact`). What else an answer can be judged by depends on the kind of grid:
an evaluator is one line in `EVALUATORS` and one file beside this one.
Legend: `B` rows, `K` rollouts of each, `L` cells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from trainer.data.manifest import Layout
from trainer.data.store import Split
from trmkit.spec.evaluate import EvaluateSection

Indices = npt.NDArray[np.int64]

EVALUATORS = {
    "arc": "trainer.evaluators.arc_vote:ArcVote",
    "maze": "trainer.evaluators.maze:MazePaths",
    "sudoku": "trainer.evaluators.sudoku:SudokuRules",
}
"""Kind of grid -> the class that judges its answers. Kinds that are not here have their row scores alone."""

COMPARED = {"arc": "trainer.evaluators.grids:GridScores"}
"""Kind of grid -> the class that compares answers with the truth, on training rows, too."""


@dataclass(frozen=True)
class Judged:
    """What an evaluator is told: which rows of which data set are scored, and how."""

    folder: Path
    """The data set."""
    split: Split
    rows: Indices
    """Every row that will be scored, on any process."""
    names: list[str]
    """Of the puzzle identifiers."""
    options: EvaluateSection
    layout: Layout = "edges"
    """Of ARC grids."""


@dataclass(frozen=True)
class Outcome:
    """What an evaluator found."""

    scores: dict[str, Any]
    """Plain JSON; joins the scores of the set."""
    files: dict[str, str] = field(default_factory=dict)
    """Name in the run directory -> text."""
    gallery: list[dict[str, Any]] = field(default_factory=list)
    """Tasks to look at, in the form of `trainer.report.gallery`; empty where single rows are what there is to see."""
    remarks: dict[int, str] = field(default_factory=dict)
    """Row -> what there is to say of its answer beyond right and wrong."""
    summary: str = ""
    """The scores in a line, for people."""


class Taker(Protocol):
    """Takes answers as they come, on every process for itself."""

    def add(self, rows: Indices, answers: npt.NDArray[Any], q_halt: npt.NDArray[np.float32], chosen: Indices) -> None:
        """Take finished rows [B]: `answers` [B, K, L], `q_halt` [B, K], and the rollout chosen for each row [B]."""


class Evaluator(Taker, Protocol):
    """Judges answers as they come; at the end the states of all processes meet."""

    def __init__(self, judged: Judged) -> None:
        """Prepare for the rows of `judged`."""

    def state(self) -> Any:
        """Return what was seen here."""

    def merged(self, states: list[Any]) -> Any:
        """Return what all processes saw; it depends neither on their number nor on the order rows came in."""

    def outcome(self, merged: Any) -> Outcome:
        """Return what came of it."""


@runtime_checkable
class Voting(Evaluator, Protocol):
    """An evaluator whose answers are voted on, so that several checkpoints, or runs, can vote together."""

    def asked(self) -> Any:
        """Return what was asked, in its order: equal of two evaluators whose answers can be counted together."""

    def together(self, rounds: list[Any]) -> dict[str, Any]:
        """Return the scores of all ballots of `rounds` (what `merged` returned for each) in one count."""


class Each:
    """Passes every answer on to several takers."""

    def __init__(self, takers: Sequence[Taker]) -> None:
        self._takers = takers

    def add(self, rows: Indices, answers: npt.NDArray[Any], q_halt: npt.NDArray[np.float32], chosen: Indices) -> None:
        """Pass finished rows on."""
        for taker in self._takers:
            taker.add(rows, answers, q_halt, chosen)


def evaluator_for(kind: str, judged: Judged, table: Mapping[str, str] = EVALUATORS) -> Evaluator | None:
    """Return the evaluator that `table` has for a kind of grid, None where there is none."""
    if kind not in table:
        return None
    module, name = table[kind].split(":")
    return cast(Evaluator, getattr(import_module(module), name)(judged))
