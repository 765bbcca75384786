"""The plain rendering of what the builds do: board by board, grid by grid, with numpy and hashlib.

It draws from the same seeds, so it makes the same bytes, which a test holds; benchmarks tell how much longer it takes.
Nothing compiled is used here. Legend: V variants, the original not counted.
"""

import hashlib
import json
from itertools import permutations, product
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.arc import choose_tasks
from trainer.data.draws import generator
from trmkit.spec.data import ArcData

Array = npt.NDArray[np.uint8]
Pairs = tuple[tuple[Array, Array], ...]
Variant = tuple[int, Array, Pairs]
"""Turn, table of colours, and the pairs after both."""

BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}


def sudoku_rows(questions: Array, answers: Array, variants: int, draw: np.random.Generator) -> tuple[Array, Array]:
    """Return inputs and labels, [n * (1 + V), cells]: every board as tokens, followed by its variants."""
    side = round(questions.shape[1] ** 0.5)
    height, width = BOXES[side]
    row_orders, column_orders = line_orders(side, height), line_orders(side, width)
    inputs, labels = [], []
    for question, answer in zip(questions, answers, strict=False):
        codes, turned, rows, columns = (
            draw.integers(0, limit, variants) for limit in (factorial(side), 2, len(row_orders), len(column_orders))
        )
        inputs.append(question + 1)
        labels.append(answer + 1)
        for v in range(variants):
            names = np.array([0, *permutation(int(codes[v]), side)])
            transposed = turned[v] and height == width
            row_order, column_order = row_orders[rows[v]], column_orders[columns[v]]
            places = np.array([row_order[c // side] * side + column_order[c % side] for c in range(side * side)])
            for board, into in ((question, inputs), (answer, labels)):
                grid = board.reshape(side, side)
                grid = grid.T if transposed else grid
                into.append(names[grid.flatten()[places]] + 1)
    return np.array(inputs, np.uint8), np.array(labels, np.uint8)


def sudoku_pair(question: Array, answer: Array, draw: np.random.RandomState) -> tuple[Array, Array]:
    """Draw a variant of a 9 x 9 board and make it, as the builders of published code do: one at a time."""
    names = np.concatenate([[0], draw.permutation(9) + 1])
    transposed = draw.rand() < 0.5
    rows = np.concatenate([3 * band + draw.permutation(3) for band in draw.permutation(3)])
    columns = np.concatenate([3 * stack + draw.permutation(3) for stack in draw.permutation(3)])
    places = np.array([rows[cell // 9] * 9 + columns[cell % 9] for cell in range(81)])

    def shuffled(board: Array) -> Array:
        grid = board.reshape(9, 9)
        grid = grid.T if transposed else grid
        return np.asarray(names[grid.flatten()[places]] + 1)

    return shuffled(question), shuffled(answer)


def permutation(code: int, count: int) -> list[int]:
    """Return the permutation of 1..count that a number stands for."""
    found = list(range(1, count + 1))
    for i in range(count - 1, 0, -1):
        code, j = divmod(code, i + 1)
        found[i], found[j] = found[j], found[i]
    return found


def line_orders(side: int, group: int) -> list[list[int]]:
    """Return all orders of rows that keep groups of `group` rows together."""
    groups = side // group
    return [
        [group * at + i for at, order in zip(outer, chosen, strict=True) for i in order]
        for outer in permutations(range(groups))
        for chosen in product(list(permutations(range(group))), repeat=groups)
    ]


def arc_build(section: ArcData, folder: Path) -> int:
    """Write the files of an ARC data set, layout `edges`; return the number of its rows."""
    tasks, _ = choose_tasks(section)
    names = ["<blank>"]
    splits: dict[str, list[tuple[int, list[tuple[Array, Array]]]]] = {"train": [], "test": []}
    groups: dict[str, list[int]] = {"train": [], "test": []}
    for collection, task in tasks:
        variants = arc_variants(
            (*task.train, *task.test), section.num_aug, generator(section.seed, "variants", task.name)
        )
        first, shown = len(names), len(task.train)
        names += [task.name]
        names += [f"{task.name}|||t{turn}|||{''.join(map(str, colours))}" for turn, colours, _ in variants[1:]]
        held_out = collection == section.test
        used = [pairs[:shown] if held_out else pairs for _, _, pairs in variants]
        shifts = arc_shifts(section, task.name, len(used), len(used[0]))
        rows = [
            [arc_tokens(x, y, section.canvas, *shift) for (x, y), shift in zip(pairs, moved, strict=True)]
            for pairs, moved in zip(used, shifts, strict=True)
        ]
        splits["train"] += list(enumerate(rows, first))
        groups["train"].append(len(rows))
        if held_out:
            asked = [[arc_tokens(x, y, section.canvas, 0, 0) for x, y in pairs[shown:]] for _, _, pairs in variants]
            splits["test"] += list(enumerate(asked, first))
            groups["test"].append(len(asked))
    for split, puzzles in splits.items():
        write_split(folder / split, puzzles, groups[split], len(names))
    (folder / "identifiers.json").write_text(json.dumps(names))
    asked_of = {task.name: task.as_json() for collection, task in tasks if collection == section.test}
    (folder / "test_puzzles.json").write_text(json.dumps(asked_of))
    return sum(len(rows) for puzzles in splits.values() for _, rows in puzzles)


def write_split(
    folder: Path, puzzles: list[tuple[int, list[tuple[Array, Array]]]], groups: list[int], identifiers: int
) -> None:
    """Write the files of one split of `puzzles`, each an identifier and its rows; `groups` are puzzles per task."""
    folder.mkdir(parents=True)
    pairs = [pair for _, rows in puzzles for pair in rows]
    arrays: dict[str, Any] = {
        "inputs": np.stack([x for x, _ in pairs]),
        "labels": np.stack([y for _, y in pairs]),
        "puzzle_identifiers": np.array([identifier for identifier, _ in puzzles], np.int32),
        "puzzle_indices": np.cumsum([0, *(len(rows) for _, rows in puzzles)]).astype(np.int32),
        "group_indices": np.cumsum([0, *groups]).astype(np.int32),
    }
    for name, array in arrays.items():
        np.save(folder / f"all__{name}.npy", array)
    metadata = {
        "pad_id": 0,
        "ignore_label_id": 0,
        "blank_identifier_id": 0,
        "vocab_size": 12,
        "seq_len": len(pairs[0][0]),
        "num_puzzle_identifiers": identifiers,
        "total_groups": len(groups),
        "mean_puzzle_examples": len(pairs) / len(puzzles),
        "total_puzzles": len(puzzles),
        "sets": ["all"],
    }
    (folder / "dataset.json").write_text(json.dumps(metadata))


def arc_variants(pairs: Pairs, count: int, draw: np.random.Generator) -> list[Variant]:
    """Return a task and up to `count` variants that are different sets of pairs."""
    found: list[Variant] = [(0, np.arange(10, dtype=np.uint8), pairs)]
    seen, left = {hash_of(pairs)}, 5 * count
    while len(found) <= count and left:
        tries = min(left, count + count // 16 + 1 if len(found) == 1 else count)
        left -= tries
        turns = draw.integers(0, 8, tries)
        free = np.broadcast_to(np.arange(1, 10, dtype=np.uint8), (tries, 9))
        for turn, rest in zip(turns.tolist(), draw.permuted(free, axis=1), strict=True):
            if len(found) > count:
                break
            colours = np.concatenate([[0], rest]).astype(np.uint8)
            variant = tuple((turned(colours[x], turn), turned(colours[y], turn)) for x, y in pairs)
            key = hash_of(variant)
            if key not in seen:
                seen.add(key)
                found.append((turn, colours, variant))
    return found


def turned(grid: Array, turn: int) -> Array:
    """Rotate or reflect a grid."""
    if turn < 4:
        return np.rot90(grid, turn)
    mirrors = (np.fliplr, np.flipud, np.transpose, lambda g: np.fliplr(np.rot90(g)))
    return np.asarray(mirrors[turn - 4](grid))


def hash_of(pairs: Pairs) -> str:
    """Name a set of pairs."""

    def digest(grid: Array) -> str:
        return hashlib.sha256(bytes(grid.shape) + np.ascontiguousarray(grid).tobytes()).hexdigest()

    names = sorted(f"{digest(x)}|{digest(y)}" for x, y in pairs)
    return hashlib.sha256("|".join(names).encode()).hexdigest()


def arc_shifts(section: ArcData, name: str, variants: int, pairs: int) -> npt.NDArray[np.float64]:
    """Draw where each pair goes among the places it fits, [V, E, 2] in [0, 1)."""
    if not section.translate:
        return np.zeros((variants, pairs, 2))
    draw = generator(section.seed, "shifts", name)
    shifts = draw.random((variants, pairs, 2))
    shifts[np.arange(variants), draw.integers(0, pairs, variants)] = 0
    return shifts


def arc_tokens(x: Array, y: Array, canvas: int, down: float, right: float) -> tuple[Array, Array]:
    """Put a pair on its canvas, as far down and right in what room there is as the two numbers in [0, 1) say."""
    top = int(down * (canvas - max(x.shape[0], y.shape[0]) + 1))
    left = int(right * (canvas - max(x.shape[1], y.shape[1]) + 1))

    def on_canvas(grid: Array) -> Array:
        bottom, side = top + grid.shape[0], left + grid.shape[1]
        board = np.pad(grid + 2, ((top, canvas - bottom), (left, canvas - side)))
        if bottom < canvas:
            board[bottom, left:side] = 1
        if side < canvas:
            board[top:bottom, side] = 1
        return board.ravel()

    return on_canvas(x), on_canvas(y)


def crop(tokens: npt.NDArray[Any]) -> tuple[int, int]:
    """Return height and width of the largest rectangle of colours in the corner, the widest among equals."""
    canvas = round(len(tokens) ** 0.5)
    colour = ((tokens >= 2) & (tokens <= 11)).reshape(canvas, canvas)
    width, best = canvas, (0, 0)
    for row in range(canvas):
        for column in range(width):
            if not colour[row, column]:
                width = column
                break
        if (row + 1) * width > best[0] * best[1]:
            best = row + 1, width
    return best
