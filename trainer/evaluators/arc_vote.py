"""ARC: every variant of a task gives its answer a vote, and the first answers by votes are the attempts.

The rule is the reference's (`evaluators/arc.py`, behaviour): crop the answer, undo the variant, count equal grids for
the same test input, rank by (votes, mean probability of the q-head); pass@k is the truth among the first k, averaged
over the test inputs of a task and then over tasks. Unlike there, a score never holds votes of another checkpoint.
Legend: B rows, K rollouts, L cells; a question is a test input of a task, P pairs (test inputs with their truth).
"""

import json
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.augment import INVERSE_TURN
from trainer.data.grid import UNCHANGED, canonical, crop_all, encode
from trainer.data.kernels import restore
from trainer.data.sampler import evenly
from trainer.data.store import read_json
from trainer.evaluators import Indices, Judged, Outcome
from trainer.evaluators.ballots import Ballots, Candidates, Ranking, joined, ranked, sorted_by_row
from trainer.evaluators.intervals import of_mean
from trainer.evaluators.vote_kernels import NO_NUMBER, TAIL, Numbers, collect_cells, read_names
from trmkit.errors import DataError

UInt8 = npt.NDArray[np.uint8]
Shapes = npt.NDArray[np.int64]

MOST_SHOWN = 2
"""Answers shown for a test input."""


