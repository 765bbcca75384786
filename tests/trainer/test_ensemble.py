"""Runs that vote together, whatever they are."""

import json
from pathlib import Path

import pytest

from tests.trainer.helpers import change, train_alone
from trainer.dist import World
from trainer.ensemble import vote_together
from trmkit.errors import SpecError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


def trained(run: RunFile, folder: Path, *overrides: str) -> tuple[RunFile, RunDirectory]:
    one = change(run, f"storage.path={folder}", *overrides)
    train_alone(one)
    return one, RunDirectory.of(one)


def test_runs_of_different_models_and_canvases_vote_together(arc_run: RunFile, alone: World, tmp_path: Path) -> None:
    first = arc_run, RunDirectory.of(arc_run)
    second = trained(arc_run, tmp_path, "model.hidden_size=32", "data.canvas=4", "seed=3")
    found = vote_together([first, second], alone)
    assert found == json.loads(first[1].ensemble.read_text())
    alone_ballots = [one["ballots"] for one in found["runs"]]
    assert found["together"]["ballots"] == sum(alone_ballots) > 0
    assert found["together"]["pass_at"]["100"] >= max(one["pass_at"]["100"] for one in found["runs"])


def test_no_run_votes_twice(arc_run: RunFile, alone: World) -> None:
    one = arc_run, RunDirectory.of(arc_run)
    with pytest.raises(SpecError, match="would vote twice"):
        vote_together([one, one], alone)


def test_runs_that_were_asked_other_tasks_do_not_vote_together(
    arc_run: RunFile, small_run: RunFile, alone: World, tmp_path: Path
) -> None:
    one = arc_run, RunDirectory.of(arc_run)
    with pytest.raises(SpecError, match="other tasks"):
        vote_together([one, trained(arc_run, tmp_path, "data.max_puzzles=2")], alone)
    with pytest.raises(SpecError, match="has no votes"):
        vote_together([trained(small_run, tmp_path)], alone)
