"""Which rows of the test set are scored: all, or an even part of which every task is whole."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.data.augment import SEPARATOR
from trainer.data.manifest import Grid
from trainer.data.sampler import evenly, original_rows
from trainer.data.store import Split
from trainer.evaluators import Indices
from trmkit.errors import SpecError
from trmkit.spec.run import RunFile
from trmkit.spec.tree import did_you_mean

VOTING = ("arc",)
"""Kinds of grids where the rows of a task give one answer together: a part of them would be another score."""


@dataclass(frozen=True)
class Part:
    """What was asked for on the command line; nothing asks for what the run file says."""

    sample: int | None = None
    """So many rows, or whole tasks where these vote."""
    tasks: tuple[str, ...] = ()
    """Names of tasks."""
    suites: tuple[str, ...] = ()
    """Suites that a language model is scored by."""

    def __bool__(self) -> bool:
        return self.sample is not None or bool(self.tasks or self.suites)


@dataclass(frozen=True)
class Scope:
    """What is scored."""

    rows: Indices
    unit: str
    """`rows` or `tasks`."""
    scored: int
    """Units that are scored,"""
    total: int
    """of so many in the test set."""

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self.scored == self.total

    def as_json(self) -> dict[str, Any]:
        """Return it for eval.json."""
        return {"unit": self.unit, "scored": self.scored, "total": self.total}


def test_rows(run: RunFile, split: Split) -> Indices:
    """Return the test rows there are to score, in the order of the split."""
    return np.arange(len(split), dtype=np.int64) if run.evaluate.augmented else original_rows(split, len(split))


def groups_of(split: Split, rows: Indices) -> Indices:
    """Return the group (puzzle of the source with its variants) that each of `rows` belongs to, by its number."""
    puzzles = np.searchsorted(split.puzzle_indices, rows, side="right") - 1
    groups: Indices = np.searchsorted(split.group_indices, puzzles, side="right") - 1
    return groups


def choose(run: RunFile, split: Split, grid: Grid, names: list[str], part: Part) -> Scope:
    """Return what is scored at the end: a task that votes is taken with all its rows, or not at all.

    SpecError: a task is asked for that is not there.
    """
    if part.suites:
        raise SpecError("--suite: puzzles have no suites; language models do", next="leave --suite out")
    rows, most = test_rows(run, split), run.evaluate.final_sample if part.sample is None else part.sample
    if grid.kind not in VOTING:
        if part.tasks:
            raise SpecError("--tasks: the rows of this data set belong to no named tasks", next="use --sample")
        chosen = rows if most is None else evenly(rows, most)
        return Scope(chosen, "rows", len(chosen), len(rows))
    groups = groups_of(split, rows)
    wanted = every = np.unique(groups)
    if part.tasks:
        wanted = _numbers(split, names, part.tasks)
    if most is not None:
        wanted = evenly(wanted, most)
    return Scope(rows[np.isin(groups, wanted)], "tasks", len(wanted), len(every))


def _numbers(split: Split, names: list[str], tasks: tuple[str, ...]) -> Indices:
    """Return the groups of the tasks of these names."""
    first = split.puzzle_identifiers[split.group_indices[:-1]].tolist()
    number = {names[identifier].split(SEPARATOR)[0]: group for group, identifier in enumerate(first)}
    unknown = [task for task in tasks if task not in number]
    if unknown:
        listed = ", ".join(f"{task!r}{did_you_mean(task, number)}" for task in unknown)
        raise SpecError(
            f"--tasks: the test set holds no task {listed}",
            next=f"it holds {len(number)} tasks, such as {', '.join(sorted(number)[:3])}",
        )
    return np.unique([number[task] for task in tasks])
