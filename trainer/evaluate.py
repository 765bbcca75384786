"""Score a model: on a part of the test set during training, on all of it at the end."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trainer import data
from trainer.candidates import load_for_inference, on_every_machine
from trainer.checkpoint import Checkpoint
from trainer.correction import correct, reader_at_hand
from trainer.data.manifest import Grid, grid_of
from trainer.data.sampler import evenly, original_rows
from trainer.data.store import Split, read_identifiers, read_split
from trainer.data.stream import Rows
from trainer.dist import StopSignal, World
from trainer.evaluators import COMPARED, Each, Evaluator, Indices, Judged, Outcome, Taker, Voting, evaluator_for
from trainer.evaluators.exact import Solved, log_line, scores
from trainer.examples import WATCHED_ROWS, Watched, show_rows
from trainer.features.text import reader_of, with_text
from trainer.learner import Learner
from trainer.models import TrainableModel
from trainer.models.prepare import prepare
from trainer.origin import refuse_another_reader
from trainer.progress import say
from trainer.scope import VOTING, Part, Scope, choose, groups_of, test_rows
from trainer.solve import Plan, solve
from trainer.state import make_model, total_steps
from trmkit.errors import SpecError
from trmkit.spec.base import section_hash
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

NOTHING: Indices = np.empty(0, np.int64)
WHOLE = Part()


def evaluate_sample(state: Learner, split: Split, stop: StopSignal, watched: Watched | None = None) -> dict[str, Any]:
    """Return the scores of the averaged weights on an evenly spread part of the test set, as a line of log has them.

    A few of the rows, and what the model made of them, are written for who is `watched` by.
    """
    run, world = state.run, state.world
    wanted = evenly(test_rows(run, split), run.evaluate.sample)
    rows = Rows(split, world.device, on_device=False)
    with state.averaged() as model:
        solved = solve(
            model, rows, wanted, plan_of(run, model, world), world,
            show=evenly(wanted, WATCHED_ROWS) if watched else NOTHING, check=lambda: stop.check(world),
        )  # fmt: skip
    if watched and world.first:
        watched.write(state.step, split, solved)
    return log_line(scores(solved))


def evaluate(
    run: RunFile, directory: RunDirectory, world: World, which: str = "last", part: Part = WHOLE
) -> dict[str, Any]:
    """Score the `last` or the `best` checkpoint of `run`, write what was found, and return it.

    All that the run file asks for goes to `eval.json`; a part asked for by `part`, or one that would take the place of
    whole scores, to `eval-partial.json`. A `part` that leaves nothing out is no part. CheckpointError: there is no such
    checkpoint, it is damaged, or there are too few to vote together; SpecError: there is no such part. Raises `Stopped`
    when a signal asked for it.
    """
    found, voters = on_every_machine(directory, world, which, run.evaluate.ensemble)
    started = time.monotonic()
    with StopSignal().listening() as stop:
        scoring = open_scoring(run, found, world, lambda: stop.check(world))
        scope, plan = scoring.scope(part), scoring.plan
        scoring.test(scope)
        if scope.whole or not part:
            scoring.other_sets(scope)
            scoring.correction(scope)
        if voters:
            scoring.ensemble(scope, found, voters)
    result = {
        "step": found.step,
        "total": scoring.total,
        "checkpoint": which,
        "asked": what_is_asked(run, scoring.reader),
        "weights": scoring.weights,
        "scope": scope.as_json(),
        "supervision_steps": plan.steps,
        "early_exit": plan.early_exit,
        "settled": plan.settled,
        "rollouts": {"count": plan.rollouts, "noise": plan.noise, "select": plan.select},
        "seconds": time.monotonic() - started,
        "sets": scoring.sets,
        "grid": scoring.grid.as_json(),
        "examples": scoring.examples,
        "gallery": scoring.outcome.gallery,
    }
    if world.first:
        partial = not scope.whole and (bool(part) or _has_whole(directory))
        _write(directory, result, scoring.outcome, partial=partial)
    return result


def open_scoring(run: RunFile, found: Checkpoint, world: World, check: Callable[[], None]) -> "Scoring":
    """Open data set and model of `run` to score the checkpoint `found`; every process calls it."""
    folder = data.build_together(run, world)
    splits = with_text(run, folder, {name: read_split(folder, name) for name in ("train", "test")}, world)
    refuse_another_reader(run, reader_of(splits["test"]), found)
    grid = grid_of(folder)
    model = make_model(run, splits["train"].metadata, world.device)
    _refuse_what_cannot_be(run, model, grid)
    if run.evaluate.self_correction:
        reader_at_hand(run, world.device)
    weights = load_for_inference(model, found)
    prepare(model, run.train)
    return Scoring(run, model, splits, folder, grid, world, check, weights)


def summary(result: dict[str, Any]) -> dict[str, float]:
    """Return of an evaluation at the end what the metrics of the run have of it: see `trmkit.metrics`."""
    test = result["sets"]["test"]
    line = {name: test[name] for name in ("accuracy", "exact_accuracy") if name in test}
    for title, judged in test.items():
        if isinstance(judged, dict) and "intervals" in judged:
            by_k = {f"pass@{k}": share for k, share in judged.get("pass_at", {}).items()}
            single = {name: share for name, share in judged.items() if isinstance(share, float)}
            who = "ensemble " if title == "ensemble" else ""
            line |= {f"score/{who}{name}": share for name, share in {**by_k, **single}.items()}
    return line


def what_is_asked(run: RunFile, reader: str) -> str:
    """Return a hash of what the scores at the end depend on, besides the checkpoint, and who reads the text, if any."""
    read = [run.features] if run.features is not None else []
    return section_hash(run.evaluate, run.data, *read, version=run.seed, without={"text"})[:12] + reader


def _refuse_what_cannot_be(run: RunFile, model: TrainableModel, grid: Grid) -> None:
    if run.evaluate.noise and not model.latent_names:
        raise SpecError(
            f"evaluate.noise: {run.model.family} has no states that noise could be added to",
            next="leave evaluate.noise and evaluate.rollouts out",
        )
    if run.evaluate.ensemble and grid.kind not in VOTING:
        raise SpecError("evaluate.ensemble: only answers to ARC tasks are voted on", next="leave evaluate.ensemble out")


def _has_whole(directory: RunDirectory) -> bool:
    """Say whether `eval.json` holds scores of the whole test set."""
    try:
        scope = json.loads(directory.evaluation.read_bytes())["scope"]
        return bool(scope["scored"] == scope["total"])
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _write(directory: RunDirectory, result: dict[str, Any], outcome: Outcome, *, partial: bool) -> None:
    target = directory.partial_evaluation if partial else directory.evaluation
    for name, text in outcome.files.items():
        file = directory.root / name
        write_whole(file.with_stem(f"{file.stem}-partial") if partial else file, text)
    write_whole(target, json.dumps(result))
    if partial:
        say(f"{result['scope']['scored']} of {result['scope']['total']} {result['scope']['unit']}: {target}")


class Scoring:
    """One evaluation at the end: what is scored how, and what was found so far."""

    def __init__(
        self,
        run: RunFile,
        model: TrainableModel,
        splits: dict[str, Split],
        folder: Path,
        grid: Grid,
        world: World,
        check: Callable[[], None],
        weights: str,
    ) -> None:
        self._run, self._model, self._splits, self._folder, self.grid = run, model, splits, folder, grid
        self._names, self._world, self._check, self.weights = read_identifiers(folder), world, check, weights
        options, self.reader = run.evaluate, reader_of(splits["test"])
        self.plan = replace(plan_of(run, model, world), rollouts=options.rollouts, noise=options.noise)
        self.total = total_steps(run, splits["train"].metadata)
        self.sets: dict[str, Any] = {}
        self.examples: list[dict[str, Any]] = []
        self.outcome = Outcome({})
        self._merged: Any = None

    def scope(self, part: Part) -> Scope:
        """Return what is scored of the test set. SpecError: there is no such part."""
        return choose(self._run, self._splits["test"], self.grid, self._names, part)

    def ballots(self, scope: Scope) -> tuple[Voting | None, Any]:
        """Return who counts the votes on the test set, and the votes of this checkpoint; None: nothing is voted on."""
        evaluator = self._evaluator(scope)
        if not isinstance(evaluator, Voting):
            return None, None
        self._solve("test", scope.rows, self.plan, NOTHING, evaluator)
        return evaluator, evaluator.merged(self._world.gather_objects(evaluator.state()))

    def test(self, scope: Scope) -> None:
        """Score the test set, and judge its answers by what they are."""
        evaluator = self._evaluator(scope)
        split, show = self._splits["test"], evenly(scope.rows, self._run.evaluate.examples)
        solved, compared = self._compared("test", scope.rows, show, evaluator)
        if evaluator is not None:
            self._merged = evaluator.merged(self._world.gather_objects(evaluator.state()))
            self.outcome = evaluator.outcome(self._merged)
        self._note("test", "test", scope.rows, solved, self.outcome, compared)
        if not self.outcome.gallery:
            shown = show_rows("test", split, solved, self.grid, self._names)
            self.examples += [row | {"remark": self.outcome.remarks.get(row["row"], "")} for row in shown]

    def other_sets(self, scope: Scope) -> None:
        """Score training rows, and the test set with blanked identifiers, as far as the run asks for them."""
        options, train = self._run.evaluate, self._splits["train"]
        if options.fit_sample:
            rows = original_rows(train, options.fit_sample)
            solved, compared = self._compared("train", rows, evenly(rows, options.examples))
            self._note("fit", "train", rows, solved, compared=compared)
            self.examples += show_rows("fit", train, solved, self.grid, self._names)
        if options.blank_identifiers:
            plan = replace(self.plan, blank_identifier=self._splits["test"].metadata.blank_identifier_id)
            self._note("test_blank", "test", scope.rows, self._solve("test", scope.rows, plan, NOTHING))

    def correction(self, scope: Scope) -> None:
        """Score the test set once more, with several attempts at each row, if the run asks for it."""
        if not self._run.evaluate.self_correction:
            return
        plan = replace(self.plan, rollouts=1, noise=0.0)
        self.sets["test"]["self_correction"] = correct(
            self._run, self._model, self._splits, self.grid.layout, scope.rows, plan, self._world, self._check
        )

    def ensemble(self, scope: Scope, scored: Checkpoint, checkpoints: list[Checkpoint]) -> None:
        """Let `checkpoints` vote together; the scores of the checkpoint `scored` are not touched by it."""
        rounds, evaluator = [], self._evaluator(scope)
        for found in sorted(checkpoints, key=lambda found: found.step):
            if found.step == scored.step:
                rounds.append(self._merged)
                continue
            load_for_inference(self._model, found)
            rounds.append(self.ballots(scope)[1])
        assert isinstance(evaluator, Voting)
        steps = sorted(found.step for found in checkpoints)
        together = {"steps": steps, **evaluator.together(rounds)}
        self.sets["test"]["ensemble"] = together
        if self._world.first:
            say(f"ensemble of the checkpoints {', '.join(map(str, steps))}: {by_k(together['pass_at'])}")

    def _evaluator(self, scope: Scope) -> Evaluator | None:
        judged = Judged(
            self._folder, self._splits["test"], scope.rows, self._names, self._run.evaluate, self.grid.layout
        )
        return evaluator_for(self.grid.kind, judged)

    def _compared(
        self, split: str, rows: Indices, show: Indices, evaluator: Evaluator | None = None
    ) -> tuple[Solved, dict[str, Any]]:
        """Solve rows; return how each went, and how their answers compare with the truth where those are grids."""
        judged = Judged(self._folder, self._splits[split], rows, self._names, self._run.evaluate, self.grid.layout)
        compare = evaluator_for(self.grid.kind, judged, COMPARED)
        takers = [one for one in (evaluator, compare) if one is not None]
        solved = self._solve(split, rows, self.plan, show, Each(takers) if takers else None)
        if compare is None:
            return solved, {}
        return solved, compare.outcome(compare.merged(self._world.gather_objects(compare.state()))).scores

    def _solve(self, split: str, rows: Indices, plan: Plan, show: Indices, evaluator: Taker | None = None) -> Solved:
        reader = Rows(self._splits[split], self._world.device, on_device=False)
        return solve(
            self._model, reader, rows, plan, self._world, show=show, check=self._check, evaluator=evaluator
        )  # fmt: skip

    def _note(
        self, name: str, split: str, rows: Indices, solved: Solved, outcome: Outcome | None = None,
        compared: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        read = self._splits[split]
        found = scores(solved, groups_of(read, rows)) | {"puzzles": _whole_puzzles(read, rows, solved)}
        self.sets[name] = found | (outcome.scores if outcome else {}) | (compared or {})
        if self._world.first:
            more = f"; {outcome.summary}" if outcome and outcome.summary else ""
            say(f"{name}: {found['count']} rows, exact {_with_interval(found)}{more}")


def by_k(pass_at: dict[str, float]) -> str:
    """Return pass@k by k in a line, for people."""
    return ", ".join(f"pass@{k} {share:.4f}" for k, share in pass_at.items())


def _with_interval(found: dict[str, Any]) -> str:
    if not found["count"]:
        return "–"
    return f"{found['exact_accuracy']:.4f} ({found['interval']['low']:.4f}–{found['interval']['high']:.4f})"


def _whole_puzzles(split: Split, rows: Indices, solved: Solved) -> dict[str, int]:
    """Count the puzzles of the source that have rows among `rows`, and those with every one of these right."""
    originals = split.group_indices[:-1]
    owner = np.searchsorted(split.puzzle_indices, rows, side="right") - 1
    among = np.isin(owner, originals)
    owners, place = np.unique(owner[among], return_inverse=True)
    wrong = np.bincount(place, weights=~solved.taken("exact")[among], minlength=len(owners))
    return {"count": len(owners), "solved": int((wrong == 0).sum())}


def plan_of(run: RunFile, model: TrainableModel, world: World) -> Plan:
    """Return how `run` wants rows to be worked on, once each: evaluations during training stay cheap."""
    options = run.evaluate
    share = run.train.batch_size // (world.size * run.train.accumulate)
    return Plan(
        options.supervision_steps or model.max_steps,
        options.batch_size or max(1, share),
        options.early_exit,
        options.settled,
        select=options.select,
        seed=run.seed,
    )
