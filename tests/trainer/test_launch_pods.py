"""A run on several pods survives the loss, the end and the freezing of any of them, and ends as if nothing had been."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.trainer.helpers import change, fingerprint
from tests.trainer.pods import Job, command_of, pytorchjob, trainjob, two_pods
from tests.trainer.test_resume import launch_two
from trainer import checkpoint
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store import attempts
from trmkit.store.attempts import Attempts
from trmkit.store.folder import FolderStore
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
    """Write the file of a run whose folder is on a volume that outlives its pods."""
    path.parent.mkdir(parents=True, exist_ok=True)
    root = RunDirectory.of(run).root.absolute().parent
    claim = f"{{kind: pvc, name: runs, mount_path: {root}, claim: runs}}"
    path.write_text(dump(change(run, f"cluster.volumes=[{claim}]")))
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
    """Return a run of two processes, and the fingerprint of its end when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = change(None, *SETTINGS, f"storage.path={folder / 'runs'}", f"storage.data={folder / 'data'}")
    for process in launch_two(write(run, folder / "run.yml")):
        assert process.wait(120) == 0
    return run, fingerprint(RunDirectory.of(run).checkpoints)


@pytest.mark.full
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


BROKEN = """
import sys
import torch
import trainer.train
from trainer.__main__ import main
from trainer.exit import leave_for_good

def train(run, directory, world, exporter):
    if world.rank == 1:
        torch.ones(2, 3) @ torch.ones(2, 3)
    world.sum(torch.ones(1))

trainer.train.train = train
leave_for_good(main(["train", sys.argv[1]]))
"""


def test_a_bug_on_one_machine_ends_all_of_them_for_good_whoever_leaves_first(
    small_run: RunFile, tmp_path: Path, jobs: Jobs
) -> None:
    (tmp_path / "worker.py").write_text(BROKEN)
    job = two_pods(tmp_path, write(small_run, tmp_path / "run.yml"), operator=trainjob)
    job.command = [str(tmp_path / "worker.py"), job.command[-1]]
    jobs(job)
    assert job.wait() == [1, 1], job.logs()
    for pod in job.pods:
        words = pod.last_words()
        assert words["reason"] == "Failed"
        assert "mat1 and mat2 shapes cannot be multiplied" in words["message"]


def alone(run: RunFile, folder: Path) -> Job:
    """Return a job of one pod with one process, for which the operator names no place to meet."""
    return Job(folder, command_of(write(run, folder / "run.yml")), [{"PET_NNODES": "1"}])


def test_a_run_goes_on_after_its_worker_was_killed(small_run: RunFile, tmp_path: Path, jobs: Jobs) -> None:
    run = change(small_run, "train.steps=200", "train.checkpoint.every_steps=20", "evaluate.every_steps=null")
    job = alone(run, tmp_path)
    job.command += ["--stages", "build,train"]
    jobs(job)
    trained_to(run, 20, job)
    os.kill(job.pods[0].workers()[0], signal.SIGKILL)
    assert job.wait() == [137], job.logs()
    assert job.pods[0].last_words()["reason"] == "Killed"
    assert job.run() == 0, job.logs()
    assert last_step(run) == 200
    assert [one.exit for one in noted(run)] == [137, 0]
    assert "resumed from step" in job.logs()
    assert "Traceback" not in job.logs()


def test_a_run_that_gets_no_further_is_given_up(small_run: RunFile, tmp_path: Path, jobs: Jobs) -> None:
    run = change(small_run, "cluster.restarts=1")
    root = RunDirectory.of(run).root
    known: Attempts = ()
    for number in (1, 2):
        known = attempts.begun(known, 0, 100.0 * number, "pod")
        known = attempts.ended(known, number, 100.0 * number + 50, 143, "PeerLost")
    attempts.write(FolderStore(root.parent), root.name, known)
    job = jobs(alone(run, tmp_path))
    assert job.wait() == [1], job.logs()
    words = job.pods[0].last_words()
    assert words["reason"] == "OutOfAttempts"
    assert "2 attempts in a row got no further than step 0" in words["message"]
    assert (noted(run)[-1].exit, noted(run)[-1].reason) == (1, "OutOfAttempts")


def test_a_run_that_takes_too_long_saves_and_is_given_up(small_run: RunFile, tmp_path: Path, jobs: Jobs) -> None:
    run = change(small_run, "train.steps=1000000", "evaluate.every_steps=null", "cluster.deadline_seconds=2000")
    root = RunDirectory.of(run).root
    before = attempts.begun((), 0, time.time() - 1985, "pod")  # which leaves 15 s
    attempts.write(FolderStore(root.parent), root.name, before)
    job = jobs(alone(run, tmp_path))
    assert job.wait() == [1], job.logs()
    words = job.pods[0].last_words()
    assert words["reason"] == "Deadline"
    assert words["step"] == last_step(run)
    assert noted(run)[-1].reason == "Deadline"


def test_a_pod_whose_peers_do_not_come_says_so_and_is_started_again(
    small_run: RunFile, tmp_path: Path, jobs: Jobs
) -> None:
    run = change(small_run, "cluster.rendezvous_seconds=2")
    job = two_pods(tmp_path, write(run, tmp_path / "run.yml"))
    job.environments = [{k: v for k, v in job.environments[0].items() if k != "PET_RDZV_CONF"}]
    jobs(job)
    assert job.wait() == [143], job.logs()
    assert job.pods[0].last_words()["reason"] == "RendezvousTimeout"
    assert "Traceback" not in job.logs()
