"""What the trainer's tests share: one thread, the reference vectors, and a small run that trains in seconds."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.helpers import change
from trainer.dist import World
from trmkit.spec.run import RunFile


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


@pytest.fixture
def alone() -> World:
    """Return the world of a single process on the CPU."""
    return World(0, 1, 0, torch.device("cpu"))
