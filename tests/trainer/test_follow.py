"""Checkpoints are scored by somebody else than who trains, and come to the same scores, log and best checkpoint."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.helpers import change, fingerprint, train_alone
from trainer import checkpoint
from trainer.dist import World
from trainer.exporter import Exporter
from trainer.follow import follow
from trainer.metrics import read_lines
from trainer.remote import Remote
from trainer.scores import Scores
from trainer.train import train
from trmkit.errors import SpecError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.scores import MOST_WAITING
from trmkit.store.summary import Status

HERE = World(0, 1, 0, torch.device("cpu"))


def evaluations(run: RunFile) -> list[dict[str, Any]]:
    """Return the lines of evaluations, without their times, by update."""
    lines = [line for line in read_lines(RunDirectory.of(run).metrics) if line["kind"] == "eval"]
    return sorted(({**line, "time": 0} for line in lines), key=lambda line: line["step"])


def followed(run: RunFile, tmp_path: Path, *overrides: str) -> RunFile:
    return change(run, "evaluate.mode=job", f"storage.path={tmp_path / 'followed'}", *overrides)


def test_who_follows_a_finished_training_finds_what_training_would_have_found(
    small_run: RunFile, tmp_path: Path
) -> None:
    inline = change(small_run, "train.checkpoint.keep=9", "evaluate.every_steps=3")
    train_alone(inline)
    run = followed(inline, tmp_path)
    train_alone(run)
    assert evaluations(run) == []
    follow(run, RunDirectory.of(run), HERE)
    assert evaluations(run) == evaluations(inline)
    best = [checkpoint.read_best(RunDirectory.of(one).checkpoints) for one in (run, inline)]
    assert best[0] == best[1] is not None
    follow(run, RunDirectory.of(run), HERE)
    assert evaluations(run) == evaluations(inline)


def test_training_takes_up_scores_as_they_come(small_run: RunFile, tmp_path: Path) -> None:
    run = followed(small_run, tmp_path)
    directory = RunDirectory.of(run)
    Scores(run, directory).leave(6, {"exact_accuracy": 0.5, "accuracy": 0.75})
    train_alone(run)
    logged = [(line["kind"], line["step"]) for line in read_lines(directory.metrics) if line["kind"] != "run"]
    assert logged.index(("train", 6)) < logged.index(("eval", 6)) < logged.index(("train", 9))
    follow(run, directory, HERE)
    assert [(line["step"], line["best"]) for line in evaluations(run)] == [(6, 0.5), (12, 0.5)]


def test_weights_do_not_depend_on_who_evaluates(small_run: RunFile, tmp_path: Path) -> None:
    train_alone(small_run)
    run = followed(small_run, tmp_path)
    train_alone(run)
    one, two = (fingerprint(RunDirectory.of(each).checkpoints) for each in (small_run, run))
    files = ("model.safetensors", "ema.safetensors", "optimizer.safetensors", "rank0.safetensors")
    assert [one[name] for name in files] == [two[name] for name in files]


def test_checkpoints_wait_to_be_scored_and_the_oldest_of_too_many_go(small_run: RunFile, tmp_path: Path) -> None:
    run = followed(small_run, tmp_path, "train.steps=24", "evaluate.every_steps=2", "train.checkpoint.every_steps=null",
                   "train.checkpoint.keep=1")  # fmt: skip
    train_alone(run)
    assert checkpoint.steps(RunDirectory.of(run).checkpoints) == list(range(24 - 2 * MOST_WAITING, 25, 2))
    follow(run, RunDirectory.of(run), HERE)
    assert [line["step"] for line in evaluations(run)] == list(range(24 - 2 * MOST_WAITING, 25, 2))


def test_what_is_logged_is_not_logged_again_by_a_run_that_goes_on(small_run: RunFile, tmp_path: Path) -> None:
    run = followed(small_run, tmp_path)
    directory = RunDirectory.of(run)
    Scores(run, directory).leave(6, {"exact_accuracy": 0.25, "accuracy": 0.5})
    train_alone(run)
    (directory.checkpoints / "step_00000012" / "manifest.json").unlink()
    train_alone(run)
    assert [line["step"] for line in evaluations(run)] == [6]
    assert checkpoint.read_best(directory.checkpoints) == {"step": 6, "metric": "exact_accuracy", "value": 0.25}
    assert json.loads((directory.scores / "6.json").read_text())["accuracy"] == 0.5


def test_following_needs_to_know_how_often() -> None:
    with pytest.raises(SpecError, match="mode: job scores a checkpoint every"):
        change(None, "evaluate.mode=job", "evaluate.every_steps=null")


def test_the_best_checkpoint_stays_though_its_score_came_after_the_last_save(
    small_run: RunFile, tmp_path: Path
) -> None:
    run = followed(small_run, tmp_path, "evaluate.every_steps=4", "train.checkpoint.keep=1")
    directory = RunDirectory.of(run)
    train_alone(change(run, "train.steps=8"))
    first = RunDirectory.of(change(run, "train.steps=8"))
    Scores(run, first).leave(4, {"exact_accuracy": 0.5, "accuracy": 0.75})
    checkpoint.write_best(first.checkpoints, {"step": 8, "metric": "exact_accuracy", "value": 0.1})
    shutil.copytree(first.root, directory.root, dirs_exist_ok=True)
    train_alone(run)
    assert checkpoint.read_best(directory.checkpoints) == {"step": 4, "metric": "exact_accuracy", "value": 0.5}


def test_a_score_that_cannot_be_read_stops_nobody(small_run: RunFile, tmp_path: Path) -> None:
    run = followed(small_run, tmp_path)
    directory = RunDirectory.of(run)
    directory.scores.mkdir(parents=True)
    (directory.scores / "6.json").write_text("{")
    train_alone(run)
    assert evaluations(run) == []


class BusyError(Exception):
    """Somebody would have to wait."""


def test_training_and_who_follows_it_may_both_be_started_again_at_the_end_and_log_every_score_once(
    small_run: RunFile, tmp_path: Path
) -> None:
    run = followed(small_run, tmp_path)
    directory = RunDirectory.of(run)
    train_alone(run)
    for step in (6, 12):
        Scores(run, directory).leave(step, {"exact_accuracy": 0.25, "accuracy": 0.5})
    waited: list[str] = []

    def busy(_: float) -> None:
        raise BusyError

    class Meanwhile(Exporter):
        """Has somebody follow while training, which has read the log, is about to write it."""

        def state(self, word: str) -> None:
            try:
                follow(run, directory, HERE, wait=busy)
            except BusyError:
                waited.append(word)

    train(run, directory, HERE, Meanwhile())
    follow(run, directory, HERE)
    assert [line["step"] for line in evaluations(run)] == [6, 12]
    assert waited


def test_what_waited_for_its_score_is_deleted_at_the_end_as_training_itself_would_have(
    small_run: RunFile, tmp_path: Path
) -> None:
    inline = change(small_run, "evaluate.every_steps=2", "train.checkpoint.keep=1", "train.checkpoint.every_steps=null")
    train_alone(inline)
    run = followed(inline, tmp_path)
    train_alone(run)
    assert checkpoint.steps(RunDirectory.of(run).checkpoints) == [2, 4, 6, 8, 10, 12]
    follow(run, RunDirectory.of(run), HERE)
    found, expected = (checkpoint.steps(RunDirectory.of(one).checkpoints) for one in (run, inline))
    assert found == expected


def test_a_run_that_goes_on_is_published_with_the_best_checkpoint_that_is_known_by_then(
    small_run: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = followed(small_run, tmp_path, f"storage.remote={tmp_path / 'share'}")
    train_alone(run)
    Scores(run, RunDirectory.of(run)).leave(6, {"exact_accuracy": 0.5, "accuracy": 0.75})
    first: list[Status] = []
    begin = Remote.begin
    monkeypatch.setattr(Remote, "begin", lambda self, status: (first.append(status), begin(self, status)))
    train_alone(run)
    assert (first[0].best_step, first[0].value) == (6, 0.5)
