"""Windows: how much of its canvas an ARC task needs, so that no work goes into cells that stay empty.

A task has one window, the smallest of a few squares that holds all its inputs and the answers that are trained on, with
their marks. What a held-out answer needs has no part in it. Legend: `G` slots over all processes (the global batch).
"""

from collections.abc import Iterable

from trainer.data.arc_tasks import Pair
from trainer.data.grid import MARKS
from trainer.data.manifest import Layout
from trmkit.errors import SpecError

SIDES = (10, 14, 20, 24, 30)
"""Sides of windows on a canvas of 30; on another they are in proportion."""
SPARE = 8
"""Slots of a window are counted in units of a power of two, as large as leaves so many units for every window."""


def sides(canvas: int) -> tuple[int, ...]:
    """Return the sides of windows on a canvas, rising; the last one is the canvas."""
    return tuple(dict.fromkeys(-(-canvas * side // SIDES[-1]) for side in SIDES))


def fitting(trained: Iterable[Pair], asked: Iterable[Pair], canvas: int, layout: Layout) -> int:
    """Return the side of a task's window: it holds the pairs `trained` on, and of those `asked` later the inputs."""
    grids = [grid for pair in trained for grid in pair] + [question for question, _ in asked]
    room = max(max(grid.shape) for grid in grids) + (MARKS if layout == "corners" else 1)
    return next(side for side in sides(canvas) if side >= min(room, canvas))


def slots_of(windows: tuple[tuple[int, int], ...], slots: int) -> dict[int, int]:
    """Share `slots` G out to the sides of `windows` in proportion to their rows; each gets a unit at least.

    SpecError: there are fewer slots than windows.
    """
    if slots < len(windows):
        raise SpecError(
            f"data.window: {len(windows)} windows cannot share a batch of {slots} rows",
            next=f"raise train.batch_size to {len(windows)} or more, or --set data.window=full",
        )
    unit = 1
    while slots % (2 * unit) == 0 and slots // (2 * unit) >= SPARE * len(windows):
        unit *= 2
    units, rows = slots // unit, sum(count for _, count in windows)
    shares = dict.fromkeys((side for side, _ in windows), 1)
    for _ in range(units - len(windows)):
        neediest = max(windows, key=lambda window: window[1] * units / rows - shares[window[0]])
        shares[neediest[0]] += 1
    return {side: share * unit for side, share in shares.items()}
