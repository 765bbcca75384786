"""Numbers of runs on this machine, from the `metrics.jsonl` that each writes: only what is new is read."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trmctl import runs
from trmctl.dashboard.series import CURVES, LISTS, Curve, Shown, bins, depths
from trmkit.errors import TrmError
from trmkit.metrics import PHASES
from trmkit.spec.load import loads
from trmkit.store.layout import RunDirectory

RESTING_SECONDS = 90.0
"""A run that has not written for so long, and not to its end, is `silent`."""
MOST_TEXT = 500
"""Characters of a text that are shown."""
LAST = {(curve.source.kind, curve.source.key): (curve.key, curve.source.each) for curve in LISTS}
WINDOW = 20
"""Lines of log that the split of an update's time is taken from."""


class Local:
    """The runs under a folder."""

    name = "local"

    def __init__(self, folder: Path, curves: Sequence[Curve] = CURVES) -> None:
        """Read the runs in `folder`, and of each these `curves`."""
        self._folder, self._curves = folder, curves
        self._tails: dict[Path, Tail] = {}

    def runs(self) -> list[Shown]:
        """Return every run, the one that something happened in last first, without its curves."""
        found = sorted(runs.every(self._folder), key=runs.last_change, reverse=True)
        return [Shown(runs.label(run), self.name, updated=runs.last_change(run)) for run in found]

    def show(self, key: str) -> Shown | None:
        """Return a run with its curves; None: there is none of this name."""
        directory = next((run for run in runs.every(self._folder) if runs.label(run) == key), None)
        if directory is None:
            return None
        tail = self._tails.setdefault(directory.root, Tail(directory.metrics))
        tail.read()
        return shown(key, directory, tail.lines, self._curves)


class Tail:
    """The lines of a file that grows, and that begins anew when a run goes back to a checkpoint."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._rest = b""
        self.lines: list[dict[str, Any]] = []

    def read(self) -> None:
        """Read what has come since the last call; lines that are no objects with a kind and a step are left out."""
        try:
            with self._path.open("rb") as file:
                look = self._path.stat()
                inode, at = self._seen or (look.st_ino, 0)
                if inode != look.st_ino or look.st_size < at:
                    at, self._rest, self.lines = 0, b"", []
                file.seek(at)
                new = file.read(max(0, look.st_size - at))
        except OSError:
            self._seen, self._rest, self.lines = None, b"", []
            return
        self._seen = look.st_ino, at + len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        for text in whole:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and type(line.get("step")) is int and isinstance(line.get("kind"), str):
                self.lines.append(line)


def shown(key: str, directory: RunDirectory, lines: list[dict[str, Any]], curves: Sequence[Curve] = CURVES) -> Shown:
    """Return what there is to show of a run whose log has these `lines`."""
    lines_of = {(curve.source.kind, curve.source.key): curve.key for curve in curves}
    found = Shown(key, Local.name, updated=runs.last_change(directory))
    for line in lines:
        kind, step, when = line["kind"], float(line["step"]), _number(line.get("time")) or 0.0
        for name, value in line.items():
            place = kind, name
            if place in lines_of and (number := _number(value)) is not None:
                found.curves.setdefault(lines_of[place], []).append((step, when, number))
            elif place in LAST and isinstance(value, list):
                curve, each = LAST[place]
                values = [_number(entry) for entry in value]
                found.lists[curve] = bins(values) if each == "bin" else depths(values)
        if kind in ("checkpoint", "run"):
            found.events.append(("start" if kind == "run" else kind, step, when))
        if kind == "train":
            found.step = int(step)
            found.total = int(_number(line.get("total_steps")) or 0)
            found.left_seconds = _number(line.get("remaining_seconds"))
        if kind == "eval":
            found.best = _number(line.get("best"))
    found.phases = split([line for line in lines if line["kind"] == "train"][-WINDOW:])
    found.samples = samples(directory.samples)
    found.settings = settings(directory.run_file)
    found.state = _state(directory, found, lines)
    return found


def split(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Return the seconds an update that went into each phase."""
    updates = sum(_number(line.get("updates")) or 0.0 for line in lines)
    if not updates:
        return {}
    return {phase: sum(_number(line.get(f"{phase}_seconds")) or 0.0 for line in lines) / updates for phase in PHASES}


def _state(directory: RunDirectory, found: Shown, lines: list[dict[str, Any]]) -> str:
    if lines and lines[-1]["kind"] == "stopped":
        return "failed"
    if found.total and found.step >= found.total:
        return "scored" if directory.evaluation.is_file() else "trained"
    if time.time() - found.updated > RESTING_SECONDS:
        return "silent"
    return "training" if lines else "starting"


def settings(path: Path) -> dict[str, str]:
    """Return the keys of a run file that say what is trained; {}: it cannot be read."""
    try:
        found = loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TrmError):
        return {}
    told = found.model_dump(mode="json", include={"model", "data", "train", "seed"})
    told["train"] = {key: value for key, value in told["train"].items() if key not in ("log", "checkpoint")}
    return dict(flat(told, ""))


def flat(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Yield every value below `value` as text, with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}" if path else key)
    else:
        yield path, json.dumps(value)


def samples(path: Path) -> dict[str, Any] | None:
    """Return the rows that are watched; None: there are none, or the file is none of ours."""
    try:
        found = json.loads(path.read_bytes())
        read = text if found["kind"] == "text" else grid
        rows = [
            {name: read(row[name]) for name in ("question", "prediction", "truth")} | {"exact": bool(row["exact"])}
            for row in found["rows"]
        ]
        return {"step": int(found["step"]), "kind": str(found["kind"]), "rows": rows}
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None


def text(words: object) -> str:
    """Return a text, cut when it is long. TypeError: it is none."""
    if not isinstance(words, str):
        raise TypeError("a text is a string")
    return words[:MOST_TEXT]


def grid(rows: object) -> list[list[int]]:
    """Return a grid of whole numbers. TypeError, ValueError: it is none."""
    if not isinstance(rows, list):
        raise TypeError("a grid is a list of rows")
    return [[int(cell) for cell in row] for row in rows]


def _number(value: object) -> float | None:
    """Return a number that JSON can say and a chart can draw; None: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if abs(number) < float("inf") else None
