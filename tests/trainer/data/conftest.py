"""What the tests of the data sets share: the reference vectors, and small tasks and files."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Grid = list[list[int]]

SOLVED = "1234341221434321"
"""A solved 4 x 4 Sudoku."""


@pytest.fixture
def vectors() -> Path:
    """Folder of the reference vectors."""
    folder = os.environ.get("TRM_VECTORS")
    if not folder:
        pytest.skip("TRM_VECTORS is not set: reference vectors not compared")
    return Path(folder)


@pytest.fixture
def solved() -> str:
    """Return a solved 4 x 4 Sudoku."""
    return SOLVED


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """Function that writes `train.csv` and `test.csv` of (question, answer[, rating]) rows; returns their folder."""

    def write(train: list[tuple[str, ...]], test: list[tuple[str, ...]] | None = None) -> Path:
        folder = tmp_path / "csv"
        folder.mkdir(exist_ok=True)
        for name, rows in (("train", train), ("test", test or train)):
            with (folder / f"{name}.csv").open("w", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(["source", "question", "answer", "rating"])
                writer.writerows(["made up", *row, *["0"][: 3 - len(row)]] for row in rows)
        return folder

    return write


@pytest.fixture
def four_by_four(write_csv: Callable[..., Path]) -> Path:
    """Folder with three 4 x 4 Sudokus to train on and one to test on."""
    questions = ["12343412........", "1.3.3.1.2.4.4.2.", SOLVED[:15] + "."]
    return write_csv(
        [(question, SOLVED, str(rating)) for rating, question in enumerate(questions)],
        [("." + SOLVED[1:], SOLVED, "7")],
    )


def _task_json(*sizes: tuple[int, int], tests: int = 1) -> dict[str, Any]:
    """Return a task whose pairs have grids of `sizes`, all different, the last `tests` of them test pairs."""

    def grid(height: int, width: int, start: int) -> Grid:
        return [[(start + 3 * i + 7 * j + i * j) % 10 for j in range(width)] for i in range(height)]

    pairs = [{"input": grid(h, w, k), "output": grid(w, h, k + 4)} for k, (h, w) in enumerate(sizes)]
    return {"train": pairs[:-tests], "test": pairs[-tests:]}


@pytest.fixture
def write_tasks(tmp_path: Path) -> Callable[..., str]:
    """Function that writes tasks as a folder of files, one each; returns the folder as a collection."""

    def write(folder: str, **tasks: Any) -> str:
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        for name, content in tasks.items():
            (path / f"{name}.json").write_text(json.dumps(content))
        return str(path)

    return write


@pytest.fixture
def task_json() -> Callable[..., dict[str, Any]]:
    """Function from the sizes of grids to a task with them; see `_task_json`."""
    return _task_json
