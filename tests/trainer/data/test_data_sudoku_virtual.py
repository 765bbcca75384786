"""Variants of Sudokus that are made when they are asked for: the rows that would have been stored."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainer.helpers import change, final_state, train_alone
from trainer.data import build, place_of
from trainer.data.expect import expected
from trainer.data.folder import check
from trainer.data.resident import shuffled_on
from trainer.data.sampler import epoch_rows
from trainer.data.store import read_split
from trainer.data.stream import Rows, Stream
from trainer.dist import World
from trmkit.errors import DataError, SpecError
from trmkit.spec.data import MixedData, SudokuData, SudokuGeneratedData
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

CPU = torch.device("cpu")


def section_of(side: int = 4, **fields: Any) -> SudokuGeneratedData:
    known = {"source": "sudoku-generated", "side": side, "train_puzzles": 20, "test_puzzles": 10, "num_aug": 7}
    return SudokuGeneratedData.model_validate(known | fields)


def both(root: Path, side: int = 4) -> tuple[Path, Path]:
    """Return the folders of one data set, its rows stored and made on the fly."""
    stored, made = (build(section_of(side, augment=how), root) for how in ("stored", "on_the_fly"))
    return stored, made


@pytest.mark.parametrize("side", [4, 6, 9])
def test_the_rows_are_those_that_would_be_stored(side: int, tmp_path: Path) -> None:
    stored, made = (read_split(folder, "train") for folder in both(tmp_path, side))
    assert np.array_equal(stored.inputs[:], made.inputs[:])
    assert np.array_equal(stored.labels[:], made.labels[:])
    assert stored.metadata == made.metadata
    for name in ("puzzle_identifiers", "puzzle_indices", "group_indices"):
        assert np.array_equal(getattr(stored, name), getattr(made, name))
    tests = [read_split(folder, "test") for folder in both(tmp_path, side)]
    assert np.array_equal(tests[0].inputs, tests[1].inputs)


def test_so_are_those_of_puzzles_from_a_file(four_by_four: Path, tmp_path: Path) -> None:
    sections = [
        SudokuData.model_validate({"source": "sudoku", "path": str(four_by_four), "num_aug": 5, "augment": how})
        for how in ("stored", "on_the_fly")
    ]
    stored, made = (read_split(build(section, tmp_path), "train") for section in sections)
    assert np.array_equal(stored.inputs[:], made.inputs[:])
    assert np.array_equal(stored.labels[:], made.labels[:])


def test_a_thousand_variants_of_a_thousand_puzzles_take_less_than_twenty_megabytes(tmp_path: Path) -> None:
    section = section_of(train_puzzles=1000, num_aug=1000, augment="on_the_fly")
    folder = build(section, tmp_path)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 20e6
    assert len(read_split(folder, "train")) == expected(section, tmp_path / "none")[1] == 1_001_000


@pytest.mark.parametrize(
    "rows", [3, -1, np.int64(5), slice(2, 30, 7), slice(None, None, -1), np.array([5, -2, 5]), np.empty(0, np.int64)]
)
def test_rows_are_picked_as_from_an_array(rows: Any, tmp_path: Path) -> None:
    stored, made = (read_split(folder, "train") for folder in both(tmp_path))
    assert np.array_equal(stored.inputs[rows], made.inputs[rows])
    assert stored.labels[rows].shape == made.labels[rows].shape
    assert (stored.inputs.shape, stored.inputs.dtype) == (made.inputs.shape, made.inputs.dtype)


def test_a_row_that_there_is_not_is_refused(tmp_path: Path) -> None:
    made = read_split(both(tmp_path)[1], "train")
    with pytest.raises(IndexError):
        made.inputs[len(made)]


@pytest.mark.parametrize("side", [4, 6, 9])
def test_a_batch_is_the_same_made_on_the_host_or_on_the_device(side: int, tmp_path: Path) -> None:
    stored, made = (read_split(folder, "train") for folder in both(tmp_path, side))
    rows = torch.tensor([0, 8, 15, len(made) - 1, 15, *range(40, 80)])
    wanted = Rows(stored, CPU, on_device=False).get(rows)
    for split, on_device in ((stored, True), (made, False), (made, True)):
        found = Rows(split, CPU, on_device=on_device).get(rows)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value)
    assert made.shuffled is not None
    inputs, labels = shuffled_on(CPU, made.shuffled)(rows)  # what a GPU does
    assert torch.equal(inputs.int(), wanted["inputs"])
    assert torch.equal(labels.int(), wanted["labels"])


def test_the_stream_hands_out_the_same_rows_and_goes_on_from_a_saved_place(tmp_path: Path, alone: World) -> None:
    stored, made = (read_split(folder, "train") for folder in both(tmp_path))
    one, two = Stream(stored, 3, 8, alone, on_device=False), Stream(made, 3, 8, alone, on_device=False)
    for _ in range(30):
        assert torch.equal(one.next(None)["inputs"], two.next(None)["inputs"])
    again = Stream(made, 3, 8, alone, on_device=True)
    again.restore(one.state())
    assert torch.equal(one.next(None)["labels"], again.next(None)["labels"])
    assert np.array_equal(epoch_rows(stored, 3, 5), epoch_rows(made, 3, 5))


def test_a_run_learns_the_same_from_either_also_after_a_stop(small_run: RunFile) -> None:
    run = change(small_run, "train.steps=8", "train.log.every_steps=8", "evaluate.every_steps=null")
    wanted = final_state(run)
    run = change(run, "data.augment=on_the_fly")
    train_alone(run)
    shutil.rmtree(RunDirectory.of(run).checkpoints / "step_00000008")
    found = final_state(run)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_the_data_set_of_a_run_that_says_nothing_keeps_its_name() -> None:
    plain = place_of(section_of(), Path())
    assert plain == place_of(section_of(augment="stored"), Path())
    assert plain != place_of(section_of(augment="on_the_fly"), Path())
    assert plain.name == "sudoku-generated-fb06ace31315"


def test_a_copied_folder_is_a_source_too(tmp_path: Path) -> None:
    folder = both(tmp_path)[1]
    assert check(folder) == folder


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("boards", lambda a: a + 4),
        ("boards", lambda a: a + 16),
        ("boards", lambda a: a[:, :9]),
        ("boards", lambda a: a[:3]),
        ("boards", lambda a: a.astype(np.int32)),
        ("symmetries", lambda a: -a),
        ("symmetries", lambda a: a + (24 << 23)),
        ("symmetries", lambda a: a | 2047),
        ("symmetries", lambda a: a[:-1]),
    ],
)
def test_damaged_boards_and_symmetries_are_refused_by_name(
    file: str, harm: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    folder = both(tmp_path)[1]
    path = folder / "train" / f"all__{file}.npy"
    np.save(path, harm(np.load(path)))
    with pytest.raises(DataError, match="all__"):
        read_split(folder, "train")


def test_a_mix_refuses_parts_that_are_not_stored() -> None:
    part = {"source": "sudoku-generated", "side": 4}
    with pytest.raises(ValueError, match="part 2 cannot have augment: on_the_fly"):
        MixedData.model_validate({"source": "mixed", "parts": [part, part | {"augment": "on_the_fly"}]})


def test_other_sources_do_not_know_the_key(small_run: RunFile) -> None:
    with pytest.raises(SpecError, match="augment"):
        change(small_run, "data={source: maze-generated, augment: on_the_fly}")
