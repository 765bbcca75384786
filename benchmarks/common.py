"""What the benchmarks share: CPU time of variants that take turns, small tables, and lines of that of `make bench`."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Work = Callable[[], object]
RECORD = "TRM_BENCH_RECORD"
"""Environment variable: the file that lines of the table of `make bench` are appended to; none: they are not kept."""


def cpu_seconds(work: Work) -> float:
    """Return the CPU seconds that `work` takes in this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def take_turns(variants: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """Return the least CPU seconds of each variant in `rounds` rounds, on one thread; see `all_turns`."""
    return {name: min(seconds) for name, seconds in all_turns(variants, rounds).items()}


def all_turns(variants: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each variant in each of `rounds` rounds, on one thread.

    All variants run in every round, one after the other, so that a slow minute of the machine meets all of them.
    """
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            found[name].append(cpu_seconds(work))
    return found


def record(
    area: str, what: str, ours: Sequence[float], plain: Sequence[float], *, must: float | None = None,
    stretch: float | None = None, unit: str = "s",
) -> None:  # fmt: skip
    """Add a line to the table of `make bench`: the times of both by round, and what their ratio should be at least.

    What is compared need not be seconds: `B`, bytes, or anything else of which less is better.
    """
    file = os.environ.get(RECORD)
    if file:
        goals = {"must": must, "stretch": stretch, "unit": unit}
        line = {"area": area, "what": what, "ours": list(ours), "plain": list(plain), **goals}
        with open(file, "a") as out:
            out.write(json.dumps(line) + "\n")


def spread(ours: Sequence[float], base: Sequence[float]) -> str:
    """Return the least and the largest ratio of `base` to `ours` among the rounds, as text."""
    ratios = [b / o for o, b in zip(ours, base, strict=True)]
    return f"{min(ratios):.2f}..{max(ratios):.2f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text in columns; the first column is flush left, the others flush right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())
    print(flush=True)
