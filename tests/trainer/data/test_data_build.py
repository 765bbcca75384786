"""A data set is made once, whole or not at all, and made again when what it was made from has changed."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from trainer.data import ABANDONED_AFTER, SOURCES, build
from trainer.data.manifest import FORMAT, Grid, grid_of, read_manifest
from trmkit.errors import DataError
from trmkit.spec.base import section_hash
from trmkit.spec.data import FolderData, SudokuData, SudokuGeneratedData


def section_of(folder: Path, **fields: object) -> SudokuData:
    return SudokuData.model_validate({"source": "sudoku", "path": str(folder), "num_aug": 3, **fields})


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a data set but the manifest, which says how long the build took."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_every_source_of_the_run_file_has_a_builder() -> None:
    assert set(SOURCES) == {"sudoku", "sudoku-generated", "maze", "maze-generated", "arc", "mixed", "curriculum"}


def test_a_data_set_is_named_by_its_section_and_says_what_it_is(four_by_four: Path, tmp_path: Path) -> None:
    section = section_of(four_by_four)
    folder = build(section, tmp_path / "root")
    assert folder == tmp_path / "root" / f"sudoku-{section_hash(section, version=FORMAT)}"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["format"] == FORMAT
    assert manifest["source"] == "sudoku"
    assert manifest["section"] == section.model_dump(mode="json")
    assert manifest["section_hash"] == section_hash(section, version=FORMAT)
    assert manifest["grid"] == {"kind": "sudoku", "height": 4, "width": 4}
    assert set(manifest["inputs"]) == {"train.csv", "test.csv"}
    assert manifest["counts"] == {"train_puzzles": 3, "test_puzzles": 1, "train_rows": 12}
    assert manifest["left_out"] == {}
    assert manifest["seconds"] >= 0
    assert grid_of(folder) == Grid("sudoku", 4, 4)


def test_a_second_build_does_nothing(four_by_four: Path, tmp_path: Path) -> None:
    folder = build(section_of(four_by_four), tmp_path / "root")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert build(section_of(four_by_four), tmp_path / "root") == folder
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_two_builds_are_equal_byte_for_byte(four_by_four: Path, tmp_path: Path) -> None:
    one, two = (contents(build(section_of(four_by_four), tmp_path / name)) for name in ("one", "two"))
    assert one == two
    assert len(one) == 13


def test_another_seed_gives_another_data_set(four_by_four: Path, tmp_path: Path) -> None:
    one, two = (contents(build(section_of(four_by_four, seed=seed), tmp_path)) for seed in (1, 2))
    assert one["train/all__inputs.npy"] != two["train/all__inputs.npy"]
    assert one["test/all__inputs.npy"] == two["test/all__inputs.npy"]


def test_changed_input_files_make_it_anew(four_by_four: Path, tmp_path: Path) -> None:
    folder = build(section_of(four_by_four), tmp_path / "root")
    before = contents(folder)
    path = four_by_four / "test.csv"
    path.write_text(path.read_text().replace(".234", "1.34"))
    assert build(section_of(four_by_four), tmp_path / "root") == folder
    after = contents(folder)
    assert before["test/all__inputs.npy"] != after["test/all__inputs.npy"]
    assert before["train/all__inputs.npy"] == after["train/all__inputs.npy"]
    assert list((tmp_path / "root").iterdir()) == [folder]


def test_a_data_set_outlives_the_files_it_was_made_from(four_by_four: Path, tmp_path: Path) -> None:
    folder = build(section_of(four_by_four), tmp_path / "root")
    for file in four_by_four.iterdir():
        file.unlink()
    assert build(section_of(four_by_four), tmp_path / "root") == folder


def test_a_build_that_fails_leaves_nothing(four_by_four: Path, tmp_path: Path, solved: str) -> None:
    (four_by_four / "test.csv").write_text(f"source,question,answer,rating\nx,{'2' + '.' * 15},{solved},0\n")
    with pytest.raises(DataError, match="line 2"):
        build(section_of(four_by_four), tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_what_a_killed_build_left_does_no_harm_and_goes_away_in_time(four_by_four: Path, tmp_path: Path) -> None:
    section = section_of(four_by_four)
    root = tmp_path / "root"
    recent, old = (root / f".sudoku-{section_hash(section, version=FORMAT)}.{name}.tmp" for name in ("recent", "old"))
    for folder in (recent, old):
        (folder / "train").mkdir(parents=True)
        (folder / "train" / "all__inputs.npy").write_bytes(b"half")
    long_ago = time.time() - ABANDONED_AFTER - 60
    os.utime(old, (long_ago, long_ago))
    folder = build(section, root)
    assert read_manifest(folder) is not None
    assert set(root.iterdir()) == {folder, recent}


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 0}', '{"format": 1, "grid": {"kind": "arc"}, "inputs": {}}']
)
def test_a_folder_with_a_damaged_manifest_is_replaced(four_by_four: Path, tmp_path: Path, content: str) -> None:
    section = section_of(four_by_four)
    folder = build(section, tmp_path / "root")
    (folder / "manifest.json").write_text(content)
    assert build(section, tmp_path / "root") == folder
    assert grid_of(folder) == Grid("sudoku", 4, 4)


def test_a_folder_without_a_manifest_is_replaced(four_by_four: Path, tmp_path: Path) -> None:
    section = section_of(four_by_four)
    half = tmp_path / "root" / f"sudoku-{section_hash(section, version=FORMAT)}"
    (half / "train").mkdir(parents=True)
    assert read_manifest(build(section, tmp_path / "root")) is not None


def test_builders_at_the_same_time_all_get_one_whole_data_set(four_by_four: Path, tmp_path: Path) -> None:
    section = section_of(four_by_four)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: build(section, tmp_path / "root"), range(8)))
    assert set(folders) == {tmp_path / "root" / f"sudoku-{section_hash(section, version=FORMAT)}"}
    left = [path for path in (tmp_path / "root").iterdir() if path.name != ".room.lock"]  # of one that came late
    assert left == folders[:1]
    assert len(contents(folders[0])) == 13


def test_a_folder_somebody_else_built_is_used_where_it_is(vectors: Path) -> None:
    path = vectors / "sudoku_tiny" / "out_sub3_aug2"
    before = sorted(path.rglob("*"))
    assert build(FolderData(source="folder", path=str(path)), Path("/nowhere")) == path
    assert sorted(path.rglob("*")) == before
    assert grid_of(path) == Grid("sequence", 1, 81)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    section = SudokuGeneratedData(source="sudoku-generated", side=4, train_puzzles=3, test_puzzles=2, num_aug=1)
    folder = build(section, tmp_path)
    (folder / "manifest.json").unlink()
    return folder


def use(folder: Path) -> Path:
    return build(FolderData(source="folder", path=str(folder)), folder)


def test_a_folder_is_drawn_as_arc_if_it_has_test_puzzles(built: Path) -> None:
    assert grid_of(use(built)) == Grid("sequence", 1, 16)
    (built / "test_puzzles.json").write_text("{}")
    assert grid_of(use(built)) == Grid("arc", 4, 4)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder\n.*next: set data\.path"):
        use(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["identifiers.json", "test/dataset.json", "train/all__labels.npy"])
def test_a_folder_with_a_missing_file_is_refused(built: Path, name: str) -> None:
    (built / name).unlink()
    with pytest.raises(DataError, match=name):
        use(built)


def test_a_folder_whose_splits_do_not_belong_together_is_refused(built: Path) -> None:
    path = built / "test" / "dataset.json"
    path.write_text(path.read_text().replace('"vocab_size": 6', '"vocab_size": 7'))
    with pytest.raises(DataError, match="train says vocab_size 6, test says 7"):
        use(built)


def test_a_folder_with_other_names_than_identifiers_is_refused(built: Path) -> None:
    (built / "identifiers.json").write_text('["<blank>", "more"]')
    with pytest.raises(DataError, match=r"identifiers\.json: names 2 identifiers"):
        use(built)


def test_every_token_of_a_folder_is_looked_at(built: Path) -> None:
    path = built / "train" / "all__labels.npy"
    array = np.load(path)
    array[-1, -1] = 6
    np.save(path, array)
    with pytest.raises(DataError, match=r"outside 0\.\.5"):
        use(built)
