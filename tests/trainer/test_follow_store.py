"""Who scores the checkpoints of a run on another machine comes to what training itself would have come to."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.helpers import change, train_alone
from tests.trainer.test_follow import evaluations
from tests.trainer.test_remote import in_store, key_of
from trainer import checkpoint
from trainer.budget import ledger
from trainer.dist import World
from trainer.elsewhere import Elsewhere
from trainer.follow import follow
from trainer.stages import WHOLE, evaluate, run_stages
from trmkit.errors import TrainError
from trmkit.spec.run import RunFile
from trmkit.store import attempts, garbage, scores
from trmkit.store.catalog import runs
from trmkit.store.fetch import Fetch
from trmkit.store.layout import RunDirectory
from trmkit.store.publish import checkpoints
from trmkit.store.summary import read
from trmkit.store.take import Wanted, take_checkpoints

HERE = World(0, 1, 0, torch.device("cpu"))


@pytest.fixture(params=["folder", "s3"])
def followed(request: pytest.FixtureRequest, small_run: RunFile, tmp_path: Path) -> RunFile:
    """Return the small run with a store, whose checkpoints somebody else scores."""
    remote = request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path / "share")
    return on_a_store(small_run, tmp_path, remote)


def on_a_store(run: RunFile, tmp_path: Path, remote: str) -> RunFile:
    return change(
        run, f"storage.remote={remote}", "storage.patience_minutes=0.5", "evaluate.mode=job", "evaluate.every_steps=3",
        "train.checkpoint.upload_every_minutes=null", "train.checkpoint.keep=1",
        f"storage.path={tmp_path / 'trains'}",
    )  # fmt: skip


def elsewhere(run: RunFile, tmp_path: Path, name: str = "scores") -> tuple[RunFile, RunDirectory]:
    """Return the run as another machine has it."""
    other = change(run, f"storage.path={tmp_path / name}")
    return other, RunDirectory.of(other)


def in_line(run: RunFile, tmp_path: Path) -> list[dict[str, Any]]:
    """Return what training finds that evaluates by itself."""
    alone = change(run, "storage.remote=null", "evaluate.mode=inline", f"storage.path={tmp_path / 'inline'}")
    train_alone(alone)
    return evaluations(alone)


def logged(run: RunFile) -> list[dict[str, Any]]:
    """Return the lines of evaluations in the run's store, without their times."""
    store, _ = in_store(run)
    lines = [json.loads(line) for line in store.read(f"{key_of(run)}/metrics.jsonl").splitlines()]
    return sorted(({**line, "time": 0} for line in lines if line["kind"] == "eval"), key=lambda line: line["step"])


def test_checkpoints_wait_in_the_store_until_somebody_elsewhere_has_scored_them(
    followed: RunFile, tmp_path: Path
) -> None:
    train_alone(followed)
    store, steps = in_store(followed)
    assert steps == [12, 9, 6, 3]
    other, directory = elsewhere(followed, tmp_path)
    follow(other, directory, HERE)
    assert scores.steps(store, key_of(followed)) == {3, 6, 9, 12}
    expected = in_line(followed, tmp_path)
    assert logged(followed) == expected
    best = max(expected, key=lambda line: line["exact_accuracy"])
    (listed,) = runs(store)
    assert (listed.state, listed.step, listed.value) == ("trained", 12, best["exact_accuracy"])
    summary = read(store, key_of(followed))
    assert summary is not None
    assert summary.status.best_step == best["step"]
    assert in_store(followed)[1] == sorted({12, best["step"]}, reverse=True)
    assert checkpoint.steps(directory.followed) == []
    assert [one for one in garbage.find(store, "", 0) if "scores" in one.key] == []


def test_who_follows_waits_for_training_and_training_takes_up_what_is_there(small_run: RunFile, tmp_path: Path) -> None:
    run = on_a_store(small_run, tmp_path, str(tmp_path / "share"))
    store, key = in_store(run)[0], key_of(run)
    scores.leave(store, key, 3, b'{"exact_accuracy": 0.75, "accuracy": 0.5}')
    other, directory = elsewhere(run, tmp_path)
    follow(other, directory, HERE, wait=lambda _: (train_alone(run), None)[1])
    assert [line["step"] for line in evaluations(run)] == [3]
    assert [line["step"] for line in logged(run)] == [3, 6, 9, 12]
    assert {line["best"] for line in logged(run)} == {0.75}
    assert 3 in in_store(run)[1]


class Killed(BaseException):
    """As if the process were gone."""


@pytest.mark.parametrize("same_disk", [True, False])
def test_one_who_follows_may_be_killed_at_any_time(
    small_run: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_disk: bool
) -> None:
    run = on_a_store(small_run, tmp_path, str(tmp_path / "share"))
    train_alone(run)
    for number, name in enumerate(("bring", "leave", "take_final_files", "publish")):

        def die(*_: object) -> None:
            raise Killed

        other, directory = elsewhere(run, tmp_path, "same" if same_disk else str(number))
        kept, calls = getattr(Elsewhere, name), []

        def some(self: Elsewhere, *given: Any, kept: Any = kept, calls: list[int] = calls) -> Any:
            calls.append(1)
            return kept(self, *given) if len(calls) == 1 else die()

        with monkeypatch.context() as context:
            context.setattr(Elsewhere, name, die if name in ("take_final_files", "publish") else some)
            with pytest.raises(Killed):
                follow(other, directory, HERE)
    other, directory = elsewhere(run, tmp_path, "same" if same_disk else "last")
    follow(other, directory, HERE)
    assert logged(run) == in_line(run, tmp_path)
    follow(other, directory, HERE)
    assert logged(run) == in_line(run, tmp_path)


