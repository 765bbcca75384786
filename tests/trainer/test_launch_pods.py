"""A run on several pods survives the loss, the end and the freezing of any of them, and ends as if nothing had been."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.trainer.helpers import change, fingerprint
from tests.trainer.pods import Job, pytorchjob, trainjob, two_pods
from trainer import checkpoint
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store import attempts
from trmkit.store.attempts import Attempts
from trmkit.store.layout import RunDirectory

SETTINGS = ("train.steps=400", "train.checkpoint.every_steps=20", "evaluate.every_steps=200", "cluster.restarts=99")
STALL_SECONDS = 8
STALL = f"cluster.stall_minutes={STALL_SECONDS / 60}"

Jobs = Callable[[Job], Job]


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """Start jobs that leave nothing behind."""
    started: list[Job] = []

    def start(job: Job) -> Job:
        started.append(job)
        return job.start()

    yield start
    for job in started:
        job.end()


def write(run: RunFile, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(run))
    return path


def noted(run: RunFile) -> Attempts:
    """Return the attempts noted in the run directory."""
    return attempts.parse((RunDirectory.of(run).root / attempts.ATTEMPTS).read_bytes())


def last_step(run: RunFile) -> int:
    return (checkpoint.steps(RunDirectory.of(run).checkpoints) or [0])[-1]


def trained_to(run: RunFile, step: int, job: Job) -> None:
    """Tend the job until there is a checkpoint of `step` or a later one."""
    until = time.monotonic() + 120
    while last_step(run) < step:
        assert job.tend() is None, job.logs()
        assert time.monotonic() < until, job.logs()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFile, dict[str, str]]:
    """Return a run of two pods, and the fingerprint of its end when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = change(None, *SETTINGS, f"storage.path={folder / 'runs'}", f"storage.data={folder / 'data'}")
    job = two_pods(folder, write(run, folder / "run.yml"), operator=trainjob).start()
    try:
        assert job.run() == 0, job.logs()
        assert job.exits == []
    finally:
        job.end()
    return run, fingerprint(RunDirectory.of(run).checkpoints)


def test_a_killed_worker_a_drained_pod_and_a_frozen_worker_leave_no_trace(
    undisturbed: tuple[RunFile, dict[str, str]], tmp_path: Path, jobs: Jobs
) -> None:
    run = change(undisturbed[0], f"storage.path={tmp_path / 'runs'}", STALL)
    job = jobs(two_pods(tmp_path, write(run, tmp_path / "run.yml"), operator=pytorchjob))
    trained_to(run, 20, job)
    os.kill(job.pods[1].workers()[0], signal.SIGKILL)
    assert sorted(job.wait()) == [137, 143]
    assert "Killed" in {pod.last_words()["reason"] for pod in job.pods}
    job.tend()
    trained_to(run, last_step(run) + 20, job)
    job.pods[0].process.send_signal(signal.SIGTERM)
    assert job.wait() == [143, 143], job.logs()
    assert {pod.last_words()["reason"] for pod in job.pods} == {"Preempted"}
    assert job.pods[1].last_words()["step"] == last_step(run)
    job.tend()
    trained_to(run, last_step(run) + 20, job)
    os.kill(job.pods[1].workers()[0], signal.SIGSTOP)
    assert job.wait() == [143, 143], job.logs()
    assert "Stalled" in {pod.last_words()["reason"] for pod in job.pods}
    assert job.run() == 0, job.logs()
    directory = RunDirectory.of(run)
    assert fingerprint(directory.checkpoints) == undisturbed[1]
    assert json.loads(directory.evaluation.read_text())["step"] == 400
    assert directory.report.is_file()
    ends = [one.reason for one in noted(run)]
    assert ends[1] == "Preempted"
    assert noted(run)[-1].exit == 0
    assert "Traceback" not in job.logs()
