"""Several sources as one data set."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data import build
from trainer.data.expect import expected
from trainer.data.manifest import Grid, grid_of
from trainer.data.sampler import epoch_rows
from trainer.data.store import Split, read_identifiers, read_split
from trmkit.errors import DataError
from trmkit.spec.data import ArcData, MixedData, SudokuGeneratedData

FOUR = {"source": "sudoku-generated", "side": 4, "train_puzzles": 5, "test_puzzles": 3, "num_aug": 2}


def mixed(*parts: dict[str, Any]) -> MixedData:
    return MixedData.model_validate({"source": "mixed", "parts": parts})


def arc(collection: str, **fields: Any) -> dict[str, Any]:
    return {"source": "arc", "collections": [collection], "test": collection, "canvas": 8, "num_aug": 4, **fields}


def rows_by_name(split: Split, names: list[str]) -> dict[str, set[bytes]]:
    found: dict[str, set[bytes]] = {}
    for row, identifier in enumerate(split.row_identifiers):
        pair = split.inputs[row].tobytes() + split.labels[row].tobytes()
        found.setdefault(names[identifier], set()).add(pair)
    return found


@pytest.fixture
def two(write_tasks: Callable[..., str], task_json: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    ours, theirs = ((3, 5), (2, 2), (4, 1), (6, 6)), ((5, 2), (1, 3), (7, 4), (3, 6))
    return (
        arc(write_tasks("one", a=task_json(*ours), b=task_json(*ours[1:], tests=2))),
        arc(write_tasks("two", c=task_json(*theirs, tests=2), d=task_json(*theirs[:2])), num_aug=7),
    )


def test_every_identifier_keeps_its_rows_whatever_its_number(two: tuple[Any, Any], tmp_path: Path) -> None:
    folder = build(mixed(*two), tmp_path / "data")
    names = read_identifiers(folder)
    assert len(names) == len(set(names)) == 1 + 2 * 5 + 2 * 8
    for split in ("train", "test"):
        whole = read_split(folder, split)
        assert whole.metadata.num_puzzle_identifiers == len(names)
        alone: dict[str, set[bytes]] = {}
        for part in two:
            own = build(ArcData.model_validate(part), tmp_path / "data")
            alone |= rows_by_name(read_split(own, split), read_identifiers(own))
        assert rows_by_name(whole, names) == alone
    assert set(json.loads((folder / "test_puzzles.json").read_text())) == {"a", "b", "c", "d"}
    assert grid_of(folder) == Grid("arc", 8, 8)


def test_an_epoch_takes_every_group_of_every_part(two: tuple[Any, Any], tmp_path: Path) -> None:
    folder = build(mixed(*two), tmp_path / "data")
    names, split = read_identifiers(folder), read_split(folder, "train")
    drawn = {names[split.row_identifiers[row]].split("|||")[0] for row in epoch_rows(split, 0, 0)}
    assert drawn == {"a", "b", "c", "d"}
    assert split.metadata.total_groups == 4


def test_sudokus_of_two_kinds_are_one_data_set(tmp_path: Path) -> None:
    hard = FOUR | {"seed": 7, "num_aug": 0}
    section = mixed(FOUR, hard)
    folder = build(section, tmp_path)
    train, test = (read_split(folder, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (5 * 3 + 5, 6)
    assert train.group_indices.tolist() == [0, 3, 6, 9, 12, 15, 16, 17, 18, 19, 20]
    assert (train.puzzle_identifiers == 0).all()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [part["seed"] for part in manifest["section"]["parts"]] == [42, 7]
    assert manifest["counts"]["part 1/train_rows"] == 15
    assert manifest["counts"]["part 2/train_rows"] == 5
    assert not (folder / "parts").exists()
    assert build(section, tmp_path) == folder


def test_a_folder_somebody_else_built_can_be_a_part(tmp_path: Path) -> None:
    theirs = build(SudokuGeneratedData.model_validate(FOUR | {"seed": 5}), tmp_path / "theirs")
    (theirs / "manifest.json").unlink()
    folder = build(mixed({"source": "folder", "path": str(theirs)}, FOUR | {"seed": 6}), tmp_path / "data")
    assert grid_of(folder) == Grid("sudoku", 4, 4)
    np.testing.assert_array_equal(read_split(folder, "train").inputs[:15], read_split(theirs, "train").inputs)


def test_a_folder_part_with_other_content_makes_another_data_set(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"

    def put(seed: int) -> None:
        shutil.rmtree(theirs, ignore_errors=True)
        built = build(SudokuGeneratedData.model_validate(FOUR | {"seed": seed}), tmp_path / "built")
        shutil.copytree(built, theirs)

    section = mixed({"source": "folder", "path": str(theirs)}, FOUR | {"seed": 6})
    put(5)
    folder = build(section, tmp_path / "data")
    before = np.array(read_split(folder, "train").inputs)
    built_at = (folder / "train/dataset.json").stat().st_mtime_ns
    assert build(section, tmp_path / "data") == folder
    assert (folder / "train/dataset.json").stat().st_mtime_ns == built_at
    put(7)
    assert build(section, tmp_path / "data") == folder
    np.testing.assert_array_equal(read_split(folder, "train").inputs[:15], read_split(theirs, "train").inputs)
    assert (before != read_split(folder, "train").inputs).any()
    shutil.rmtree(theirs)  # no file left to compare with: what is built stays good
    built_at = (folder / "train/dataset.json").stat().st_mtime_ns
    assert build(section, tmp_path / "data") == folder
    assert (folder / "train/dataset.json").stat().st_mtime_ns == built_at


def test_the_size_is_foretold_and_then_read(two: tuple[Any, Any], tmp_path: Path) -> None:
    section = mixed(*two)
    metadata, rows, built = expected(section, tmp_path)
    assert not built
    folder = build(section, tmp_path)
    found = read_split(folder, "train")
    assert (metadata, rows) == (found.metadata, len(found))
    assert expected(section, tmp_path) == (found.metadata, len(found), True)


def test_parts_of_another_size_are_refused_with_both_sizes(two: tuple[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="part 1 is sudoku 4x4, part 2 is sudoku 6x6"):
        mixed(FOUR, FOUR | {"side": 6})
    with pytest.raises(ValueError, match="part 1 is sudoku 4x4, part 3 is arc 8x8"):
        mixed(FOUR, FOUR, two[0])
    with pytest.raises(ValueError, match="give two sources or more"):
        mixed(FOUR)
    six = build(SudokuGeneratedData.model_validate(FOUR | {"side": 6}), tmp_path)
    section = mixed(FOUR, {"source": "folder", "path": str(six)})
    with pytest.raises(
        DataError, match=r"part 1 has .* 16 cells of 6 kinds .* part 2 has .* 6 x 6, 36 cells of 8 kinds"
    ):
        build(section, tmp_path / "data")


def test_a_task_in_two_parts_is_refused(two: tuple[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="task [ab] is in part 1 and in part 2"):
        build(mixed(two[0], two[0] | {"seed": 2}), tmp_path)
    assert list(tmp_path.glob("mixed*")) == []


def test_a_part_that_trains_on_what_another_tests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="part 2 trains on a puzzle that part 1 tests on"):
        build(mixed(FOUR, FOUR | {"train_puzzles": 8, "test_puzzles": 1}), tmp_path)
