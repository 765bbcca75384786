"""ARC-AGI: every task with its variants, laid out as the reference's `build_arc_dataset.py` does.

A group is a task, a puzzle is the task or one of its variants, a row is one pair. All randomness of a task comes from
the seed and the task's name, so it does not depend on which other tasks there are.
Legend: V variants of a task (the task itself is variant 0), E pairs.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.data.arc_tasks import ArcTask, Pair, collection_files, read_collection
from trainer.data.augment import variant_names
from trainer.data.draws import generator
from trainer.data.grid import PAD, UNCHANGED, VOCAB_SIZE
from trainer.data.kernels import colour_keys, place_pairs, variant_keys
from trainer.data.manifest import Built, Grid, Layout, Source
from trainer.data.store import create_rows, finish_split, write_identifiers
from trainer.data.window import fitting
from trmkit.errors import DataError
from trmkit.spec.data import ArcData
from trmkit.store.local import sha256

TRIES_PER_VARIANT = 5
"""Tries for each variant asked for before a task is left with fewer, as in the reference."""


@dataclass(frozen=True)
class Variants:
    """Distinct variants of a task, the task itself first: `turns` int64 [V], `colours` uint8 [V, 10]."""

    turns: npt.NDArray[np.int64]
    colours: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.turns)


@dataclass(frozen=True)
class FlatPairs:
    """Pairs as the kernels take them (see `kernels`)."""

    cells: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    heights: npt.NDArray[np.int64]
    widths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> "FlatPairs":
        """Lay the grids of `pairs` one after the other."""
        grids = [grid for pair in pairs for grid in pair]
        sizes = np.array([grid.shape for grid in grids], np.int64)
        areas = sizes.prod(axis=1)
        return cls(np.concatenate([g.ravel() for g in grids]), np.cumsum(areas) - areas, *sizes.T.copy())


def source(section: ArcData) -> Source:
    """Return how to build the data set of `section`."""
    files = {name: path for collection in section.collections for name, path in collection_files(collection).items()}
    return Source(partial(write, section, files), files)


def write(section: ArcData, files: dict[str, Path], folder: Path) -> Built:
    """Write the data set into `folder`. DataError: a task is malformed, or no task is left to train or to test on."""
    tasks, left_out = choose_tasks(section)
    held_out = {task.name for collection, task in tasks if collection == section.test}
    variants = [draw_variants(task, section.num_aug, section.seed, black=section.permute_black) for _, task in tasks]
    first_ids = 1 + np.cumsum([0, *map(len, variants)])
    train, test = _Plan(section, int(first_ids[-1])), _Plan(section, int(first_ids[-1]))
    names: list[str] = []
    for (_, task), found, first_id in zip(tasks, variants, first_ids, strict=False):
        names += [task.name, *variant_names(task.name, found.turns[1:], found.colours[1:])]
        window = window_of(section, task, held_out=task.name in held_out)
        if task.name in held_out:
            train.add(task.name, task.train, found, int(first_id), window)
            test.add(task.name, task.test, found, int(first_id), window)
        else:
            train.add(task.name, (*task.train, *task.test), found, int(first_id), window)
    train.write(folder, "train", shifted=section.translate)
    test.write(folder, "test", shifted=False)
    write_identifiers(folder, names)
    puzzles = {task.name: task.as_json() for _, task in tasks if task.name in held_out}
    (folder / "test_puzzles.json").write_text(json.dumps(puzzles))
    return Built(
        grid=Grid("arc", section.canvas, section.canvas, section.layout),
        counts={
            **train.counts("train"),
            **test.counts("test"),
            "tasks_with_fewer_variants": sum(len(found) <= section.num_aug for found in variants),
        },
        inputs={name: sha256(path) for name, path in files.items() if path.is_file()},
        left_out=left_out,
    )


def window_of(section: ArcData, task: ArcTask, *, held_out: bool) -> int:
    """Return the side of the window in which the rows of `task` are worked on, as they are or turned."""
    trained, asked = (task.train, task.test) if held_out else ((*task.train, *task.test), ())
    return fitting(trained, asked, section.canvas, section.layout)


def choose_tasks(section: ArcData) -> tuple[list[tuple[str, ArcTask]], dict[str, str]]:
    """Return the tasks to use, each with its collection, in a random order within it; and why others are left out.

    A task that is in several collections is used once: the held-out one if it is held out, else the first. Otherwise
    its test pairs would be trained on.
    """
    read = {collection: read_collection(collection) for collection in dict.fromkeys(section.collections)}
    held_out = {task.name for task in read[section.test]}
    _refuse_other_tasks_of_the_same_name(read)
    used: set[str] = set()
    tasks: list[tuple[str, ArcTask]] = []
    left_out: dict[str, str] = {}
    for collection, found in read.items():
        for index in generator(section.seed, "order", collection).permutation(len(found)):
            task = found[index]
            if task.name in used or (task.name in held_out and collection != section.test):
                left_out[f"{collection}/{task.name}"] = "is in another collection too, and used there"
            elif task.side > section.largest:
                left_out[f"{collection}/{task.name}"] = f"has a grid of side {task.side}"
            elif len(tasks) != section.max_puzzles:
                tasks.append((collection, task))
                used.add(task.name)
    if section.test not in {collection for collection, _ in tasks}:
        raise DataError(
            f"no task of {section.test}, whose test pairs are held out, is left",
            next="raise data.max_puzzles or data.canvas, or name this collection first in data.collections",
        )
    return tasks, left_out


def _refuse_other_tasks_of_the_same_name(read: dict[str, list[ArcTask]]) -> None:
    """DataError: two collections have a task of one name, and no pair in common. A name is a puzzle identifier."""
    known: dict[str, tuple[str, ArcTask]] = {}
    for collection, tasks in read.items():
        for task in tasks:
            first, other = known.setdefault(task.name, (collection, task))
            if not task.shares_a_pair_with(other):
                raise DataError(
                    f"{collection}: its task {task.name} is another one than the task {task.name} of {first}",
                    next="rename the file of one of them: a task is known to the model by its name",
                )


def draw_variants(task: ArcTask, count: int, seed: int, *, black: bool = False) -> Variants:
    """Draw up to `count` variants of `task` that differ from it and from each other as sets of pairs.

    With `black` it is exchanged for other colours as they are; without, it stays.
    """
    free = UNCHANGED if black else UNCHANGED[1:]
    draw = generator(seed, "variants", task.name)
    keys_of = _PairSetKeys(FlatPairs.of((*task.train, *task.test)))
    turns, colours = np.zeros(1, np.int64), UNCHANGED[None]
    keys = keys_of(turns, colours)
    tries_left = TRIES_PER_VARIANT * count
    while len(turns) <= count and tries_left:
        tries = min(tries_left, count + count // 16 + 1 if len(turns) == 1 else count)
        tries_left -= tries
        more_turns = draw.integers(0, 8, tries)
        more_colours = np.zeros((tries, 10), np.uint8)
        more_colours[:, -len(free) :] = draw.permuted(np.broadcast_to(free, (tries, len(free))), axis=1)
        turns, colours = np.concatenate([turns, more_turns]), np.concatenate([colours, more_colours])
        keys = np.concatenate([keys, keys_of(more_turns, more_colours)])
        new = np.sort(np.unique(keys.view("V16").ravel(), return_index=True)[1])[: count + 1]
        turns, colours, keys = turns[new], colours[new], keys[new]
    return Variants(turns, colours)


class _PairSetKeys:
    """Callable: 128-bit keys, uint64 [n, 2], of variants of one task; equal keys, equal sets of pairs."""

    def __init__(self, pairs: FlatPairs) -> None:
        zobrist = generator(0, "zobrist").integers(0, 2**64, (931, 10, 2), np.uint64)
        self.keys = np.zeros((len(pairs.heights), 8, 10, 10, 2), np.uint64)
        colour_keys(pairs.cells, pairs.offsets, pairs.heights, pairs.widths, zobrist, self.keys)

    def __call__(self, turns: npt.NDArray[np.int64], colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
        found = np.zeros((len(turns), 2), np.uint64)
        variant_keys(self.keys, turns, colours, found)
        return found


class _Plan:
    """The rows of one split: counted as tasks are added, then written in one go into files mapped into memory."""

    def __init__(self, section: ArcData, identifiers: int) -> None:
        self.section = section
        self.identifiers = identifiers
        self.tasks: list[tuple[str, FlatPairs, Variants, int]] = []
        self.windows: list[int] = []

    def add(self, name: str, pairs: Sequence[Pair], variants: Variants, first_id: int, window: int) -> None:
        """Add a group: `pairs` in each of `variants`, whose identifiers count up from `first_id`."""
        self.tasks.append((name, FlatPairs.of(pairs), variants, first_id))
        self.windows.append(window)

    def counts(self, split: str) -> dict[str, int]:
        """Return the number of groups, puzzles and rows for the manifest."""
        return {
            f"{split}_groups": len(self.tasks),
            f"{split}_puzzles": sum(len(variants) for _, _, variants, _ in self.tasks),
            f"{split}_rows": sum(len(v) * _pairs_in(p) for _, p, v, _ in self.tasks),
        }

    def write(self, folder: Path, split: str, shifted: bool) -> None:
        """Write the split into `folder`."""
        canvas = self.section.canvas
        rows = self.counts(split)[f"{split}_rows"]
        inputs, labels = create_rows(folder, split, rows, canvas * canvas, VOCAB_SIZE)
        start = 0
        for name, pairs, variants, _ in self.tasks:
            stop = start + len(variants) * _pairs_in(pairs)
            shifts = _draw_shifts(self.section.seed, name, len(variants), _pairs_in(pairs), shifted)
            fill(inputs[start:stop], labels[start:stop], canvas, pairs, variants, shifts, self.section.layout)
            start = stop
        sizes = [len(variants) for _, _, variants, _ in self.tasks]
        finish_split(
            folder,
            split,
            rows=rows,
            seq_len=canvas * canvas,
            vocab_size=VOCAB_SIZE,
            ignore_label_id=ignored(self.section.layout),
            num_puzzle_identifiers=self.identifiers,
            puzzle_identifiers=np.concatenate([first + np.arange(len(v)) for _, _, v, first in self.tasks]),
            puzzle_indices=_offsets(np.repeat([_pairs_in(p) for _, p, _, _ in self.tasks], sizes)),
            group_indices=_offsets(sizes),
            windows=self.windows if self.section.window == "fitted" else None,
        )


def ignored(layout: Layout) -> int | None:
    """Return the label that is left out of loss and scores: empty cells, unless every cell of the canvas counts."""
    return None if layout == "corners" else PAD


def fill(
    inputs: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    canvas: int,
    pairs: FlatPairs,
    variants: Variants,
    shifts: npt.NDArray[np.float64],
    layout: Layout = "edges",
) -> None:
    """Encode every pair of every variant into `inputs` and `labels` [V * E, canvas^2], which hold zeros.

    `shifts` [V, E, 2]: where each pair goes among the places it fits, in [0, 1), down and right.
    """
    place_pairs(
        inputs.view(np.ndarray),
        labels.view(np.ndarray),
        canvas,
        pairs.cells,
        pairs.offsets,
        pairs.heights,
        pairs.widths,
        variants.turns,
        variants.colours,
        shifts,
        layout == "corners",
    )


def _draw_shifts(seed: int, name: str, variants: int, pairs: int, shifted: bool) -> npt.NDArray[np.float64]:
    """Draw where each pair goes, [V, E, 2] in [0, 1); one random pair of each variant stays in the corner."""
    if not shifted:
        return np.zeros((variants, pairs, 2))
    draw = generator(seed, "shifts", name)
    shifts = draw.random((variants, pairs, 2))
    shifts[np.arange(variants), draw.integers(0, pairs, variants)] = 0
    return shifts


def _pairs_in(pairs: FlatPairs) -> int:
    return len(pairs.heights) // 2


def _offsets(sizes: Iterable[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.fromiter(sizes, np.int64))])
