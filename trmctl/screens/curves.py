"""Draws numbers with letters: curves, and bars of the ranks. Pure."""

from collections.abc import Mapping, Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
Point = tuple[float, float]
"""An update, and a number."""


def curve(points: Sequence[Point], width: int, height: int) -> list[str]:
    """Return `height` lines of `width` characters that show how a number went, with its range on the left.

    Columns are even in updates, not in the times at which somebody looked; where nothing was seen the last value holds.
    """
    if not points:
        return []
    low, high = min(value for _, value in points), max(value for _, value in points)
    first, last = points[0][0], points[-1][0]
    columns: list[float] = []
    at = 0
    for column in range(width):
        update = first + (last - first) * (column + 1) / width
        while at + 1 < len(points) and points[at + 1][0] <= update:
            at += 1
        columns.append(points[at][1])
    span = high - low or 1.0
    filled = [round((value - low) / span * (height * 8 - 1)) + 1 for value in columns]
    lines = []
    for row in range(height):
        below = (height - 1 - row) * 8
        drawn = "".join(BLOCKS[min(8, max(0, level - below))] for level in filled)
        label = f"{high:.4g}" if row == 0 else f"{low:.4g}" if row == height - 1 else ""
        lines.append(f"{label:>9} {drawn}")
    return lines


def bars(values: Mapping[int, float], width: int) -> list[tuple[int, str, str]]:
    """Return rank, number and a bar as long as the number is to the largest; who is slow stands out."""
    longest = max(values.values(), default=0.0) or 1.0
    return [(rank, f"{value:.3g}", "█" * round(value / longest * width)) for rank, value in sorted(values.items())]
