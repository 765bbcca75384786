"""What the trainer's tests share: one thread, the reference vectors, and a small run that trains in seconds."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.helpers import TASKS, change, train_alone
from trainer.dist import World
from trmkit.spec.load import dump, loads
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Return the folder of reference numbers; the test is skipped where it is not."""
    folder = os.environ.get("TRM_VECTORS")
    if not folder:
        pytest.skip("TRM_VECTORS is not set: reference vectors not compared")
    return Path(folder)


@pytest.fixture(scope="session")
def units(vectors: Path) -> Any:
    return torch.load(vectors / "units.pt", weights_only=True)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which data sets are built once for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def small_run(tmp_path: Path, data_root: Path) -> RunFile:
    """Return a run that trains in a second or two; runs go to the test's own folder."""
    return change(None, f"storage.path={tmp_path / 'runs'}", f"storage.data={data_root}")


@pytest.fixture(scope="session")
def arc_run(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> RunFile:
    """Return a run on four small made-up tasks with three variants each, trained for a few updates."""
    folder = tmp_path_factory.mktemp("tasks")
    for number, name in enumerate(TASKS):
        pairs = [
            {"input": [[number, k], [k, 3]], "output": [[k, number]]} for k in range(4 + number % 2)
        ]  # two test inputs for every second task
        (folder / f"{name}.json").write_text(json.dumps({"train": pairs[:3], "test": pairs[3:]}))
    text = f"""
name: small
model: {{family: trm, hidden_size: 16, num_heads: 2, H_cycles: 1, L_cycles: 1, halt_max_steps: 2,
        puzzle_emb_ndim: 16, puzzle_emb_len: 1, forward_dtype: float32}}
data: {{source: arc, collections: ["{folder}"], test: "{folder}", canvas: 3, num_aug: 3}}
train: {{steps: 9, batch_size: 8, warmup_steps: 2, lr: 1e-2, threads: 1, device: cpu,
        checkpoint: {{every_steps: 3, every_minutes: null, keep: 3}}, log: {{every_steps: 3}}}}
evaluate: {{examples: 3, fit_sample: 4, pass_ks: [1, 2, 100]}}
storage: {{path: "{tmp_path_factory.mktemp("runs")}", data: "{data_root}"}}
"""
    run = loads(text, "arc.yaml")
    train_alone(run)
    RunDirectory.of(run).run_file.write_text(dump(run))
    return run


@pytest.fixture
def alone() -> World:
    """Return the world of a single process on the CPU."""
    return World(0, 1, 0, torch.device("cpu"))
