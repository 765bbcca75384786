"""Several sources as one data set: rows, puzzles and groups one after the other, identifiers counted on.

There are no weights: an epoch takes one random puzzle of every group, so a part has as much of an epoch as it has
groups, and `train_puzzles`, `subsample_size` and `max_puzzles` set that. Legend: N rows of all parts.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from trainer.data import source_of
from trainer.data.augment import SEPARATOR
from trainer.data.folder import check, files_of
from trainer.data.manifest import Built, Grid, Source, grid_of
from trainer.data.sampler import Rows, original_rows
from trainer.data.store import (
    Int32,
    Split,
    create_rows,
    finish_split,
    read_identifiers,
    read_json,
    read_split,
    write_identifiers,
)
from trmkit.errors import DataError
from trmkit.spec.data import FolderData, MixedData, SingleData
from trmkit.store.local import sha256

T = TypeVar("T")

SPLITS = ("train", "test")
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Part:
    """One source as it was built."""

    label: str
    folder: Path
    grid: Grid
    built: Built
    splits: dict[str, Split]
    names: list[str]
    """Its puzzle identifiers, without the blank one."""


def source(section: MixedData) -> Source:
    """Return how to build the data set of `section`."""
    files = {
        f"part {number}/{name}": path
        for number, part in enumerate(section.parts, 1)
        for name, path in _files_of(part).items()
    }
    return Source(partial(write, section), files)


def _files_of(part: SingleData) -> dict[str, Path]:
    return files_of(Path(part.path)) if isinstance(part, FolderData) else source_of(part).files


def write(section: MixedData, target: Path) -> Built:
    """Write the data set into `target`. DataError: parts do not fit, share a task, or test what another trains on."""
    drafts = target / "parts"
    parts = [_part(number, one, drafts / str(number)) for number, one in enumerate(section.parts, 1)]
    _refuse_unlike(parts)
    _refuse_shared_names(parts)
    _refuse_shared_rows(parts)
    for split in SPLITS:
        _join(parts, split, target)
    write_identifiers(target, [name for part in parts for name in part.names])
    tests = [read_json(file) for part in parts if (file := part.folder / "test_puzzles.json").is_file()]
    if tests:
        puzzles = {name: task for some in tests for name, task in some.items()}
        (target / "test_puzzles.json").write_text(json.dumps(puzzles))
    shutil.rmtree(drafts, ignore_errors=True)
    return Built(
        grid=next((part.grid for part in parts if part.grid.kind != "sequence"), parts[0].grid),
        counts=_prefixed((part.label, part.built.counts | _sizes(part)) for part in parts),
        inputs=_prefixed((part.label, part.built.inputs) for part in parts),
        left_out=_prefixed((part.label, part.built.left_out) for part in parts),
    )


def _part(number: int, section: SingleData, draft: Path) -> Part:
    if isinstance(section, FolderData):
        place = check(Path(section.path))
        inputs = {name: sha256(file) for name, file in files_of(place).items() if file.is_file()}
        built = Built(grid_of(place), {}, inputs)
    else:
        draft.mkdir(parents=True)
        place, built = draft, source_of(section).write(draft)
    splits = {split: read_split(place, split) for split in SPLITS}
    return Part(f"part {number}", place, built.grid, built, splits, read_identifiers(place)[1:])


def _refuse_unlike(parts: list[Part]) -> None:
    """DataError, naming both sizes: two parts have another grid, length, vocabulary or ignored label."""
    first = next((part for part in parts if part.grid.kind != "sequence"), parts[0])  # a bare folder knows no kind
    for part in parts:
        ours, theirs = first.splits["train"].metadata, part.splits["train"].metadata
        alike = part.grid.kind == "sequence" or part.grid == first.grid
        names = ("seq_len", "vocab_size", "ignore_label_id", "blank_identifier_id")
        if not alike or any(getattr(ours, name) != getattr(theirs, name) for name in names):
            raise DataError(
                f"data.parts: {first.label} has {_words(first)}, {part.label} has {_words(part)}",
                next="mix data of one kind and size",
            )


def _words(part: Part) -> str:
    data, grid = part.splits["train"].metadata, part.grid
    layout = f", layout {grid.layout}" if grid.kind == "arc" else ""
    return (
        f"{grid.kind} grids of {grid.height} x {grid.width}{layout}, {data.seq_len} cells of {data.vocab_size} kinds of"
        " tokens"
    )


def _refuse_shared_names(parts: list[Part]) -> None:
    """DataError: a task is in two parts, where its test pairs may be held out in one and trained on in the other."""
    owner: dict[str, Part] = {}
    for part in parts:
        for name in part.names:
            other = owner.setdefault(name, part)
            if other is not part:
                raise DataError(
                    f"data.parts: task {name.split(SEPARATOR)[0]} is in {other.label} and in {part.label}",
                    next="name both collections in one `arc` part, which uses the task once; or rename the file of one",
                )


def _refuse_shared_rows(parts: list[Part]) -> None:
    """DataError: a test row of one part, as it was before augmentation, is a training row of another."""
    tests = {}
    for part in parts:
        split = part.splits["test"]
        chunks = _rows(split, original_rows(split, len(split)))
        tests[part.label] = {row for chunk in chunks for row in chunk}
    for one, other in permutations(parts, 2):
        for chunk in _rows(one.splits["train"], np.arange(len(one.splits["train"]))):
            if not tests[other.label].isdisjoint(chunk):
                raise DataError(
                    f"data.parts: {one.label} trains on a puzzle that {other.label} tests on",
                    next="give generated parts another data seed, or take the puzzle out of one part",
                )


def _rows(split: Split, rows: Rows) -> Iterator[list[bytes]]:
    """Yield question and answer of `rows` of a split, one `bytes` for each row, `ROWS_AT_ONCE` at a time."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        chosen = rows[start : start + ROWS_AT_ONCE]
        both = np.concatenate([split.inputs[chosen], split.labels[chosen]], axis=1).astype(np.int16)
        yield [row.tobytes() for row in both]


