"""Grids of numbers as small SVG pictures: ARC colours, Sudoku digits, maze walls. Wrong cells get a mark."""

from dataclasses import dataclass

Cells = list[list[int]]

ARC = ("#111111", "#1e78d2", "#e53a2f", "#3fae49", "#f6c945", "#9a9a9a", "#e346a5", "#f58231", "#86cdf0", "#8a1e3c")
MAZE = ("#ffffff", "#2b2b2b", "#ffffff", "#3fae49", "#e53a2f", "#7fb2ec")
TINTS = (*ARC, "#c9b8e8", "#b5d8c0", "#e8d3a6", "#cfcfcf", "#a6c7e8", "#e8b0b0")


@dataclass(frozen=True)
class GridStyle:
    """How cells are drawn: a colour for each number, or digits in boxes."""

    palette: tuple[str, ...]
    digits: bool = False


STYLES = {
    "arc": GridStyle(ARC),
    "maze": GridStyle(MAZE),
    "sudoku": GridStyle((), digits=True),
    "sequence": GridStyle(TINTS),
}
BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}
"""Height and width of the boxes of a Sudoku, by its side."""


def draw(cells: Cells, kind: str, label: str, *, truth: Cells | None = None, given: Cells | None = None) -> str:
    """Return `cells` as SVG; cells that differ from `truth` are marked, digits in `given` are printed bold."""
    height, width = len(cells), len(cells[0]) if cells else 0
    if not height or not width:
        return '<span class="nothing">no grid</span>'
    style = STYLES[kind]
    body = _digits(cells, given) if style.digits else _colours(cells, style.palette)
    wrong = _differences(cells, truth) if truth is not None else []
    marks = "".join(f'<rect class="wrong" x="{x + 0.1}" y="{y + 0.1}" width=".8" height=".8"/>' for y, x in wrong)
    scale = max(3.0, min(18.0, 96 / max(height, width)))
    size = f'width="{width * scale:.0f}" height="{height * scale:.0f}"'
    return (
        f'<svg class="grid" viewBox="-.05 -.05 {width + 0.1} {height + 0.1}" {size} role="img" aria-label="{label}">'
        f"{body}{marks}</svg>"
    )


def _differences(cells: Cells, truth: Cells) -> list[tuple[int, int]]:
    if len(cells) != len(truth) or len(cells[0]) != len(truth[0]):
        return []
    return [(y, x) for y, row in enumerate(cells) for x, value in enumerate(row) if value != truth[y][x]]


def _colours(cells: Cells, palette: tuple[str, ...]) -> str:
    """Draw runs of equal cells as one piece, and all pieces of a colour as one path."""
    pieces: dict[int, list[str]] = {}
    for y, row in enumerate(cells):
        start = 0
        for x in range(1, len(row) + 1):
            if x == len(row) or row[x] != row[start]:
                pieces.setdefault(row[start], []).append(f"M{start} {y}h{x - start}v1h-{x - start}z")
                start = x
    paths = [f'<path fill="{palette[value % len(palette)]}" d="{"".join(d)}"/>' for value, d in sorted(pieces.items())]
    height, width = len(cells), len(cells[0])
    lines = "".join(f"M0 {y}h{width}" for y in range(height + 1)) + "".join(
        f"M{x} 0v{height}" for x in range(width + 1)
    )
    frame = f'<path class="frame" d="M0 0h{width}v{height}h-{width}z"/>'
    return "".join(paths) + f'<path class="lines" d="{lines}"/>{frame}'


def _digits(cells: Cells, given: Cells | None) -> str:
    side = len(cells)
    rows, columns = BOXES.get(side, (1, 1))
    thin = "".join(f"M0 {k}h{side}M{k} 0v{side}" for k in range(side + 1))
    thick = "".join(f"M0 {k}h{side}" for k in range(0, side + 1, rows))
    thick += "".join(f"M{k} 0v{side}" for k in range(0, side + 1, columns))
    digits = []
    for y, row in enumerate(cells):
        for x, value in enumerate(row):
            if value:
                bold = ' class="given"' if given is not None and given[y][x] else ""
                digits.append(f'<text x="{x + 0.5}" y="{y + 0.74}"{bold}>{value:d}</text>')
    return f'<path class="thin" d="{thin}"/><path class="thick" d="{thick}"/>{"".join(digits)}'
