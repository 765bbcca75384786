"""The layout on the disk: what is written is read back, and what is broken is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.data.store import create_rows, finish_split, read_identifiers, read_split, write_identifiers, write_split
from trmkit.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of two groups: two puzzles of one and two rows, and one puzzle of one row."""
    inputs, labels = create_rows(tmp_path, "train", 4, 9, 12)
    inputs[:], labels[:] = np.arange(36).reshape(4, 9) % 12, 3
    finish_split(
        tmp_path,
        "train",
        rows=4,
        seq_len=9,
        vocab_size=12,
        num_puzzle_identifiers=4,
        puzzle_identifiers=[1, 2, 3],
        puzzle_indices=[0, 1, 3, 4],
        group_indices=[0, 2, 3],
    )
    write_identifiers(tmp_path, ["a", "b", "c"])
    return tmp_path


def test_a_split_reads_back_as_it_was_written(folder: Path) -> None:
    split = read_split(folder, "train")
    assert len(split) == 4
    np.testing.assert_array_equal(split.inputs, np.arange(36).reshape(4, 9) % 12)
    assert isinstance(split.inputs, np.memmap)
    assert split.inputs.dtype == np.uint8
    assert split.metadata.total_groups == 2
    assert split.metadata.total_puzzles == 3
    assert split.metadata.mean_puzzle_examples == pytest.approx(4 / 3)
    assert split.metadata.ignore_label_id == 0
    assert read_identifiers(folder) == ["<blank>", "a", "b", "c"]


def test_every_row_has_the_identifier_of_its_puzzle(folder: Path) -> None:
    identifiers = read_split(folder, "train").row_identifiers
    assert identifiers.tolist() == [1, 2, 2, 3]
    assert identifiers.dtype == np.int32


def test_rows_without_identifiers_are_puzzles_of_their_own(tmp_path: Path) -> None:
    write_split(tmp_path, "test", np.ones((6, 4), np.uint8), np.ones((6, 4), np.uint8), 3, rows_per_group=3)
    split = read_split(tmp_path, "test")
    assert split.group_indices.tolist() == [0, 3, 6]
    assert split.row_identifiers.tolist() == [0] * 6


def test_the_references_int64_sudoku_files_are_read(vectors: Path) -> None:
    split = read_split(vectors / "sudoku_tiny" / "out_sub3_aug2", "train")
    assert split.inputs.dtype == np.int64
    assert split.inputs.shape == (9, 81)


def test_an_absent_ignored_label_is_none(folder: Path) -> None:
    change(folder, ignore_label_id=None)
    assert read_split(folder, "train").metadata.ignore_label_id is None


def change(folder: Path, **fields: object) -> None:
    path = folder / "train" / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def save(folder: Path, name: str, array: object) -> None:
    np.save(folder / "train" / f"all__{name}.npy", np.asarray(array), allow_pickle=True)


@pytest.mark.parametrize("name", ["inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices"])
def test_a_missing_or_damaged_array_is_named(folder: Path, name: str) -> None:
    path = folder / "train" / f"all__{name}.npy"
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:20], b"", b"PK\x03\x04" + whole, whole[:8] + b"\xff" * 200):
        path.write_bytes(content)
        with pytest.raises(DataError, match=path.name):
            read_split(folder, "train")
    path.unlink()
    with pytest.raises(DataError, match=path.name):
        read_split(folder, "train")


def test_a_pickle_is_refused_and_not_opened(folder: Path) -> None:
    for content in ([{"a": 1}], [Path("x")]):
        save(folder, "puzzle_indices", np.array(content, object))
        with pytest.raises(DataError, match="puzzle_indices"):
            read_split(folder, "train")


@pytest.mark.parametrize("content", ["", "[]", "{}", "nonsense", "[" * 100_000, '{"pad_id": 0}', "\x00"])
def test_a_damaged_dataset_json_is_named(folder: Path, content: str) -> None:
    (folder / "train" / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=r"dataset\.json"):
        read_split(folder, "train")


@pytest.mark.parametrize(
    "fields",
    [
        {"vocab_size": "12"},
        {"seq_len": 9.0},
        {"seq_len": -9},
        {"sets": ["all", "more"]},
        {"ignore_label_id": "none"},
        {"seq_len": 8},
        {"vocab_size": 11},
        {"num_puzzle_identifiers": 3},
    ],
)
def test_metadata_that_does_not_belong_to_the_arrays_is_refused(folder: Path, fields: dict[str, object]) -> None:
    change(folder, **fields)
    with pytest.raises(DataError, match="train"):
        read_split(folder, "train")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("inputs", np.zeros((4, 8), np.uint8)),
        ("inputs", np.zeros((4, 9), np.float32)),
        ("inputs", np.zeros(36, np.uint8)),
        ("inputs", np.full((4, 9), 12, np.uint8)),
        ("labels", np.full((4, 9), -1, np.int64)),
        ("labels", np.zeros((5, 9), np.uint8)),
        ("puzzle_identifiers", [1, 2, 4]),
        ("puzzle_identifiers", [1, -2, 3]),
        ("puzzle_identifiers", [1, 2]),
        ("puzzle_indices", [0, 1, 3, 5]),
        ("puzzle_indices", [0, 3, 1, 4]),
        ("puzzle_indices", [0, 1, 1, 4]),
        ("puzzle_indices", [1, 2, 3, 4]),
        ("puzzle_indices", [0, 1, 2, 3, 4]),
        ("puzzle_indices", [0, 1, 3, 2**40]),
        ("puzzle_indices", np.zeros(0, np.int32)),
        ("group_indices", [0, 2, 4]),
        ("group_indices", [[0, 2, 3]]),
        ("group_indices", [0.0, 2.0, 3.0]),
    ],
)
def test_arrays_that_disagree_are_refused_and_named(folder: Path, name: str, array: object) -> None:
    save(folder, name, array)
    with pytest.raises(DataError, match=r"all__\w+\.npy"):
        read_split(folder, "train")


def test_identifiers_that_are_no_names_are_refused(folder: Path) -> None:
    (folder / "identifiers.json").write_text('["<blank>", 1]')
    with pytest.raises(DataError, match=r"identifiers\.json"):
        read_identifiers(folder)
