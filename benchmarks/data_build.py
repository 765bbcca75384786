"""How fast data sets are built, as ratios to a plain rendering of the same work, both measured in this run.

    python benchmarks/data_build.py

The plain rendering goes board by board and grid by grid, with numpy and hashlib, as one writes it down first. It works
on fewer items; what is compared is CPU time per item. Compiling is done before the clock starts.
"""

import hashlib
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from trainer.data.arc import FlatPairs, draw_variants, fill
from trainer.data.arc_tasks import ArcTask, read_collection
from trainer.data.draws import generator
from trainer.data.maze_generated import make as make_mazes
from trainer.data.sudoku_generated import make
from trainer.data.sudoku_shuffle import write_variants
from trainer.data.sudoku_solver import layout_of, make_puzzles
from trmkit.spec.data import MazeGeneratedData, SudokuGeneratedData

Array = npt.NDArray[np.uint8]
CANVAS = 30


def main() -> None:
    """Print one line per measurement."""
    sudoku_variants()
    arc_variants()
    generated_sudokus()
    generated_mazes()


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds that `work` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def report(what: str, ours: float, plain: float) -> None:
    """Print the rates of both, in items per CPU second, and their ratio."""
    print(f"{what}: {ours:,.0f} a second, plain numpy {plain:,.0f}, ratio {ours / plain:,.0f}x")


def sudoku_variants(boards: int = 1000, variants: int = 1000, plain_boards: int = 5) -> None:
    """Compare shuffled 9 x 9 boards, question and answer, as tokens."""
    section = SudokuGeneratedData(source="sudoku-generated", train_puzzles=boards, test_puzzles=1)
    questions, answers = (found[:boards] for found in make(section))
    rows = boards * (1 + variants)
    inputs, labels = np.zeros((2, rows, 81), np.uint8)
    write_variants(inputs[:4], labels[:4], questions[:2], answers[:2], generator(0, "compile"))
    ours = cpu_seconds(lambda: write_variants(inputs, labels, questions, answers, generator(0, "variants")))
    draw = np.random.RandomState(0)

    def plainly() -> list[tuple[Array, Array]]:
        return [
            plain_shuffle(questions[board].reshape(9, 9), answers[board].reshape(9, 9), draw)
            for board in range(plain_boards)
            for _ in range(variants)
        ]

    plain = cpu_seconds(plainly)
    print(f"sudoku: {boards:,} boards x {variants:,} variants in {ours:.2f} CPU seconds")
    report("sudoku variants", boards * variants / ours, plain_boards * variants / plain)


