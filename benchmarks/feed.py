"""How fast training rows are served, as a ratio to a loader as one writes it down first, both measured in this run.

    python benchmarks/feed.py [--puzzles 1000] [--variants 1000] [--batch 768] [--rounds 5]

A thousand 9 x 9 Sudokus with a thousand variants each, batches of 768 rows, one core, CPU time. All take the same
epochs: of every puzzle one random variant. The plain loader goes puzzle by puzzle, as the loaders of published code do,
and turns what it found into tensors of the types that the model takes. Before the clock starts, rows of all loaders are
compared: the same ones come out, made, stored, and by the plain loader from the same order.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer import data
from trainer.data.sampler import epoch_rows
from trainer.data.store import Split, read_split
from trainer.data.stream import Stream
from trainer.dist import World
from trmkit.spec.data import SudokuGeneratedData

ALONE = World(0, 1, 0, torch.device("cpu"))
GOALS = "30x, 50x the plain loader"


def main() -> None:
    """Print milliseconds of CPU time for a batch, and the ratio to the plain loader."""
    from common import all_turns, record, table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("puzzles", 1000), ("variants", 1000), ("batch", 768), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        stored, made = (built(Path(folder), options.puzzles, options.variants, how) for how in ("stored", "on_the_fly"))
        expect_equal(stored, made, options.batch)
        names = {
            "stored, read from the file": (stored, False),
            "stored, in memory": (stored, True),
            "on the fly": (made, False),
        }
        streams = {
            name: Stream(split, 0, options.batch, ALONE, on_device=resident)
            for name, (split, resident) in names.items()
        }
        batches = dict.fromkeys(streams, 320) | {"plain": 32}
        free = torch.ones(options.batch, dtype=torch.bool)
        plain = plain_loader(stored, options.batch, np.random.default_rng(0))

        def work(name: str) -> Callable[[], None]:
            def serve() -> None:
                for _ in range(batches[name]):
                    next(plain) if name == "plain" else streams[name].next(free)

            return serve

        turns = all_turns({name: work(name) for name in batches}, options.rounds)
    each = {name: [total / batches[name] for total in totals] for name, totals in turns.items()}
    cost = {name: 1000 * min(seconds) for name, seconds in each.items()}
    for name in streams:
        must, stretch = (30, 50) if name == "on the fly" else (None, None)
        record("feeding", f"a batch, {name}", each[name], each["plain"], must=must, stretch=stretch)
    print(f"batches of {options.batch} rows of {len(stored):,}; goals: {GOALS}")
    rows = [(name, f"{ms:.3f}", f"{cost['plain'] / ms:.1f}x") for name, ms in cost.items()]
    table(("loader", "CPU ms a batch", "to plain"), rows)


def built(folder: Path, puzzles: int, variants: int, augment: Any) -> Split:
    """Build a data set, and say how long it took and how large it is; return its training split."""
    section = SudokuGeneratedData(
        source="sudoku-generated", train_puzzles=puzzles, test_puzzles=1, num_aug=variants, augment=augment
    )
    data.build(section.model_copy(update={"train_puzzles": 2}), folder)  # compiles
    start = time.process_time()
    place = data.build(section, folder)
    seconds = time.process_time() - start
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    print(f"{augment}: puzzles found and data set built in {seconds:.2f} CPU seconds, {size / 1e6:.1f} MB")
    return read_split(place, "train")


def expect_equal(stored: Split, made: Split, batch: int) -> None:
    """SystemExit: the loaders serve different rows."""
    rows = epoch_rows(stored, 0, 0)[:batch]
    wanted = collated(stored, list(rows))
    for split, resident in ((stored, False), (stored, True), (made, False)):
        found = Stream(split, 0, len(rows), ALONE, on_device=resident).next(None)
        if any(not torch.equal(found[name], value) for name, value in wanted.items()):
            raise SystemExit("the loaders serve different rows")


def plain_loader(split: Split, batch: int, draw: np.random.Generator) -> Iterator[dict[str, Tensor]]:
    """Yield batches, group by group: of each a random puzzle, and of this all rows in random order."""
    rows: list[int] = []
    while True:
        for group in draw.permutation(len(split.group_indices) - 1):
            puzzle = draw.integers(split.group_indices[group], split.group_indices[group + 1])
            start, stop = split.puzzle_indices[puzzle], split.puzzle_indices[puzzle + 1]
            rows.extend(draw.permutation(np.arange(start, stop)))
            if len(rows) >= batch:
                yield collated(split, rows[:batch])
                rows = rows[batch:]


def collated(split: Split, rows: list[Any]) -> dict[str, Tensor]:
    """Return rows of a split as a batch."""
    inputs, labels = (np.asarray(table[np.array(rows)]).astype(np.int32) for table in (split.inputs, split.labels))
    labels[labels == split.metadata.ignore_label_id] = -100
    identifiers = split.row_identifiers[np.array(rows)]
    arrays = {"inputs": inputs, "labels": labels, "puzzle_identifiers": identifiers}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


if __name__ == "__main__":
    main()
