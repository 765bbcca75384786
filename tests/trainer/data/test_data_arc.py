"""The ARC data set: which pairs go where, which variants a task has, and how they lie on the canvas."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data import build
from trainer.data.arc import FlatPairs, Variants, draw_variants, fill
from trainer.data.arc_tasks import ArcTask, read_collection
from trainer.data.augment import augment, undo
from trainer.data.grid import decode, encode
from trainer.data.store import Split, read_identifiers, read_split
from trmkit.errors import DataError
from trmkit.spec.data import ArcData

SIZES = ((3, 5), (2, 2), (4, 1), (6, 6))


def section_of(*collections: str, **fields: Any) -> ArcData:
    return ArcData.model_validate(
        {"source": "arc", "collections": collections, "test": collections[-1], "canvas": 8, "num_aug": 20, **fields}
    )


@pytest.fixture
def two_collections(write_tasks: Callable[..., str], task_json: Callable[..., Any]) -> tuple[str, str]:
    return (
        write_tasks("seen", a=task_json(*SIZES), b=task_json(*SIZES[1:], tests=2)),
        write_tasks("held", c=task_json(*SIZES, tests=2), d=task_json(*SIZES[:2])),
    )


def grids_of(split: Split, row: int) -> list[np.ndarray]:
    """Return input and output grid of a row wherever they are on the canvas."""
    side = int(split.metadata.seq_len**0.5)
    found = []
    for tokens in (split.inputs[row], split.labels[row]):
        board = tokens.reshape(side, side)
        rows, columns = (np.flatnonzero((board > 1).any(axis=axis)) for axis in (1, 0))
        found.append(np.asarray(board[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]) - 2)
    return found


def plain(pairs: Any) -> list[tuple[list[list[int]], list[list[int]]]]:
    return [(x.tolist(), y.tolist()) for x, y in pairs]


def test_test_pairs_are_held_out_in_the_test_collection_and_trained_on_in_the_others(
    two_collections: tuple[str, str], tmp_path: Path
) -> None:
    folder = build(section_of(*two_collections), tmp_path / "root")
    names = read_identifiers(folder)
    tasks = {task.name: task for collection in two_collections for task in read_collection(collection)}
    expected = {
        "train": {name: plain(t.train + t.test if name in "ab" else t.train) for name, t in tasks.items()},
        "test": {name: plain(t.test) for name, t in tasks.items() if name in "cd"},
    }
    for part, wanted in expected.items():
        split = read_split(folder, part)
        seen: dict[str, list[Any]] = {}
        for row, identifier in enumerate(split.row_identifiers):
            _, back = undo(names[identifier])
            x, y = (back(grid).tolist() for grid in grids_of(split, row))
            seen.setdefault(names[identifier], []).append((x, y))
        assert {name for name in names[1:] if "|" not in name} == set(tasks)
        assert {undo(name)[0] for name in seen} == set(wanted)
        for name, pairs in seen.items():
            assert pairs == wanted[undo(name)[0]]


def test_a_group_is_a_task_with_its_variants_and_the_task_itself_comes_first(
    two_collections: tuple[str, str], tmp_path: Path
) -> None:
    folder = build(section_of(*two_collections), tmp_path / "root")
    names = read_identifiers(folder)
    for part, groups in (("train", 4), ("test", 2)):
        split = read_split(folder, part)
        assert split.metadata.total_groups == groups
        assert np.diff(split.group_indices).tolist() == [21] * groups
        for start, stop in zip(split.group_indices[:-1], split.group_indices[1:], strict=True):
            members = [names[identifier] for identifier in split.puzzle_identifiers[start:stop]]
            assert "|" not in members[0]
            assert len(set(members)) == 21
            assert {undo(name)[0] for name in members} == {members[0]}


def test_identifiers_count_up_from_one_and_the_test_split_shares_them(
    two_collections: tuple[str, str], tmp_path: Path
) -> None:
    folder = build(section_of(*two_collections), tmp_path / "root")
    train, test = (read_split(folder, part) for part in ("train", "test"))
    assert train.puzzle_identifiers.tolist() == list(range(1, 85))
    assert set(test.puzzle_identifiers.tolist()) < set(train.puzzle_identifiers.tolist())
    assert train.metadata.num_puzzle_identifiers == test.metadata.num_puzzle_identifiers == 85
    assert len(set(read_identifiers(folder))) == 85


def test_the_test_puzzles_are_listed_as_they_were(
    two_collections: tuple[str, str], tmp_path: Path, task_json: Callable[..., Any]
) -> None:
    folder = build(section_of(*two_collections), tmp_path / "root")
    found = json.loads((folder / "test_puzzles.json").read_text())
    assert found == {"c": task_json(*SIZES, tests=2), "d": task_json(*SIZES[:2])}


def test_training_pairs_are_shifted_but_for_one_of_each_puzzle(
    two_collections: tuple[str, str], tmp_path: Path
) -> None:
    split = read_split(build(section_of(*two_collections, num_aug=60), tmp_path / "root"), "train")
    in_corner = split.inputs[:, 0] > 1
    by_puzzle = np.add.reduceat(in_corner, split.puzzle_indices[:-1])
    assert (by_puzzle >= 1).all()
    assert 0.3 < in_corner.mean() < 0.7
    many = np.diff(split.puzzle_indices) > 1
    first = in_corner[split.puzzle_indices[:-1][many]]
    assert 0.2 < first.mean() < 0.8


def test_input_and_output_of_a_pair_are_shifted_alike_to_every_place_they_fit(
    write_tasks: Callable[..., str], task_json: Callable[..., Any]
) -> None:
    (task,) = read_collection(write_tasks("one", a=task_json((2, 3), (2, 3))))
    pairs = FlatPairs.of(task.train)
    places = set()
    for down in np.linspace(0, 0.999, 12):
        for right in np.linspace(0, 0.999, 12):
            inputs, labels = np.zeros((2, 1, 25), np.uint8)
            variants = Variants(np.zeros(1, np.int64), np.arange(10, dtype=np.uint8)[None])
            fill(inputs, labels, 5, pairs, variants, np.array([[[down, right]]]))
            place = divmod(int((inputs[0] > 1).argmax()), 5)
            np.testing.assert_array_equal(labels[0], encode(task.train[0][1], 5, *place))
            places.add(place)
    assert places == {(i, j) for i in range(3) for j in range(3)}


def test_the_test_split_and_a_split_without_translation_are_never_shifted(
    two_collections: tuple[str, str], tmp_path: Path
) -> None:
    folder = build(section_of(*two_collections, translate=False), tmp_path / "root")
    names = read_identifiers(folder)
    for part in ("train", "test"):
        split = read_split(folder, part)
        assert (split.inputs[:, 0] > 1).all()
        assert (split.labels[:, 0] > 1).all()
    split = read_split(build(section_of(*two_collections), tmp_path / "root"), "test")
    tasks = {task.name: task for task in read_collection(two_collections[1])}
    for row, identifier in enumerate(split.row_identifiers):
        task, back = undo(names[identifier])
        pair = (back(decode(split.inputs[row])).tolist(), back(decode(split.labels[row])).tolist())
        assert pair in plain(tasks[task].test)


def test_filling_equals_turning_and_recolouring_grid_by_grid() -> None:
    draw = np.random.default_rng(5)
    pairs = [tuple(draw.integers(0, 10, draw.integers(1, 12, 2)).astype(np.uint8) for _ in "xy") for _ in range(4)]
    task = ArcTask("x", tuple(pairs), tuple(pairs[:1]))  # type: ignore[arg-type]
    variants = draw_variants(task, 50, seed=0)
    inputs, labels = np.zeros((2, 51 * 4, 144), np.uint8)
    fill(inputs, labels, 12, FlatPairs.of(task.train), variants, np.zeros((51, 4, 2)))
    row = 0
    for turn, colours in zip(variants.turns, variants.colours, strict=True):
        for x, y in task.train:
            np.testing.assert_array_equal(inputs[row], encode(augment(x, turn, colours), 12))
            np.testing.assert_array_equal(labels[row], encode(augment(y, turn, colours), 12))
            row += 1


def as_sets(task: ArcTask, variants: Variants) -> list[frozenset[Any]]:
    """Return each variant as a set of pairs, without our keys."""

    def pair_of(x: np.ndarray, y: np.ndarray, turn: int, colours: np.ndarray) -> tuple[Any, ...]:
        return tuple((g.shape, g.tobytes()) for g in (augment(x, turn, colours), augment(y, turn, colours)))

    return [
        frozenset(pair_of(x, y, turn, colours) for x, y in (*task.train, *task.test))
        for turn, colours in zip(variants.turns, variants.colours, strict=True)
    ]


def test_variants_of_a_task_are_distinct_as_sets_of_pairs() -> None:
    for task in read_collection("arc1/training")[:40]:
        found = as_sets(task, draw_variants(task, 100, seed=1))
        assert len(set(found)) == len(found)
        assert len(found) > 8


def test_a_task_with_few_variants_gets_all_of_them_and_no_more() -> None:
    red, blue = np.full((1, 1), 2, np.uint8), np.full((1, 1), 1, np.uint8)
    black = np.zeros((1, 1), np.uint8)
    assert len(draw_variants(ArcTask("x", ((black, black),), ((black, black),)), 100, seed=0)) == 1
    assert len(draw_variants(ArcTask("x", ((red, red),), ((red, red),)), 100, seed=0)) == 9
    assert len(draw_variants(ArcTask("x", ((red, blue),), ((blue, red),)), 300, seed=0)) == 36
    assert len(draw_variants(ArcTask("x", ((red, blue),), ((red, blue),)), 300, seed=0)) == 72


def test_the_same_pairs_in_another_order_are_the_same_variant() -> None:
    wide = np.array([[1, 2]], np.uint8)
    mirrored = wide[:, ::-1].copy()
    one = np.array([[3]], np.uint8)
    task = ArcTask("x", ((wide, one),), ((mirrored, one),))
    found = draw_variants(task, 2000, seed=0)
    assert len(set(as_sets(task, found))) == len(found)
    swapped = {(int(t), bytes(c)) for t, c in zip(found.turns, found.colours, strict=True)}
    assert not {(4, bytes(range(10)))} & swapped


def test_all_turns_and_colours_are_about_equally_likely_and_black_stays_black() -> None:
    grid = np.arange(10, dtype=np.uint8).reshape(2, 5)
    task = ArcTask("x", ((grid, grid),), ((grid, grid),))
    found = draw_variants(task, 2000, seed=0)
    assert (found.colours[:, 0] == 0).all()
    assert (np.sort(found.colours, axis=1) == np.arange(10)).all()
    assert np.bincount(found.turns[1:], minlength=8).min() > 180
    assert min(np.bincount(found.colours[1:, c], minlength=10)[1:].min() for c in range(1, 10)) > 150


def test_the_variants_of_a_task_do_not_depend_on_other_tasks(two_collections: tuple[str, str], tmp_path: Path) -> None:
    both = read_identifiers(build(section_of(*two_collections), tmp_path / "root"))
    alone = read_identifiers(build(section_of(two_collections[1]), tmp_path / "root"))
    assert set(alone) < set(both)


def test_tasks_too_large_for_the_canvas_are_left_out_and_listed(
    write_tasks: Callable[..., str], tmp_path: Path, task_json: Callable[..., Any]
) -> None:
    collection = write_tasks("mixed", small=task_json(*SIZES), large=task_json((9, 2), (1, 1)))
    folder = build(section_of(collection), tmp_path / "root")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["left_out"] == {f"{collection}/large": "has a grid of side 9"}
    assert manifest["counts"]["train_groups"] == 1
    assert manifest["grid"] == {"kind": "arc", "height": 8, "width": 8}
    assert read_split(folder, "train").metadata.seq_len == 64


def test_a_held_out_task_is_not_trained_on_from_another_collection(
    write_tasks: Callable[..., str], tmp_path: Path, task_json: Callable[..., Any]
) -> None:
    seen = write_tasks("seen", a=task_json(*SIZES), twice=task_json(*SIZES))
    held = write_tasks("held", twice=task_json(*SIZES), c=task_json(*SIZES[1:]))
    folder = build(section_of(seen, held), tmp_path / "root")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest["left_out"]) == [f"{seen}/twice"]
    assert set(json.loads((folder / "test_puzzles.json").read_text())) == {"twice", "c"}
    assert read_split(folder, "train").metadata.total_groups == 3


def test_max_puzzles_keeps_the_first_that_fit_in_the_shuffled_order(tmp_path: Path) -> None:
    def names(count: int | None) -> list[str]:
        section = section_of("arc1/training", canvas=5, num_aug=0, max_puzzles=count)
        return [name for name in read_identifiers(build(section, tmp_path)) if name != "<blank>"]

    everything = names(None)
    assert names(10) == everything[:10]
    assert everything != sorted(everything)


def test_a_choice_that_leaves_no_test_task_is_refused(two_collections: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no task of .*\n.*raise data\.max_puzzles"):
        build(section_of(*two_collections, max_puzzles=2), tmp_path)
    with pytest.raises(DataError, match="no task of"):
        build(section_of(*two_collections, canvas=2), tmp_path)


def test_two_processes_with_other_hash_seeds_build_the_same_bytes(
    two_collections: tuple[str, str], tmp_path: Path
) -> None:
    section = section_of(*two_collections)
    code = (
        "import sys; from pathlib import Path; from trainer.data import build; from trmkit.spec.data import ArcData;"
        "build(ArcData.model_validate_json(sys.argv[1]), Path(sys.argv[2]))"
    )
    for seed in ("1", "2"):
        path = os.pathsep.join(filter(None, sys.path))
        subprocess.run(
            [sys.executable, "-c", code, section.model_dump_json(), str(tmp_path / seed)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            check=True,
        )
    files = [
        {p.relative_to(tmp_path / seed): p.read_bytes() for p in (tmp_path / seed).rglob("*.*") if p.is_file()}
        for seed in ("1", "2")
    ]
    for found in files:
        del found[next(path for path in found if path.name == "manifest.json")]
    assert files[0] == files[1]
    assert len(files[0]) == 14


def test_two_different_tasks_of_one_name_are_refused(
    write_tasks: Callable[..., str], tmp_path: Path, task_json: Callable[..., Any]
) -> None:
    mine, other = (write_tasks(name, same=task_json(*sizes)) for name, sizes in (("x", SIZES), ("y", ((5, 5), (1, 2)))))
    with pytest.raises(
        DataError, match=rf"{other}: its task same is another one than the task same of {mine}\n.*rename"
    ):
        build(section_of(mine, other), tmp_path / "root")


def test_versions_of_a_task_in_arc_1_and_arc_2_are_one_task(tmp_path: Path) -> None:
    section = section_of("arc1/evaluation", "arc2/training", canvas=5, num_aug=0, test="arc1/evaluation")
    manifest = json.loads((build(section, tmp_path) / "manifest.json").read_text())
    assert any("used there" in reason for reason in manifest["left_out"].values())
