"""The points of a grid: every combination of the values that keys of the run file are to have. Pure."""

from collections.abc import Sequence
from itertools import product

from trmkit.errors import SpecError
from trmkit.render.names import job_name
from trmkit.spec.load import load
from trmkit.spec.run import RunFile

Point = tuple[str, ...]
"""`KEY=VALUE` for each key of the grid."""


def points(grid: Sequence[str]) -> list[Point]:
    """Return every point of a grid such as `["train.lr=1e-4,3e-4", "seed=0,1"]`. SpecError: it is none."""
    axes = []
    for text in grid:
        key, sign, values = text.partition("=")
        found = split(values)
        if not sign or not key.strip() or not all(found):
            raise SpecError(f"--grid {text}: is not KEY=VALUE,VALUE", next="as in --grid train.lr=1e-4,3e-4")
        axes.append([f"{key.strip()}={value}" for value in found])
    return [tuple(point) for point in product(*axes)]


def split(values: str) -> list[str]:
    """Return values separated by commas; those within brackets or quotes separate nothing."""
    found, depth, quote, current = [], 0, "", ""
    for char in values:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        depth += (char in "[{") - (char in "]}")
        if char == "," and depth == 0 and not quote:
            found.append(current.strip())
            current = ""
        else:
            current += char
    return [*found, current.strip()]


def checked(config: str, overrides: Sequence[str], grid: Sequence[Point]) -> list[RunFile]:
    """Return the run of every point. SpecError: one is not a valid run file, or two are the same run."""
    seen: dict[str, Point] = {}
    runs = []
    for point in grid:
        run = load(config, [*overrides, *point])
        name = job_name(run)
        if name in seen:
            raise SpecError(
                f"--grid: {' '.join(point)} and {' '.join(seen[name])} are the same run {name}",
                next="vary keys of model, data, train or seed; the others do not make another run",
            )
        seen[name] = point
        runs.append(run)
    return runs