class ArcVote:
    """Collects votes. It keeps distinct grids and ballots, not the answers."""

    def __init__(self, judged: Judged) -> None:
        self._split, self._options = judged.split, judged.options
        self._canvas, self._layout = isqrt(judged.split.metadata.seq_len), judged.layout
        puzzles = read_json(judged.folder / "test_puzzles.json")
        self._variants = Variants(judged, puzzles)
        self.tasks = self._variants.tasks
        self._puzzles = {name: puzzles[name] for name in self.tasks}
        self._prepare_questions()
        self._rows: list[Indices] = []
        self._rollouts: list[Indices] = []
        self._votes: list[Indices] = []
        self._q_halt: list[npt.NDArray[np.float32]] = []

    def _prepare_questions(self) -> None:
        """Give test inputs numbers, and enter every truth as a candidate without a vote: its number is known then."""
        pairs = [(name, pair) for name in self.tasks for pair in self._puzzles[name]["test"]]
        number = {name: index for index, name in enumerate(self.tasks)}
        self._pair_tasks = np.array([number[name] for name, _ in pairs], np.int64)
        inputs, outputs = (
            np.stack([encode(np.array(pair[side], np.uint8), self._canvas) for _, pair in pairs])
            for side in ("input", "output")
        )
        plain = np.zeros(len(pairs), np.int64), np.tile(UNCHANGED, (len(pairs), 1))
        self._questions, self._known = Numbers(), Numbers()
        self._pair_questions = self._questions.enter(restored(inputs, self._pair_tasks, *plain)[2])
        self._new: list[tuple[npt.NDArray[np.void], Indices, Shapes, UInt8]] = []
        self._truths = self._enter(outputs, self._pair_questions, *plain)

    def add(self, rows: Indices, answers: npt.NDArray[Any], q_halt: npt.NDArray[np.float32], chosen: Indices) -> None:
        """Let every rollout of every row vote; rows without an identifier belong to no task."""
        named = self._variants.task[self._split.row_identifiers[rows]] >= 0
        rows, answers, q_halt = rows[named], answers[named], q_halt[named]
        if not len(rows):
            return
        rollouts = answers.shape[1]
        turns, colours, questions = self._variant_and_question(rows)
        each = np.repeat(np.arange(len(rows)), rollouts)
        shown = canonical(answers.reshape(len(each), -1), self._layout)
        votes = self._enter(shown, questions[each], turns[each], colours[each])
        self._votes.append(votes)
        self._rows.append(rows[each])
        self._rollouts.append(np.tile(np.arange(rollouts), len(rows)))
        self._q_halt.append(q_halt.ravel())

    def _variant_and_question(self, rows: Indices) -> tuple[Indices, UInt8, Indices]:
        identifiers = self._split.row_identifiers[rows]
        turns, colours = self._variants.turns[identifiers], self._variants.colours[identifiers]
        inputs = canonical(np.asarray(self._split.inputs[rows]), self._layout)
        questions = self._questions.of(restored(inputs, self._variants.task[identifiers], turns, colours)[2])
        for row in rows[questions == NO_NUMBER][:1].tolist():
            raise DataError(
                f"test row {row}: its input is no test input of its task in test_puzzles.json",
                next="build the data set again",
            )
        return turns, colours, questions

    def _enter(self, answers: npt.NDArray[Any], questions: Indices, turns: Indices, colours: UInt8) -> Indices:
        """Return the number of the candidate that each answer [n, L] is, with new numbers for those not seen yet."""
        grids, shapes, keys = restored(answers, questions, turns, colours)
        before = len(self._known)
        numbers = self._known.enter(keys)
        highest = np.maximum.accumulate(np.concatenate(([before - 1], numbers)))
        first = np.flatnonzero(numbers > highest[:-1])  # new numbers count up from `before` on
        areas = shapes[first].prod(axis=1)
        cells = np.empty(int(areas.sum()), np.uint8)
        collect_cells(grids, first, areas, cells)
        names = keys[first].view("V16").ravel()
        self._new.append((names, questions[first], shapes[first], cells))
        return numbers

    def state(self) -> Ballots:
        """Return the ballots that came here, and what they are for."""
        keys, questions, shapes, cells = (np.concatenate(parts) for parts in zip(*self._new, strict=True))
        areas = shapes.prod(axis=1)
        none = np.empty(0, np.int64)
        return Ballots(
            np.concatenate([none, *self._rows]),
            np.concatenate([none, *self._rollouts]),
            np.concatenate([none, *self._votes]),
            np.concatenate([np.empty(0, np.float32), *self._q_halt]),
            Candidates(keys, questions, shapes, np.cumsum(areas) - areas, cells),
        )

    def merged(self, states: list[Ballots]) -> Ballots:
        """Return the ballots of all processes in the order of rows and rollouts."""
        return sorted_by_row(joined(states))

    def outcome(self, merged: Ballots) -> Outcome:
        """Return pass@k with all votes and of the unaugmented rows alone, the submission, and tasks to look at."""
        ranking = ranked(merged, len(self._questions))
        first = self._variants.plain[self._split.row_identifiers[merged.rows]] & (merged.rollouts == 0)
        voting = {
            "tasks": len(self.tasks),
            "test_inputs": len(self._pair_tasks),
            "ballots": len(merged.votes),
            **self.passed(ranking),
            "single_pass": self.passed(ranked(merged.of(first), len(self._questions)), (1,)) if first.any() else None,
        }
        return Outcome(
            {"voting": voting},
            {"submission.json": json.dumps(self.submission(merged.candidates, ranking))},
            self._gallery(merged, ranking),
            summary=", ".join(f"pass@{k} {share:.4f}" for k, share in voting["pass_at"].items()),
        )

    def asked(self) -> Any:
        """Return the tasks in their order, with their pairs."""
        return self.tasks, self._puzzles

    def together(self, rounds: list[Ballots]) -> dict[str, Any]:
        """Return pass@k of the ballots of several checkpoints, the oldest checkpoint's first, or of several runs."""
        ballots = joined(rounds)
        return {"ballots": len(ballots.votes), **self.passed(ranked(ballots, len(self._questions)))}

    def passed(self, ranking: Ranking, ks: tuple[int, ...] | None = None) -> dict[str, Any]:
        """Return `pass_at` and their `intervals` by k: the mean over tasks of the share of their test inputs solved."""
        pass_at, intervals = {}, {}
        inputs = np.bincount(self._pair_tasks)
        for k in ks or self._options.pass_ks:
            solved = np.bincount(self._pair_tasks, weights=ranking.places[self._truths] < k) / inputs
            pass_at[str(k)], intervals[str(k)] = float(solved.mean()), of_mean(solved)
        return {"pass_at": pass_at, "intervals": intervals}

    def submission(self, candidates: Candidates, ranking: Ranking) -> dict[str, list[dict[str, Any]]]:
        """Return what Kaggle takes: for every test input the first attempts; the last is repeated where one lacks."""
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in self.tasks}
        for task, question in zip(self._pair_tasks.tolist(), self._pair_questions.tolist(), strict=True):
            best = ranking.best(question, self._options.attempts)
            grids = [candidates.grid(index) or [[0]] for index in best] or [[[0]]]
            grids += grids[-1:] * (self._options.attempts - len(grids))
            found[self.tasks[task]].append({f"attempt_{n}": grid for n, grid in enumerate(grids, 1)})
        return found

    def _gallery(self, ballots: Ballots, ranking: Ranking) -> list[dict[str, Any]]:
        """Return evenly spread tasks with demonstrations, truth, and the first answers with votes and confidence."""
        shown = []
        cast = np.bincount(ballots.candidates.questions[ballots.votes], minlength=len(self._questions))
        for task in evenly(np.arange(len(self.tasks)), self._options.examples).tolist():
            puzzle = self._puzzles[self.tasks[task]]
            pairs = np.flatnonzero(self._pair_tasks == task).tolist()
            tests = []
            for pair, index in zip(puzzle["test"], pairs, strict=True):
                question, place = int(self._pair_questions[index]), int(ranking.places[self._truths[index]])
                answers = [
                    {
                        "grid": ballots.candidates.grid(candidate),
                        "votes": int(ranking.counts[candidate]),
                        "confidence": float(ranking.confidence[candidate]),
                    }
                    for candidate in ranking.best(question, MOST_SHOWN)
                ]
                voted = ranking.counts[self._truths[index]] > 0
                tests.append(
                    {
                        "question": pair["input"],
                        "truth": pair["output"],
                        "answers": answers,
                        "place": place + 1 if voted else None,
                        "ballots": int(cast[question]),
                    }
                )
            demonstrations = [[pair["input"], pair["output"]] for pair in puzzle["train"]]
            shown.append({"task": self.tasks[task], "demonstrations": demonstrations, "tests": tests})
        return shown


