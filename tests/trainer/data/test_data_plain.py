"""What the compiled loops make is, byte for byte, what the same rule makes written down plainly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import plain_data as plain
from trainer.data import build
from trainer.data.draws import generator
from trainer.data.grid import crop_all
from trainer.data.store import read_split
from trainer.data.sudoku_generated import make
from trmkit.spec.data import ArcData, SudokuGeneratedData

FILES = {"train", "test", "identifiers.json", "test_puzzles.json"}


def contents(folder: Path) -> dict[str, bytes]:
    """Return all that a data set holds but for its manifest, which says when it was built."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "manifest.json")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize("augment", ["stored", "on_the_fly"])
@pytest.mark.parametrize("side", [4, 6, 9])
def test_sudokus_are_the_bytes_of_the_plain_rendering(side: int, augment: str, tmp_path: Path) -> None:
    section = SudokuGeneratedData.model_validate(
        {"source": "sudoku-generated", "side": side, "train_puzzles": 8, "test_puzzles": 3, "num_aug": 12, "seed": 5}
        | {"augment": augment}
    )
    split = read_split(build(section, tmp_path), "train")
    puzzles, solutions = (boards[:8] for boards in make(section))
    inputs, labels = plain.sudoku_rows(puzzles, solutions, 12, generator(5, "variants"))
    assert split.inputs[:].tobytes() == inputs.tobytes()
    assert split.labels[:].tobytes() == labels.tobytes()


@pytest.mark.parametrize("translate", [True, False])
def test_arc_is_the_files_of_the_plain_rendering(
    translate: bool, write_tasks: Callable[..., str], task_json: Callable[..., Any], tmp_path: Path
) -> None:
    sizes = ((3, 5), (2, 2), (4, 1), (6, 6)), ((1, 1), (1, 1), (1, 1)), ((5, 2), (8, 3), (7, 4), (3, 8))
    trained = write_tasks("one", a=task_json(*sizes[0]), b=task_json(*sizes[1]))
    asked = write_tasks("two", c=task_json(*sizes[2], tests=2), d=task_json(*sizes[0][:3]))
    fields = {"canvas": 8, "num_aug": 40, "translate": translate, "seed": 7}
    section = ArcData.model_validate({"source": "arc", "collections": [trained, asked], "test": asked, **fields})
    rows = plain.arc_build(section, tmp_path / "plain")
    ours, theirs = contents(build(section, tmp_path / "data")), contents(tmp_path / "plain")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert {name.split("/")[0] for name in ours} == FILES
    assert rows > 3 * 40


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.floats(0.5, 1))
def test_grids_are_cropped_as_the_plain_rendering_crops_them(seed: int, canvas: int, coloured: float) -> None:
    draw = np.random.default_rng(seed)
    tokens = np.where(draw.random((20, canvas * canvas)) < coloured, draw.integers(2, 12, (20, canvas * canvas)), 1)
    tokens[:, -1] = draw.integers(0, 300, 20)
    assert crop_all(tokens).tolist() == [list(plain.crop(row)) for row in tokens]
