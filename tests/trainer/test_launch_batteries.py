"""The long form of what `test_launch_pods.py` shows once; prints what was seen."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer.helpers import change, fingerprint, free_port
from tests.trainer.pods import Job, command_of, pytorchjob, two_pods
from tests.trainer.test_launch_pods import STALL, STALL_SECONDS, last_step, noted, write
from trainer import checkpoint
from trmkit.errors import StoreError
from trmkit.spec.run import RunFile
from trmkit.store.fetch import Fetch, newest_whole
from trmkit.store.layout import RunDirectory, store_key
from trmkit.store.open import open_store
from trmkit.store.publish import checkpoints

pytestmark = pytest.mark.full

LONG = ("train.steps=4000", "train.checkpoint.every_steps=20", "evaluate.every_steps=400", "cluster.restarts=99")


def until(true: Callable[[], bool], job: Job, seconds: float = 180) -> None:
    """Tend the job until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert job.tend() is None, job.logs()
        assert time.monotonic() < end, job.logs()
        time.sleep(0.02)


def pass_time(seconds: float, job: Job) -> None:
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() >= end, job)


def hit(job: Job, number: int, chance: random.Random) -> None:
    """Send a signal to one worker, as soon as one is there."""
    while not (workers := [pid for pod in job.pods for pid in pod.workers()]):
        pass_time(0.05, job)
    os.kill(chance.choice(workers), number)


def all_left(job: Job, seconds: float) -> None:
    """Wait until every pod that was there has ended."""
    before = {id(pod.process) for pod in job.pods}
    until(lambda: before.isdisjoint({id(pod.process) for pod in job.pods}), job, seconds)


def test_twenty_kills_and_ten_freezes_leave_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = (f"storage.path={tmp_path / 'runs'}", f"storage.data={tmp_path / 'data'}")
    run, chance = change(None, *LONG, *places, STALL), random.Random(5)
    root = RunDirectory.of(run).checkpoints
    job = two_pods(tmp_path, write(run, tmp_path / "run.yml"), operator=pytorchjob, processes=2).start()
    numbers = [signal.SIGKILL] * 20 + [signal.SIGSTOP] * 10
    chance.shuffle(numbers)
    noticed: dict[int, list[float]] = {signal.SIGKILL: [], signal.SIGSTOP: []}
    recovered: list[float] = []
    try:
        for index, number in enumerate(numbers):
            step = last_step(run)
            if index % 2:  # while it trains, evaluates, saves
                until(lambda step=step: last_step(run) > step, job)
            pass_time(chance.uniform(0, 3 if index % 2 else 8), job)
            at = time.monotonic()
            hit(job, number, chance)
            all_left(job, STALL_SECONDS + 30)
            noticed[number].append(time.monotonic() - at)
            if index % 2:
                left, step = time.monotonic(), last_step(run)
                until(lambda step=step: last_step(run) > step, job)
                recovered.append(time.monotonic() - left)
        assert job.run(patience=1800) == 0, job.logs()
    finally:
        job.end()
    alone = change(run, f"storage.path={tmp_path / 'undisturbed'}")
    calm = two_pods(tmp_path / "calm", write(alone, tmp_path / "calm" / "run.yml"), processes=2).start()
    try:
        assert calm.run(patience=1800) == 0
    finally:
        calm.end()
    assert fingerprint(root) == fingerprint(RunDirectory.of(alone).checkpoints)
    assert set(job.exits) <= {137, 143}
    with capsys.disabled():
        kills, freezes = noticed[signal.SIGKILL], noticed[signal.SIGSTOP]
        print(f"\nkilled: all pods left within {max(kills):.1f} s (mean {sum(kills) / len(kills):.1f})")
        print(f"frozen, limit {STALL_SECONDS} s: all pods left within {max(freezes):.1f} s")
        print(f"next checkpoint after that within {max(recovered):.1f} s (mean {sum(recovered) / len(recovered):.1f})")
        print(f"attempts noted: {len(noted(run))}; exit codes {sorted(set(job.exits))}")


def newest_in_store(run: RunFile, folder: Path) -> int:
    """Fetch the newest checkpoint of the store that is whole; return its step, 0 if there is none."""
    store, key = open_store(run.storage), store_key(run, RunDirectory.of(run))
    try:
        found = newest_whole(Fetch(store, 10), checkpoints(store, f"{key}/checkpoints"), folder, [])
    except StoreError:
        return 0
    return found.step if found is not None else 0


def test_fifty_requests_to_leave_are_met_with_a_whole_checkpoint(
    tmp_path: Path, s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = (f"storage.path={tmp_path / 'runs'}", f"storage.data={tmp_path / 'data'}", f"storage.remote={s3}")
    often = ("train.steps=9000", "train.checkpoint.every_steps=10", "evaluate.every_steps=30")
    run, chance = change(None, *often, *places), random.Random(3)
    root = RunDirectory.of(run).checkpoints
    file = write(run, tmp_path / "run.yml")
    seconds, steps, early = [], [], 0
    for index in range(50):
        job = Job(tmp_path, command_of(file), pytorchjob(1, free_port())).start()
        try:
            if index % 5:
                step = last_step(run)
                until(lambda step=step: last_step(run) > step, job)
                time.sleep(chance.uniform(0, 1.5))
            else:
                early += 1
                time.sleep(chance.uniform(0, 8))
            at = time.monotonic()
            job.pods[0].process.send_signal(signal.SIGTERM)
            (code,) = job.wait(60)
            seconds.append(time.monotonic() - at)
            assert code in (143, -signal.SIGTERM), job.logs()  # before Python runs, which a container calls 143 too
            assert seconds[-1] <= 10, job.logs()
        finally:
            job.end()
        found = checkpoint.newest(root)
        steps.append(0 if found is None else found.step)
        assert code < 0 or job.pods[0].last_words()["reason"] == "Preempted"
    there = newest_in_store(run, tmp_path / "fetched")
    assert steps == sorted(steps)
    assert there == steps[-1]
    with capsys.disabled():
        print(f"\n50 requests, {early} at any moment of the start: left after {max(seconds):.1f} s at most")
        print(f"mean {sum(seconds) / 50:.1f} s; step {steps[-1]} here, {there} in the store")
