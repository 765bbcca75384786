"""Machines that share no folder train one run: the first keeps it, the others give and get what they need."""

import multiprocessing
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.trainer.helpers import change, fingerprint, free_port
from trainer import checkpoint
from trainer.__main__ import main
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

STEPS = ("train.steps=12", "evaluate.every_steps=6", "storage.path=runs", "storage.data=data")


@pytest.fixture
def run() -> RunFile:
    """Return a run whose folders are below the working directory of each process."""
    return change(None, *STEPS)


def act(environment: dict[str, str], home: Path, words: list[str], log: Path) -> None:
    """Run a command as a process of a machine would."""
    os.environ.update(environment)
    os.chdir(home)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(main(words))


def on_machines(command: str, file: Path, homes: list[Path], processes: int = 1) -> str:
    """Run a command of the trainer on so many processes of each machine, which is its home; return what was said.

    They come from a fork server, which has torch loaded already.
    """
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(len(homes) * processes)}
    server, log = multiprocessing.get_context("forkserver"), file.with_suffix(".log")
    server.set_forkserver_preload(["trainer.stages", "trainer.data.sudoku_generated", "trainer.report.page"])
    log.write_bytes(b"")
    started = []
    for rank in range(len(homes) * processes):
        home = homes[rank // processes]
        home.mkdir(exist_ok=True, parents=True)
        environment = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank % processes)}
        started.append(server.Process(target=act, args=(environment, home, [command, str(file)], log)))
        started[-1].start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * len(started), log.read_text()
    return log.read_text()


def checkpoints_in(home: Path, run: RunFile) -> Path:
    return home / RunDirectory.of(run).checkpoints


def forget(root: Path, after: int) -> None:
    """Take a run back to the checkpoint of step `after`."""
    for step in checkpoint.steps(root):
        if step > after:
            shutil.rmtree(root / f"step_{step:08d}")


def test_a_run_of_machines_that_share_nothing_goes_on_bit_for_bit_whoever_is_first(
    run: RunFile, tmp_path: Path
) -> None:
    file = tmp_path / "run.yml"
    file.write_text(dump(run))
    together, first, second = (tmp_path / name for name in ("together", "first", "second"))
    on_machines("run", file, [together, together])
    expected = fingerprint(checkpoints_in(together, run))
    on_machines("run", file, [first, second])
    root = checkpoints_in(first, run)
    assert fingerprint(root) == expected
    assert (root.parent / "eval.json").is_file()
    assert (root.parent / "report.html").is_file()
    assert not (second / RunDirectory.of(run).root / "metrics.jsonl").exists()
    assert sorted(path.name for path in (second / "data").iterdir()) == sorted(
        path.name for path in (first / "data").iterdir()
    )
    forget(root, 8)
    forget(checkpoints_in(second, run), 0)
    said = on_machines("train", file, [second, first])
    assert "resumed from step 8" in said
    assert fingerprint(checkpoints_in(second, run)) == expected
    assert checkpoint.steps(root)[-1] == 8
    assert not list(tmp_path.rglob(".seen-*"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_two_processes_on_each_of_two_machines_leave_one_whole_checkpoint(run: RunFile, tmp_path: Path) -> None:
    file = tmp_path / "run.yml"
    run = change(run, "train.steps=4", "evaluate.every_steps=null")
    file.write_text(dump(run))
    on_machines("train", file, [tmp_path / "first", tmp_path / "second"], 2)
    first, second = (checkpoints_in(tmp_path / home, run) for home in ("first", "second"))
    assert (checkpoint.steps(first), checkpoint.steps(second)) == ([4], [])
    found = checkpoint.newest(first)
    assert found is not None
    assert {f"rank{rank}.safetensors" for rank in range(4)} <= set(found.files)


@pytest.mark.full
def test_two_processes_on_each_of_two_machines_equal_four_on_one(run: RunFile, tmp_path: Path) -> None:
    file = tmp_path / "run.yml"
    file.write_text(dump(change(run, "train.steps=6", "evaluate.every_steps=null")))
    run = change(run, "train.steps=6", "evaluate.every_steps=null")
    on_machines("train", file, [tmp_path / "one"], 4)
    on_machines("train", file, [tmp_path / "first", tmp_path / "second"], 2)
    assert fingerprint(checkpoints_in(tmp_path / "first", run)) == fingerprint(checkpoints_in(tmp_path / "one", run))
