"""ARC grids whose size two marks show: what is encoded is decoded, and what is predicted is read as it should be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trainer.data import build
from trainer.data.arc import FlatPairs, Variants, draw_variants, fill
from trainer.data.arc_tasks import ArcTask, read_collection
from trainer.data.augment import undo
from trainer.data.expect import expected
from trainer.data.grid import canonical, crop_all, decode, encode
from trainer.data.manifest import Grid, grid_of
from trainer.data.store import read_identifiers, read_split
from trainer.examples import picture
from trmkit.errors import DataError
from trmkit.spec.data import ArcData, MixedData

SIZES = ((3, 5), (2, 2), (4, 1), (6, 6))


def section_of(collection: str, **fields: Any) -> ArcData:
    content = {"source": "arc", "collections": [collection], "test": collection, "canvas": 8, "num_aug": 20}
    return ArcData.model_validate({**content, "layout": "corners", **fields})


@pytest.fixture
def collection(write_tasks: Callable[..., str], task_json: Callable[..., Any]) -> str:
    return write_tasks("some", a=task_json(*SIZES), b=task_json(*SIZES[1:], tests=2))


def test_a_grid_stands_between_two_marks_and_nothing_else_is_on_the_canvas() -> None:
    grid = np.array([[0, 9, 5]], np.uint8)
    assert encode(grid, canvas=6, layout="corners").reshape(6, 6).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [0, 2, 11, 7, 0, 0],
        [0, 0, 0, 0, 1, 0],
        *3 * [[0, 0, 0, 0, 0, 0]],
    ]
    assert encode(grid, 6, 2, 1, layout="corners").reshape(6, 6)[2:5, 1:].tolist() == [
        [1, 0, 0, 0, 0],
        [0, 2, 11, 7, 0],
        [0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("shift", [(0, 0), (3, 0), (0, 2), (-1, 0)])
def test_a_grid_without_room_for_its_marks_is_refused(shift: tuple[int, int]) -> None:
    side = 5 if shift == (0, 0) else 2
    with pytest.raises(ValueError, match="is not within 6 x 6, layout corners"):
        encode(np.zeros((side, side + 1), np.uint8), 6, *shift, layout="corners")


@settings(max_examples=300)
@given(st.data())
def test_what_is_encoded_is_decoded_wherever_it_stands(data: st.DataObject) -> None:
    canvas = data.draw(st.integers(3, 40))
    most = min(30, canvas - 2)
    height, width = (data.draw(st.integers(1, most)) for _ in "hw")
    down, right = (data.draw(st.integers(0, canvas - 2 - side)) for side in (height, width))
    grid = np.random.default_rng(data.draw(st.integers(0, 1000))).integers(0, 10, (height, width)).astype(np.uint8)
    row = encode(grid, canvas, down, right, "corners")
    np.testing.assert_array_equal(decode(row, "corners"), grid)
    np.testing.assert_array_equal(decode(row.astype(np.int64), "corners"), grid)
    np.testing.assert_array_equal(canonical(row[None], "corners")[0], encode(grid, canvas))


def test_every_size_and_every_place_of_a_canvas_of_32() -> None:
    grid = np.arange(900, dtype=np.uint8).reshape(30, 30) % 10
    rows, wanted = [], []
    for side in range(1, 31):
        for down in range(31 - side):
            part = grid[:side, down:]
            rows.append(encode(part, 32, down, 30 - part.shape[1], "corners"))
            wanted.append(encode(part, 32))
    np.testing.assert_array_equal(canonical(np.stack(rows), "corners"), np.stack(wanted))


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        (["1...", ".34.", ".34.", "...1"], [[1, 2], [1, 2]]),  # as it should be
        (["1.3.", ".34.", ".34.", "...1"], [[1, 2], [1, 2]]),  # colours outside of the marks
        ([".34.", ".34.", "...1", "...."], [[1, 2], [1, 2]]),  # one mark: what encloses the colours
        ([".34.", ".34.", "....", "...."], [[1, 2], [1, 2]]),  # no mark
        (["1...", ".34.", ".3..", "...1"], []),  # a hole
        (["...1", ".34.", ".34.", "1..."], [[1, 2], [1, 2]]),  # marks at the wrong corners
        (["1...", ".3..", "..1.", "...1"], [[1]]),  # a third mark inside
        (["....", "....", "....", "...."], []),
        (["1111", "1111", "1111", "1111"], []),
    ],
)
def test_a_predicted_canvas_is_read_by_its_marks_or_else_by_its_colours(rows: list[str], shown: Any) -> None:
    tokens = np.array([0 if c == "." else int(c) for c in "".join(rows)])
    assert decode(tokens, "corners").tolist() == shown
    assert picture(tokens, Grid("arc", 4, 4, "corners")) == shown


def test_a_canvas_that_shows_nothing_is_empty_in_the_other_layout_too() -> None:
    assert crop_all(canonical(np.zeros((1, 16), np.int32), "corners")).tolist() == [[0, 0]]


def test_input_and_output_of_a_pair_are_shifted_alike_each_with_its_own_last_mark() -> None:
    x, y = np.full((2, 3), 4, np.uint8), np.full((1, 4), 5, np.uint8)
    variants, places = Variants(np.zeros(1, np.int64), np.arange(10, dtype=np.uint8)[None]), set()
    for down in np.linspace(0, 0.999, 9):
        for right in np.linspace(0, 0.999, 9):
            inputs, labels = np.zeros((2, 1, 49), np.uint8)
            fill(inputs, labels, 7, FlatPairs.of([(x, y)]), variants, np.array([[[down, right]]]), "corners")
            place = divmod(int((inputs[0] == 1).argmax()), 7)
            np.testing.assert_array_equal(inputs[0], encode(x, 7, *place, layout="corners"))
            np.testing.assert_array_equal(labels[0], encode(y, 7, *place, layout="corners"))
            places.add(place)
    assert places == {(i, j) for i in range(4) for j in range(2)}


def test_a_data_set_says_its_layout_and_every_cell_of_it_counts(collection: str, tmp_path: Path) -> None:
    section = section_of(collection)
    folder = build(section, tmp_path / "root")
    assert grid_of(folder) == Grid("arc", 8, 8, "corners")
    assert grid_of(build(section_of(collection, layout="edges"), tmp_path / "root")) == Grid("arc", 8, 8)
    names, tasks = read_identifiers(folder), {task.name: task for task in read_collection(collection)}
    for part in ("train", "test"):
        split = read_split(folder, part)
        assert split.metadata.ignore_label_id is None
        for row, identifier in enumerate(split.row_identifiers):
            task, back = undo(names[identifier])
            x, y = (back(decode(tokens, "corners")).tolist() for tokens in (split.inputs[row], split.labels[row]))
            pairs = tasks[task].train if part == "train" else tasks[task].test
            assert (x, y) in [(a.tolist(), b.tolist()) for a, b in pairs]
    assert expected(section_of(collection, seed=9), tmp_path / "root")[0].ignore_label_id is None


def test_tasks_without_room_for_the_marks_are_left_out(
    write_tasks: Callable[..., str], task_json: Callable[..., Any], tmp_path: Path
) -> None:
    collection = write_tasks("two", large=task_json(*SIZES), small=task_json(*SIZES[:3]))
    folder = build(section_of(collection, canvas=7), tmp_path / "root")
    assert {name.split("|||")[0] for name in read_identifiers(folder)[1:]} == {"small"}
    with pytest.raises(ValidationError, match="leave no room for a grid on 2 x 2"):
        section_of(collection, canvas=2)


def test_parts_of_two_layouts_are_not_mixed(collection: str, tmp_path: Path) -> None:
    parts = [section_of(collection).model_dump(), section_of(collection, layout="edges").model_dump()]
    with pytest.raises(ValidationError, match=r"part 1 is arc \(corners\) 8x8, part 2 is arc 8x8"):
        MixedData.model_validate({"source": "mixed", "parts": parts})
    theirs = build(section_of(collection, layout="edges"), tmp_path / "theirs")
    bare: dict[str, Any] = {"source": "folder", "path": str(theirs)}
    with pytest.raises(DataError, match="8 x 8, layout corners, 64 cells .* 8 x 8, layout edges"):
        build(MixedData.model_validate({"source": "mixed", "parts": [parts[0], bare]}), tmp_path / "root")


def test_two_parts_with_marks_stay_what_they_are(
    collection: str, write_tasks: Callable[..., str], task_json: Callable[..., Any], tmp_path: Path
) -> None:
    other = write_tasks("others", c=task_json((5, 2), (1, 3), (4, 4)))
    parts = [section_of(one).model_dump() for one in (collection, other)]
    folder = build(MixedData.model_validate({"source": "mixed", "parts": parts}), tmp_path / "root")
    assert grid_of(folder).layout == "corners"
    assert read_split(folder, "train").metadata.ignore_label_id is None


def test_all_ten_colours_are_exchanged_only_where_asked() -> None:
    draw = np.random.default_rng(1)
    pairs = tuple(tuple(draw.integers(0, 10, (3, 3)).astype(np.uint8) for _ in "xy") for _ in range(2))
    task = ArcTask("x", pairs, pairs)  # type: ignore[arg-type]
    black, usual = draw_variants(task, 300, seed=0, black=True), draw_variants(task, 300, seed=0)
    assert (np.sort(black.colours, axis=1) == np.arange(10)).all()
    assert len(black) == len(usual) == 301
    assert 0.05 < (black.colours[1:, 0] == 0).mean() < 0.15
    assert (usual.colours[:, 0] == 0).all()
    distinct = {np.concatenate([c[g].ravel() for pair in pairs for g in pair]).tobytes() for c in black.colours}
    assert len(distinct) > 280
