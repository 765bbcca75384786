"""What a built data set says about itself: `manifest.json`, and the words a source uses to say it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import isqrt
from pathlib import Path
from typing import Any, Literal

from trainer.data.store import read_json, read_metadata
from trmkit.errors import DataError

FORMAT = 2
"""Counted up whenever a build writes something else for the same section."""

NAME = "manifest.json"

Layout = Literal["edges", "corners"]
"""How an ARC grid's size is shown on its canvas; see `grid`."""


@dataclass(frozen=True)
class Grid:
    """How a row of cells is drawn: `height` x `width` cells, and what their tokens mean."""

    kind: Literal["sudoku", "arc", "maze", "sequence", "text"]
    height: int
    width: int
    layout: Layout = "edges"

    def as_json(self) -> dict[str, Any]:
        """Return it for `manifest.json`, which says of the layout only what is not usual."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("layout", "edges")}


@dataclass(frozen=True)
class Built:
    """What a source says after it wrote a data set."""

    grid: Grid
    counts: dict[str, int]
    inputs: dict[str, str] = field(default_factory=dict)
    """Name of every file that was read, and its sha256."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Name of every task that was not used, and why."""


@dataclass(frozen=True)
class Source:
    """A data set that can be built."""

    write: Callable[[Path], Built]
    """Writes it into an empty folder."""
    files: dict[str, Path] = field(default_factory=dict)
    """The files on this machine it is made from, under the names `Built.inputs` has for them."""


def write_manifest(
    folder: Path, source: str, section: dict[str, Any], section_hash: str, built: Built, s: float
) -> None:
    """Write `manifest.json` for a build that took `s` seconds."""
    content = {
        "format": FORMAT,
        "source": source,
        "section": section,
        "section_hash": section_hash,
        **asdict(built),
        "grid": built.grid.as_json(),
        "seconds": round(s, 3),
        "files": {str(path.relative_to(folder)): path.stat().st_size for path in _members(folder)},
    }
    (folder / NAME).write_text(json.dumps(content, indent=1) + "\n")


def sizes_are_right(folder: Path, manifest: dict[str, Any]) -> bool:
    """Say whether every file that was built is there with the size it had."""
    files = manifest.get("files")
    found = {str(path.relative_to(folder)): path.stat().st_size for path in _members(folder)}
    return isinstance(files, dict) and all(found.get(name) == size for name, size in files.items())


def _members(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest, or None where there is none that this version of the project wrote."""
    try:
        content = read_json(folder / NAME)
    except DataError:
        return None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    grid, inputs = content.get("grid"), content.get("inputs")
    said = set(grid) - {"layout"} if isinstance(grid, dict) else set()
    return content if said == {"kind", "height", "width"} and isinstance(inputs, dict) else None


def grid_of(folder: Path) -> Grid:
    """Say how the rows of a data set are drawn. A folder without a manifest is ARC if it has `test_puzzles.json`.

    DataError: the folder holds no data set.
    """
    manifest = read_manifest(folder)
    if manifest is not None:
        return Grid(**manifest["grid"])
    cells = read_metadata(folder).seq_len
    side = isqrt(cells)
    if (folder / "test_puzzles.json").is_file() and side * side == cells:
        return Grid("arc", side, side)
    return Grid("sequence", 1, cells)