def test_training_may_be_killed_and_go_on_elsewhere_while_it_is_followed(small_run: RunFile, tmp_path: Path) -> None:
    run = on_a_store(small_run, tmp_path, str(tmp_path / "share"))
    train_alone(run)
    store, key = in_store(run)[0], key_of(run)
    for step in (12, 9):  # as if the machine had died here, and what it had published last with it
        for entry in list(store.keys(f"{key}/checkpoints/step_{step:08d}")):
            store.delete([entry.key])
    shutil.rmtree(tmp_path / "trains")
    again, _ = elsewhere(run, tmp_path, "trains-again")
    other, directory = elsewhere(run, tmp_path)
    follow(other, directory, HERE, wait=lambda _: (train_alone(again), None)[1])
    assert [line["step"] for line in evaluations(again)] == [3, 6]
    assert logged(run) == in_line(run, tmp_path)
    train_alone(again)  # one that is done, started once more with an older log, takes nothing back
    assert logged(run) == in_line(run, tmp_path)


def test_the_best_is_known_although_its_score_came_after_the_last_checkpoint(
    small_run: RunFile, tmp_path: Path
) -> None:
    run = on_a_store(small_run, tmp_path, str(tmp_path / "share"))
    train_alone(run)
    store, key = in_store(run)[0], key_of(run)
    scores.leave(store, key, 6, b'{"exact_accuracy": 1.0, "accuracy": 1.0}')
    other, directory = elsewhere(run, tmp_path)
    follow(other, directory, HERE)
    assert in_store(run)[1] == [12, 6]
    third, place = elsewhere(run, tmp_path, "third")
    run_stages(third, place, HERE, ["evaluate", "report"])
    evaluate(third, place, HERE, "best", WHOLE)
    assert checkpoint.read_best(place.checkpoints) == {"step": 6, "metric": "exact_accuracy", "value": 1.0}
    found = checkpoints(store, f"{key}/checkpoints")
    take_checkpoints(Fetch(store, 1.0), found, tmp_path / "fetched", Wanted("best"))
    assert checkpoint.read_best(tmp_path / "fetched" / "checkpoints") == checkpoint.read_best(place.checkpoints)


def test_training_that_has_ended_for_good_ends_who_follows(small_run: RunFile, tmp_path: Path) -> None:
    run = on_a_store(small_run, tmp_path, str(tmp_path / "share"))
    other, directory = elsewhere(run, tmp_path)
    store, key = ledger(run, RunDirectory.of(run))

    def fail(_: float) -> None:
        known = attempts.begun(attempts.read(store, key), 0, time.time(), "pod")
        attempts.write(store, key, attempts.ended(known, known[-1].number, time.time(), 1, "OutOfAttempts"))

    for _ in range(2):  # that an earlier one had failed is no reason
        with pytest.raises(TrainError, match=r"ended with exit code 1: OutOfAttempts"):
            follow(other, directory, HERE, wait=fail)


def test_training_that_had_failed_before_and_does_not_come_back_is_given_up(
    small_run: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = on_a_store(small_run, tmp_path, str(tmp_path / "share"))
    other, directory = elsewhere(run, tmp_path)
    store, key = ledger(run, RunDirectory.of(run))
    attempts.write(store, key, attempts.ended(attempts.begun((), 0, 1000.0, "pod"), 1, 1001.0, 2, "Config"))

    def later(_: float) -> None:
        monkeypatch.setattr("trainer.follow.GIVEN_UP_SECONDS", 0.0)

    with pytest.raises(TrainError, match="ended with exit code 2: Config"):
        follow(other, directory, HERE, wait=later)


def test_a_job_beside_training_scores_and_reports(small_run: RunFile, tmp_path: Path) -> None:
    run = on_a_store(small_run, tmp_path, str(tmp_path / "share"))
    run_stages(run, RunDirectory.of(run), HERE, ["build", "features", "train"])
    other, directory = elsewhere(run, tmp_path)
    run_stages(
        change(other, f"storage.data={tmp_path / 'data-there'}"), directory, HERE, ["follow", "evaluate", "report"]
    )
    (listed,) = runs(in_store(run)[0])
    assert listed.state == "scored"
    store = in_store(run)[0]
    assert store.look(f"{key_of(run)}/report.html") is not None
    assert [line["step"] for line in logged(run)] == [3, 6, 9, 12]


@pytest.mark.parametrize("afar", [True, False])
def test_a_damaged_checkpoint_is_said_and_not_scored(
    small_run: RunFile, tmp_path: Path, capsys: pytest.CaptureFixture[str], afar: bool
) -> None:
    run = on_a_store(small_run, tmp_path, str(tmp_path / "share"))
    run = run if afar else change(run, "storage.remote=null")
    train_alone(run)
    root = tmp_path / "share" if afar else RunDirectory.of(run).checkpoints
    (path,) = root.rglob("step_00000006*/model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    other, directory = elsewhere(run, tmp_path) if afar else (run, RunDirectory.of(run))
    follow(other, directory, HERE)
    assert scores.here_of(directory.scores) == {3, 9, 12}
    assert "not scored: " in capsys.readouterr().err
