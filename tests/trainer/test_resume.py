"""A run that was killed and resumed equals one that was not, bit for bit."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.trainer.helpers import change, final_state, fingerprint, free_port, train_alone
from trainer import checkpoint
from trainer.__main__ import main
from trainer.claim import claim
from trainer.dist import World
from trainer.subject import subject_of
from trainer.train import build_state, resume
from trmkit.errors import CheckpointError
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store.fetch import Fetch, newest_whole
from trmkit.store.layout import RunDirectory, store_key
from trmkit.store.open import open_store
from trmkit.store.publish import checkpoints

PRELOADED = ["trainer.train", "trainer.data.sudoku_generated", "trmkit.store.s3"]


def write(run: RunFile, path: Path) -> Path:
    path.write_text(dump(run))
    return path


def train_in(environment: dict[str, str], file: Path) -> None:
    """Train as a process with this environment would; a fork server has that of its start."""
    os.environ.update(environment)
    sys.exit(main(["train", str(file)]))


def go_back(root: Path) -> None:
    """Take a run back to its first checkpoint, as if the others had been damaged, so that every kill hits work."""
    for step in checkpoint.steps(root)[1:]:
        (root / f"step_{step:08d}" / checkpoint.MANIFEST).unlink(missing_ok=True)


def kill_until_done(run: RunFile, file: Path, kills: int, *, new_machine_every: int = 0) -> None:
    """Train in children of a fork server, which has torch loaded already; SIGKILL them wherever they are.

    After every `new_machine_every` kills nothing of the run is left on the disk, and it comes from its store.
    """
    directory = RunDirectory.of(run)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(PRELOADED)
    chance, killed = random.Random(11), 0
    while True:
        child = processes.Process(target=train_in, args=(dict(os.environ), file))
        child.start()
        if killed < kills:
            child.join(chance.uniform(0.1, 0.5) if killed else 8)
            assert child.pid is not None
            if child.is_alive():
                os.kill(child.pid, signal.SIGKILL)
                killed += 1
        child.join()
        if child.exitcode == 0:
            return
        assert child.exitcode == -signal.SIGKILL
        if killed < kills and checkpoint.steps(directory.checkpoints)[-1:] > [200]:
            go_back(directory.checkpoints)
        if new_machine_every and killed % new_machine_every == 0:
            shutil.rmtree(directory.root)


LONG = ("train.steps=240", "train.checkpoint.every_steps=5", "evaluate.every_steps=60")


def test_thirty_kills_at_random_points_leave_no_trace(small_run: RunFile, tmp_path: Path) -> None:
    expected = change(small_run, *LONG)
    train_alone(expected)
    killed = change(expected, f"storage.path={tmp_path / 'killed'}")
    kill_until_done(killed, write(killed, tmp_path / "killed.yaml"), 30)
    assert fingerprint(RunDirectory.of(killed).checkpoints) == fingerprint(RunDirectory.of(expected).checkpoints)


@pytest.mark.full
def test_two_hundred_kills_of_a_run_that_is_published_leave_no_trace(
    small_run: RunFile, tmp_path: Path, s3: str
) -> None:
    """Every tenth time the machine is a new one. What is in the store at the end is the same, too."""
    expected = change(small_run, *LONG)
    train_alone(expected)
    killed = change(expected, f"storage.path={tmp_path / 'killed'}", f"storage.remote={s3}")
    directory = RunDirectory.of(killed)
    kill_until_done(killed, write(killed, tmp_path / "killed.yaml"), 200, new_machine_every=10)
    wanted = fingerprint(RunDirectory.of(expected).checkpoints)
    assert fingerprint(directory.checkpoints) == wanted
    store = open_store(killed.storage)
    newest = checkpoints(store, f"{store_key(killed, directory)}/checkpoints")
    newest_whole(Fetch(store, 10), newest, tmp_path / "fetched", [])
    assert fingerprint(tmp_path / "fetched") == wanted


def launch_two(file: Path) -> list[subprocess.Popen[bytes]]:
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "trainer", "train", str(file)],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]


def test_two_processes_killed_and_resumed_equal_two_that_were_not(small_run: RunFile, tmp_path: Path) -> None:
    settings = ("train.steps=150", "train.checkpoint.every_steps=10", "evaluate.every_steps=null")
    expected_run = change(small_run, *settings)
    for process in launch_two(write(expected_run, tmp_path / "expected.yaml")):
        assert process.wait(120) == 0
    killed_run = change(expected_run, f"storage.path={tmp_path / 'killed'}")
    file = write(killed_run, tmp_path / "killed.yaml")
    root = RunDirectory.of(killed_run).checkpoints
    first = launch_two(file)
    deadline = time.monotonic() + 100
    while len(checkpoint.steps(root)) < 2:
        assert time.monotonic() < deadline, "two processes saved nothing in 100 seconds"
        time.sleep(0.02)
    for process in first:
        process.kill()
        process.wait()
    for process in launch_two(file):
        assert process.wait(120) == 0
    assert fingerprint(root) == fingerprint(RunDirectory.of(expected_run).checkpoints)


def test_another_number_of_processes_goes_on_and_says_what_it_dropped(small_run: RunFile, tmp_path: Path) -> None:
    whole = final_state(change(small_run, f"storage.path={tmp_path / 'whole'}"))
    run = change(small_run, "train.checkpoint.keep=9")
    file = write(run, tmp_path / "run.yml")
    for process in launch_two(file):
        assert process.wait(120) == 0
    root = RunDirectory.of(run).checkpoints
    for step in checkpoint.steps(root):
        if step > 6:
            (root / f"step_{step:08d}" / checkpoint.MANIFEST).unlink()
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "train", str(file)], capture_output=True, text=True, check=True
    )
    assert "resumed from step 6" in done.stderr
    assert "dropped the state of the global random generators" in done.stderr
    found = checkpoint.newest(root)
    assert found is not None
    for name, value in found.tensors("model.safetensors").items():
        torch.testing.assert_close(value, whole[f"model/{name}"], rtol=2e-3, atol=2e-5)


def test_another_batch_size_drops_the_rows_being_worked_on(small_run: RunFile) -> None:
    train_alone(small_run)
    longer = change(small_run, "train.steps=14", "train.batch_size=4")
    RunDirectory.of(longer).root.parent.mkdir(exist_ok=True)
    RunDirectory.of(small_run).root.rename(RunDirectory.of(longer).root)
    assert train_alone(longer) == 14


VARIANTS = {
    "adamw": "train.optimizer=adamw",
    "parts": "train.accumulate=2",
    "bfloat16": "model.forward_dtype=bfloat16",
    "continue": "model.no_ACT_continue=false",
    "one-state": "model.single_z=true",
    "no-average": "train.ema=0",
    "clipped": "train.grad_clip=0.5",
    "recomputed": "train.activation_checkpointing=true",
}


@pytest.mark.parametrize("override", VARIANTS.values(), ids=VARIANTS)
def test_every_kind_of_run_goes_on_exactly(small_run: RunFile, tmp_path: Path, override: str) -> None:
    whole = change(small_run, override, "evaluate.every_steps=null")
    train_alone(whole)
    parted = change(whole, f"storage.path={tmp_path / 'parted'}", "train.checkpoint.keep=9")
    train_alone(parted)
    root = RunDirectory.of(parted).checkpoints
    for step in checkpoint.steps(root):
        if step > 4:
            shutil.rmtree(root / f"step_{step:08d}")
    train_alone(parted)
    assert fingerprint(root) == fingerprint(RunDirectory.of(whole).checkpoints)


def test_an_average_that_is_switched_on_starts_from_the_weights(
    small_run: RunFile, alone: World, capsys: pytest.CaptureFixture[str]
) -> None:
    without = change(small_run, "train.ema=0", "train.steps=4")
    train_alone(without)
    subject = subject_of(small_run)(small_run, alone)
    state = build_state(small_run, subject, alone)
    resume(state, RunDirectory.of(without))
    assert state.ema is not None
    for name, p in state.model.named_parameters():
        assert torch.equal(state.ema.shadow[name], p)
    assert "starts now" in capsys.readouterr().err


def test_a_checkpoint_of_another_experiment_is_refused(small_run: RunFile, alone: World) -> None:
    train_alone(small_run)
    for override in ("train.optimizer=adamw", "seed=3", "model.H_cycles=3"):
        other = change(small_run, override)
        subject = subject_of(other)(other, alone)
        with pytest.raises(CheckpointError, match="made with another"):
            resume(build_state(other, subject, alone), RunDirectory.of(small_run))


def test_two_trainings_of_one_run_at_a_time_are_refused(small_run: RunFile, alone: World) -> None:
    directory = RunDirectory.of(small_run)
    with claim(small_run, directory, alone), pytest.raises(CheckpointError, match=str(os.getpid())):
        train_alone(small_run)
    assert train_alone(small_run) == 12


def test_the_best_checkpoint_survives_a_kill_between_saving_it_and_naming_it(small_run: RunFile) -> None:
    run = change(small_run, "train.steps=6")
    train_alone(run)
    root = RunDirectory.of(run).checkpoints
    best = checkpoint.read_best(root)
    (root / checkpoint.BEST).unlink()
    train_alone(run)
    assert best is not None
    assert checkpoint.read_best(root) == best


def test_a_finished_run_has_nothing_to_do(small_run: RunFile) -> None:
    train_alone(small_run)
    root = RunDirectory.of(small_run).checkpoints
    before = fingerprint(root)
    train_alone(small_run)
    assert fingerprint(root) == before


def test_numbers_of_repeated_updates_are_not_logged_twice(small_run: RunFile) -> None:
    train_alone(small_run)
    directory = RunDirectory.of(small_run)
    once = [line.split('"loss"')[0] for line in directory.metrics.read_text().splitlines()]
    (directory.checkpoints / "step_00000012" / checkpoint.MANIFEST).unlink()
    train_alone(small_run)
    again = [line.split('"loss"')[0] for line in directory.metrics.read_text().splitlines()]
    assert [line for line in again if '"train"' in line] == [line for line in once if '"train"' in line]