class Variants:
    """What the identifiers of the tested rows say: of which task they are, and how their variant is undone."""

    def __init__(self, judged: Judged, puzzles: dict[str, Any]) -> None:
        """DataError: a name is none of a variant, or of a task that is not among `puzzles`."""
        count = judged.split.metadata.num_puzzle_identifiers
        used = np.zeros(count, np.bool_)
        used[judged.split.row_identifiers[judged.rows]] = True
        used[judged.split.metadata.blank_identifier_id] = False
        identifiers = np.flatnonzero(used)
        names = [judged.names[identifier] for identifier in identifiers.tolist()]
        tasks, task, turns, digits, plain = _parse(names)
        asked = set(tasks)
        if asked - set(puzzles):
            raise DataError(
                f"test_puzzles.json: does not hold {min(asked - set(puzzles))}, which has test rows",
                next="build the data set again",
            )
        self.tasks = [name for name in puzzles if name in asked]
        number = {name: index for index, name in enumerate(self.tasks)}
        self.task, self.turns = np.full(count, -1), np.zeros(count, np.int64)
        self.plain, self.colours = np.zeros(count, np.bool_), np.zeros((count, 10), np.uint8)
        self.task[identifiers] = np.array([number[name] for name in tasks], np.int64)[task]
        self.turns[identifiers] = np.array(INVERSE_TURN)[turns]
        self.colours[identifiers[:, None], digits] = UNCHANGED
        self.plain[identifiers] = plain


def _parse(names: list[str]) -> tuple[list[str], Indices, Indices, UInt8, npt.NDArray[np.bool_]]:
    """Return tasks in runs of names, and of each name [n] its run, turn, table of colours, and if it is a task's own.

    DataError: one is no variant.
    """
    encoded = [name.encode(errors="surrogatepass") for name in names]
    text = np.frombuffer(b"".join(encoded), np.uint8)
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(names)))
    turns, digits = np.empty(len(names), np.int64), np.empty((len(names), 10), np.uint8)
    plain, begins = np.empty((2, len(names)), np.bool_)
    wrong = read_names(text, ends, np.frombuffer(TAIL, np.uint8), turns, digits, plain, begins)
    if wrong >= 0:
        raise DataError(
            f"identifiers.json: {names[wrong]!r} is not the name of a variant: <task>|||t<0..7>|||<ten digits>",
            next="build the data set again",
        )
    tasks = [names[index] if plain[index] else names[index][: -len(TAIL)] for index in np.flatnonzero(begins).tolist()]
    return tasks, np.cumsum(begins) - 1, turns, digits, plain


def restored(
    sequences: npt.NDArray[Any], salts: Indices, turns: Indices, colours: UInt8
) -> tuple[UInt8, Shapes, npt.NDArray[np.uint64]]:
    """Return the grids that token rows [n, L] show, taken back to their tasks: cells [n, L], sizes [n, 2], keys [n, 2].

    Equal keys are equal grids with equal salts [n]; `turns` [n] and `colours` [n, 10] undo the variant.
    """
    sizes = crop_all(sequences)
    grids = np.empty(sequences.shape, np.uint8)
    shapes, keys = np.zeros((len(sequences), 2), np.int64), np.zeros((len(sequences), 2), np.uint64)
    tokens = sequences.astype(np.uint8, copy=False)
    restore(tokens, isqrt(sequences.shape[1]), sizes, salts.astype(np.uint64), turns, colours, grids, shapes, keys)
    return grids, shapes, keys