def plain_shuffle(question: Array, answer: Array, draw: np.random.RandomState) -> tuple[Array, Array]:
    """Shuffle one board, cell by cell, with the symmetries of Sudoku."""
    names = np.concatenate([[0], draw.permutation(9) + 1])
    transposed = draw.rand() < 0.5
    rows = np.concatenate([3 * band + draw.permutation(3) for band in draw.permutation(3)])
    columns = np.concatenate([3 * stack + draw.permutation(3) for stack in draw.permutation(3)])
    places = np.array([rows[cell // 9] * 9 + columns[cell % 9] for cell in range(81)])

    def shuffled(board: Array) -> Array:
        board = board.T if transposed else board
        return np.asarray(names[board.flatten()[places]].reshape(9, 9) + 1)

    return shuffled(question), shuffled(answer)


def arc_variants(tasks: int = 60, variants: int = 1000, plain_tasks: int = 6, plain_variants: int = 40) -> None:
    """Compare ARC: draw a variant, tell it from the others, and encode all its pairs."""
    chosen = generator(0, "tasks").permutation(np.array(read_collection("arc1/training"), dtype=object))[:tasks]
    ours_rows = plain_rows = 0
    ours = plain = 0.0
    encode_task(chosen[0], 2)
    for task in chosen:
        start = time.process_time()
        ours_rows += encode_task(task, variants)
        ours += time.process_time() - start
    for task in chosen[:: tasks // plain_tasks]:
        start = time.process_time()
        plain_rows += plain_task(task, plain_variants, np.random.RandomState(0))
        plain += time.process_time() - start
    report("arc pairs augmented, hashed and encoded", ours_rows / ours, plain_rows / plain)


def encode_task(task: ArcTask, count: int) -> int:
    """Make a task's rows as the build does; return how many."""
    pairs = FlatPairs.of((*task.train, *task.test))
    variants = draw_variants(task, count, seed=0)
    rows = len(variants) * (len(task.train) + len(task.test))
    inputs, labels = np.zeros((2, rows, CANVAS * CANVAS), np.uint8)
    shifts = generator(0, "shifts").random((len(variants), rows // len(variants), 2))
    fill(inputs, labels, CANVAS, pairs, variants, shifts)
    return rows


def plain_task(task: ArcTask, count: int, draw: np.random.RandomState) -> int:
    """Make a task's rows grid by grid; return how many."""
    pairs = (*task.train, *task.test)
    seen = {plain_hash(pairs)}
    variants = [pairs]
    for _ in range(5 * count):
        turn, colours = draw.randint(0, 8), np.concatenate([[0], draw.permutation(9) + 1]).astype(np.uint8)
        variant = tuple((plain_turn(colours[x], turn), plain_turn(colours[y], turn)) for x, y in pairs)
        key = plain_hash(variant)
        if key not in seen:
            seen.add(key)
            variants.append(variant)
        if len(variants) > count:
            break
    rows = [plain_encode(x, y, draw) for variant in variants for x, y in variant]
    inputs, _labels = np.stack([x for x, _ in rows]), np.stack([y for _, y in rows])
    return len(inputs)


def plain_turn(grid: Array, turn: int) -> Array:
    """Rotate or reflect a grid."""
    if turn < 4:
        return np.rot90(grid, turn)
    mirrors = (np.fliplr, np.flipud, np.transpose, lambda g: np.fliplr(np.rot90(g)))
    return np.asarray(mirrors[turn - 4](grid))


def plain_hash(pairs: tuple[tuple[Array, Array], ...]) -> str:
    """Name a set of pairs."""

    def digest(grid: Array) -> str:
        return hashlib.sha256(bytes(grid.shape) + np.ascontiguousarray(grid).tobytes()).hexdigest()

    names = sorted(f"{digest(x)}|{digest(y)}" for x, y in pairs)
    return hashlib.sha256("|".join(names).encode()).hexdigest()


def plain_encode(x: Array, y: Array, draw: np.random.RandomState) -> tuple[Array, Array]:
    """Put a pair on its canvas."""
    down = draw.randint(0, CANVAS - max(x.shape[0], y.shape[0]) + 1)
    right = draw.randint(0, CANVAS - max(x.shape[1], y.shape[1]) + 1)

    def on_canvas(grid: Array) -> Array:
        bottom, side = down + grid.shape[0], right + grid.shape[1]
        board = np.pad(grid + 2, ((down, CANVAS - bottom), (right, CANVAS - side)))
        if bottom < CANVAS:
            board[bottom, right:side] = 1
        if side < CANVAS:
            board[down:bottom, side] = 1
        return board.ravel()

    return on_canvas(x), on_canvas(y)


def generated_sudokus() -> None:
    """Print how many minimal 9 x 9 puzzles are made in a second: any, and such with 20 wrong guesses or more."""
    for target, count in ((0, 3000), (20, 150)):
        states = generator(0, "states").integers(1, 2**64, count, np.uint64)
        puzzles, solutions = np.zeros((2, count, 81), np.uint8)
        wrong_guesses = np.zeros(count, np.int64)
        made = (target, puzzles, solutions, wrong_guesses)
        make_puzzles(9, layout_of(9, 3, 3), states[:1].copy(), *made)
        seconds = cpu_seconds(partial(make_puzzles, 9, layout_of(9, 3, 3), states, *made))
        rate = int((wrong_guesses >= target).sum()) / seconds
        print(f"generated 9 x 9, {target} wrong guesses or more: {rate:,.1f} minimal puzzles a second")


def generated_mazes(count: int = 500) -> None:
    """Print how many mazes are made in a second: 10 x 10, and 30 x 30 with paths as long as those of Maze-Hard."""
    for side in (10, 30):
        section = MazeGeneratedData(source="maze-generated", side=side, train_puzzles=count, test_puzzles=1)
        make_mazes(section.model_copy(update={"train_puzzles": 1}))
        rate = (count + 1) / cpu_seconds(partial(make_mazes, section))
        print(f"generated {side} x {side} mazes, paths of {section.least_path} cells or more: {rate:,.0f} a second")


if __name__ == "__main__":
    main()
