"""Mazes from CSV files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainer.data import build
from trainer.data.manifest import Grid, grid_of
from trainer.data.store import read_split
from trmkit.errors import DataError
from trmkit.spec.data import MazeData


def section_of(folder: Path, **fields: object) -> MazeData:
    return MazeData.model_validate({"source": "maze", "path": str(folder), **fields})


@pytest.mark.parametrize("dihedral", [False, True])
def test_the_arrays_equal_the_reference(vectors: Path, tmp_path: Path, dihedral: bool) -> None:
    folder = build(section_of(vectors / "maze_tiny", dihedral=dihedral), tmp_path)
    for split in ("train", "test"):
        ours, theirs = read_split(folder, split), read_split(vectors / "maze_tiny" / f"out_aug{dihedral:d}", split)
        for name in ("inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert ours.inputs.dtype == theirs.inputs.dtype == np.uint8
        assert ours.metadata.vocab_size == theirs.metadata.vocab_size
    assert grid_of(folder) == Grid("maze", 6, 6)


def test_wall_free_start_goal_and_path_are_tokens_one_to_five(write_csv: Callable[..., Path], tmp_path: Path) -> None:
    folder = build(section_of(write_csv([("S G#", "SoG#")], [("S G#", "SoG#")])), tmp_path)
    split = read_split(folder, "test")
    assert split.inputs[0].tolist() == [3, 2, 4, 1]
    assert split.labels[0].tolist() == [3, 5, 4, 1]


def test_a_subsample_keeps_whole_groups(write_csv: Callable[..., Path], tmp_path: Path) -> None:
    folder = build(
        section_of(write_csv([("S G#", "SoG#"), ("GS##", "GS##"), ("S##G", "S##G")]), subsample_size=2), tmp_path
    )
    split = read_split(folder, "train")
    assert split.group_indices.tolist() == [0, 8, 16]
    assert len(read_split(folder, "test")) == 3


@pytest.mark.parametrize(
    ("question", "answer", "what"),
    [
        ("S G#", "S##G", "the answer contradicts the question"),
        ("S G#", "SoGo", "the answer contradicts the question"),
        ("S  #", "So #", "has not exactly one S and one G"),
        ("SSG#", "SSG#", "has not exactly one S and one G"),
        ("S Gx", "SoGx", "has a character that means nothing here"),
        ("S G# ", "SoG# ", "has 5 and 5 cells"),
        ("S G#", "SoG", "has 4 and 3 cells"),
    ],
)
def test_a_wrong_maze_is_named_by_file_and_line(
    write_csv: Callable[..., Path], tmp_path: Path, question: str, answer: str, what: str
) -> None:
    folder = write_csv([("S G#", "SoG#")], [("S G#", "SoG#"), (question, answer)])
    with pytest.raises(DataError, match=rf"test\.csv, line 3: .*{what}"):
        build(section_of(folder), tmp_path)


def test_train_and_test_are_of_one_size(write_csv: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_csv([("S G#", "SoG#")], [("S  G     ", "SooG     ")])
    with pytest.raises(DataError, match="another size"):
        build(section_of(folder), tmp_path)