def _join(parts: list[Part], split: str, target: Path) -> None:
    """Write one split of all parts."""
    found = [part.splits[split] for part in parts]
    data, rows = found[0].metadata, sum(len(one) for one in found)
    inputs, labels = create_rows(target, split, rows, data.seq_len, data.vocab_size)
    at = 0
    for one in found:
        for start in range(0, len(one), ROWS_AT_ONCE):
            size = min(ROWS_AT_ONCE, len(one) - start)
            inputs[at : at + size] = one.inputs[start : start + size]
            labels[at : at + size] = one.labels[start : start + size]
            at += size
    before = np.cumsum([0, *(len(part.names) for part in parts)])
    finish_split(
        target,
        split,
        rows=rows,
        seq_len=data.seq_len,
        vocab_size=data.vocab_size,
        ignore_label_id=data.ignore_label_id,
        num_puzzle_identifiers=1 + int(before[-1]),
        puzzle_identifiers=np.concatenate(
            [
                one.puzzle_identifiers + (one.puzzle_identifiers > 0) * first
                for one, first in zip(found, before, strict=False)
            ]
        ),
        puzzle_indices=_chained([one.puzzle_indices for one in found]),
        group_indices=_chained([one.group_indices for one in found]),
    )


def _chained(offsets: list[Int32]) -> npt.NDArray[np.int64]:
    """Return offsets that count on from part to part."""
    steps = [np.diff(one.astype(np.int64)) for one in offsets]
    return np.concatenate([[0], np.cumsum(np.concatenate(steps))])


def _sizes(part: Part) -> dict[str, int]:
    return {f"{split}_rows": len(found) for split, found in part.splits.items()} | {"identifiers": len(part.names)}


def _prefixed(parts: Iterable[tuple[str, dict[str, T]]]) -> dict[str, T]:
    return {f"{label}/{name}": value for label, content in parts for name, value in content.items()}
