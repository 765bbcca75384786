"""Runs that vote together on the same tasks, of one family or of several: each in the variants it was trained in."""

import json
from collections.abc import Sequence
from typing import Any

from trainer.candidates import on_every_machine
from trainer.dist import StopSignal, World
from trainer.evaluate import by_k, open_scoring
from trainer.evaluators import Voting
from trainer.progress import say
from trainer.remote import open_remote, remote_results
from trainer.scope import Part
from trmkit.errors import SpecError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole


def vote_together(runs: Sequence[tuple[RunFile, RunDirectory]], world: World, which: str = "last") -> dict[str, Any]:
    """Let `which` checkpoint of every run vote, write `ensemble.json` in the directory of the first, and return it.

    Every process calls it. SpecError: a run has no votes, or another test set than the first. Raises `Stopped`.
    """
    _refuse_twice(runs)
    rounds: list[Any] = []
    alone: list[dict[str, Any]] = []
    first: Voting | None = None
    with StopSignal().listening() as stop, remote_results(*runs[0], world, which):
        _bring(runs[1:], world, which)
        for run, directory in runs:
            found, _ = on_every_machine(directory, world, which, None)
            scoring = open_scoring(run, found, world, lambda: stop.check(world))
            voter, ballots = scoring.ballots(scoring.scope(Part()))
            name = f"{run.name}/{directory.root.name}"
            first = _refuse_others(name, first, voter)
            rounds.append(ballots)
            alone.append({"run": name, "step": found.step, **first.together([ballots])})
        assert first is not None
        votes = first.together(rounds)
        result = {"runs": alone, "together": votes}
        if world.first:
            target = runs[0][1].ensemble
            write_whole(target, json.dumps(result, indent=1))
            for one in alone:
                say(f"{one['run']} alone: {by_k(one['pass_at'])}")
            say(f"together: {by_k(votes['pass_at'])}; {target}")
    return result


def _bring(runs: Sequence[tuple[RunFile, RunDirectory]], world: World, which: str) -> None:
    """Have what their stores have of the other runs."""
    with world.together():
        for run, directory in runs:
            remote = open_remote(run, directory, world)
            if remote is not None:
                remote.bring(which)


def _refuse_twice(runs: Sequence[tuple[RunFile, RunDirectory]]) -> None:
    places = [directory.root.resolve() for _, directory in runs]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise SpecError(f"--with: {place} would vote twice", next="name every run once")


def _refuse_others(name: str, first: Voting | None, voter: Voting | None) -> Voting:
    """Return who counts the votes of all runs."""
    if voter is None:
        raise SpecError(f"--with: {name} has no votes to give", next="only answers to ARC tasks are voted on")
    if first is not None and voter.asked() != first.asked():
        raise SpecError(
            f"--with: {name} was asked other tasks, or in another order",
            next="give them the same data.collections, test, max_puzzles and seed, and the same evaluate.final_sample",
        )
    return first or voter
