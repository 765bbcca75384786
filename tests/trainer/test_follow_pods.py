"""A job that trains and one that scores, as pods of two machines that only share a store, survive each other's loss."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainer.helpers import change, train_alone
from tests.trainer.pods import Job, command_of, pytorchjob
from tests.trainer.test_follow import evaluations
from tests.trainer.test_follow_store import logged
from tests.trainer.test_remote import in_store, key_of
from trainer.budget import Budget, ledger
from trainer.launch import terms_of
from trmkit.render.beside import beside
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store import attempts, scores
from trmkit.store.attempts import ATTEMPTS
from trmkit.store.catalog import runs
from trmkit.store.layout import RunDirectory


class Asked:
    """What a launcher was asked to start."""

    module = True
    training_script = "trainer"

    def __init__(self, *arguments: str) -> None:
        self.training_script_args = list(arguments)


def followed(small_run: RunFile, tmp_path: Path) -> RunFile:
    return change(
        small_run, f"storage.remote={tmp_path / 'share'}", f"storage.path={tmp_path / 'trains'}", "evaluate.mode=job",
        "train.steps=200", "evaluate.every_steps=50", "train.checkpoint.every_steps=20", "cluster.restarts=9",
        "cluster.deadline_seconds=900",
    )  # fmt: skip


def test_who_scores_counts_its_own_attempts_and_gets_on_by_scores(small_run: RunFile, tmp_path: Path) -> None:
    run = followed(small_run, tmp_path)
    file = tmp_path / "run.yml"
    file.write_text(dump(run))
    scores.leave(in_store(run)[0], key_of(run), 50, b"{}")
    for stages in ("train", "follow,evaluate"):
        Budget(terms_of(Asked("run", str(file), "--stages", stages), "small")).begin()
    found = [attempts.read(*ledger(run, RunDirectory.of(run), one)) for one in ("", "follow")]
    assert [[(one.number, one.step) for one in each] for each in found] == [[(1, 0)], [(1, 50)]]


@pytest.fixture
def jobs(small_run: RunFile, tmp_path: Path) -> Iterator[tuple[RunFile, Job, Job]]:
    """Return a run, the job that trains and the job that scores; they leave nothing behind."""
    run = followed(small_run, tmp_path)
    made = []
    for name, own, stages in (
        ("trains", run, "build,features,train"),
        ("scores", beside(run), "follow,evaluate,report"),
    ):
        folder = tmp_path / f"job-{name}"
        folder.mkdir()
        places = (f"storage.path={tmp_path / name}", f"storage.data={tmp_path / f'data-{name}'}")
        (folder / "run.yml").write_text(dump(change(own, *places)))
        made.append(Job(folder, command_of(folder / "run.yml", "--stages", stages), pytorchjob(1, 0)).start())
    yield run, made[0], made[1]
    for job in made:
        job.end()


@pytest.mark.full
def test_either_job_may_lose_its_pod_at_any_time(jobs: tuple[RunFile, Job, Job], tmp_path: Path) -> None:
    run, trains, scoring = jobs
    store = in_store(run)[0]
    killed: list[str] = []

    def meanwhile(_: Job) -> None:
        scoring.tend()
        there = scores.steps(store, key_of(run))
        for name, job, when in (("trains", trains, bool(in_store(run)[1])), ("scores", scoring, bool(there))):
            workers = job.pods[0].workers() if name not in killed and when else []
            if workers:
                os.kill(workers[0], signal.SIGKILL)
                killed.append(name)

    assert trains.run(meanwhile) == 0, trains.logs()
    assert scoring.run(meanwhile) == 0, scoring.logs()
    assert sorted(killed) == ["scores", "trains"]
    alone = change(run, "storage.remote=null", "evaluate.mode=inline", f"storage.path={tmp_path / 'inline'}")
    train_alone(alone)
    assert logged(run) == evaluations(alone)
    (listed,) = runs(store)
    assert (listed.state, listed.step) == ("scored", 200)
    assert json.loads(store.read(f"{key_of(run)}/{ATTEMPTS}"))["attempts"][-1]["exit"] == 0
    assert json.loads(store.read(f"{key_of(run)}/follow/{ATTEMPTS}"))["attempts"][-1]["exit"] == 0
    assert store.look(f"{key_of(run)}/report.html") is not None
