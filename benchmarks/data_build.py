"""How fast data sets are built, as ratios to a plain rendering of the same work, both measured in this run.

    python benchmarks/data_build.py

The plain rendering (`plain_data.py`) goes board by board and grid by grid, with numpy and hashlib, as one writes it
down first. It works on fewer items; what is compared is CPU time per item. Compiling is done before the clock starts.
ARC files, crops and the Sudokus "with draws in bulk" are what `test_data_plain.py` finds equal byte for byte. The other
Sudoku line is a builder that draws every variant by itself, as published ones do: the same symmetries, from another
stream of random numbers, so other bytes. Goals: Sudoku 200x, ARC 20x, with files 10x, crop 5x.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from trainer.data import source_of
from trainer.data.arc import FlatPairs, choose_tasks, draw_variants, fill
from trainer.data.arc_tasks import ArcTask, read_collection
from trainer.data.draws import generator
from trainer.data.grid import crop_all, encode
from trainer.data.maze_generated import make as make_mazes
from trainer.data.sudoku_generated import make
from trainer.data.sudoku_solver import layout_of, make_puzzles
from trainer.data.sudoku_virtual import Shuffled
from trmkit.spec.data import ArcData, MazeGeneratedData, SudokuGeneratedData

CANVAS = 30


def main() -> None:
    """Print one line per measurement."""
    import plain_data as plain

    sudoku_variants(plain)
    arc_variants(plain)
    arc_files(plain)
    crops(plain)
    generated_sudokus()
    generated_mazes()


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds that `work` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def report(what: str, ours: float, plain: float, must: float | None = None) -> None:
    """Print the rates of both, in items per CPU second, and their ratio."""
    from common import record

    print(f"{what}: {ours:,.0f} a second, plain numpy {plain:,.0f}, ratio {ours / plain:,.0f}x")
    record("data", f"{what}, an item", [1 / ours], [1 / plain], must=must)


def sudoku_variants(plain: ModuleType, boards: int = 1000, variants: int = 1000, plain_boards: int = 5) -> None:
    """Compare shuffled 9 x 9 boards, question and answer, as tokens."""
    section = SudokuGeneratedData(source="sudoku-generated", train_puzzles=boards, test_puzzles=1)
    questions, answers = (found[:boards] for found in make(section))
    rows = boards * (1 + variants)
    inputs, labels = np.zeros((2, rows, 81), np.uint8)
    Shuffled.draw(questions[:2], answers[:2], 1, generator(0, "compile")).write(inputs[:4], labels[:4])
    drawn: list[Shuffled] = []

    def draw() -> None:
        drawn.append(Shuffled.draw(questions, answers, variants, generator(0, "variants")))

    drawing = cpu_seconds(draw)
    ours = drawing + cpu_seconds(lambda: drawn[0].write(inputs, labels))
    some, one = questions[:plain_boards], np.random.RandomState(0)
    bulk = cpu_seconds(lambda: plain.sudoku_rows(some, answers, variants, generator(0, "variants")))
    each = cpu_seconds(
        lambda: [plain.sudoku_pair(*pair, one) for pair in zip(some, answers, strict=False) for _ in range(variants)]
    )
    print(f"sudoku: {boards:,} boards x {variants:,} variants in {ours:.2f} CPU seconds, {drawing:.2f} of them draws")
    report("sudoku variants", rows / ours, plain_boards * variants / each, must=200)
    report("sudoku variants, to plain with draws in bulk", rows / ours, plain_boards * variants / bulk)


def arc_variants(
    plain: ModuleType, tasks: int = 60, variants: int = 1000, plain_tasks: int = 6, plain_variants: int = 40
) -> None:
    """Compare ARC: draw a variant, tell it from the others, and encode all its pairs."""
    chosen = generator(0, "tasks").permutation(np.array(read_collection("arc1/training"), dtype=object))[:tasks]
    encode_task(chosen[0], 2)
    counts: dict[str, int] = {"ours": 0, "plain": 0}

    def ours() -> None:
        counts["ours"] = sum(encode_task(task, variants) for task in chosen)

    def plainly() -> None:
        some = chosen[:: tasks // plain_tasks]
        counts["plain"] = sum(plain_task(plain, task, plain_variants) for task in some)

    seconds = {"ours": cpu_seconds(ours), "plain": cpu_seconds(plainly)}
    report("arc pairs augmented, hashed and encoded", *(counts[name] / seconds[name] for name in counts), must=20)


def encode_task(task: ArcTask, count: int) -> int:
    """Make a task's rows as the build does; return how many."""
    pairs = FlatPairs.of((*task.train, *task.test))
    variants = draw_variants(task, count, seed=0)
    rows = len(variants) * (len(task.train) + len(task.test))
    inputs, labels = np.zeros((2, rows, CANVAS * CANVAS), np.uint8)
    shifts = generator(0, "shifts").random((len(variants), rows // len(variants), 2))
    fill(inputs, labels, CANVAS, pairs, variants, shifts)
    return rows


def plain_task(plain: ModuleType, task: ArcTask, count: int) -> int:
    """Make a task's rows grid by grid; return how many."""
    variants = plain.arc_variants((*task.train, *task.test), count, generator(0, "variants", task.name))
    draw = generator(0, "shifts")
    rows = [plain.arc_tokens(x, y, CANVAS, *draw.random(2)) for _, _, pairs in variants for x, y in pairs]
    inputs, _labels = np.stack([x for x, _ in rows]), np.stack([y for _, y in rows])
    return len(inputs)


def arc_files(plain: ModuleType, tasks: int = 60, variants: int = 500, plain_tasks: int = 10, few: int = 60) -> None:
    """Compare whole builds of ARC, with all the files; reading the tasks, which is the same for both, is taken off."""

    def section(count: int, copies: int) -> ArcData:
        collection = "arc1/training"
        return ArcData(source="arc", collections=(collection,), test=collection, max_puzzles=count, num_aug=copies)

    with tempfile.TemporaryDirectory() as folder:

        def ours(count: int, copies: int) -> int:
            place = Path(folder) / f"ours-{count}"
            place.mkdir()
            built = source_of(section(count, copies)).write(place)
            return built.counts["train_rows"] + built.counts["test_rows"]

        ours(1, 1)
        rows: dict[str, int] = {}
        reading = min(cpu_seconds(lambda: choose_tasks(section(tasks, 1))) for _ in range(3))
        work = {
            "ours": lambda: rows.update(ours=ours(tasks, variants)),
            "plain": lambda: rows.update(plain=plain.arc_build(section(plain_tasks, few), Path(folder) / "plain")),
        }
        seconds = {name: cpu_seconds(one) - reading for name, one in work.items()}
    print(f"arc with files: {rows['ours']:,} rows in {seconds['ours']:.2f} CPU seconds")
    report("arc rows built, with files", *(rows[name] / seconds[name] for name in work), must=10)


def crops(plain: ModuleType, grids: int = 20_000, plain_grids: int = 500) -> None:
    """Compare finding the sizes of predicted grids: all at once, one by one with the compiled loop, plainly."""
    draw = generator(0, "grids")
    sides = draw.integers(1, 31, (grids, 2))
    tokens = np.stack([encode(draw.integers(0, 10, side, dtype=np.uint8)) for side in sides])
    crop_all(tokens[:2])
    if crop_all(tokens[:plain_grids]).tolist() != [list(plain.crop(row)) for row in tokens[:plain_grids]]:
        raise SystemExit("the plain rendering crops otherwise")
    batch = grids / min(cpu_seconds(lambda: crop_all(tokens)) for _ in range(5))
    single = grids / cpu_seconds(lambda: [crop_all(row[None]) for row in tokens])
    plainly = plain_grids / cpu_seconds(lambda: [plain.crop(row) for row in tokens[:plain_grids]])
    report("grids cropped", batch, plainly, must=5)
    print(f"grids cropped one by one, compiled: {single:,.0f} a second; all at once is {batch / single:,.0f}x")


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
