"""Line charts as SVG text that takes its ink from the page it stands in, so that it reads in light and in dark."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

INK = "#123456"
"""Stands for the page's own text colour until the SVG is written."""
PALETTE = (
    "#2a78d6", "#e07b39", "#2c9c6a", "#b2519e", "#8a7a1f", "#5b5bd6", "#c8362b", "#1f8fa3", "#7a5a3a", "#6b7280",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One named line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False
    dashed: bool = False
    joined: bool = True


def chart(lines: Sequence[Line], *, x: str, y: str, log: bool = False, unit_range: bool = False) -> str:
    """Return an SVG chart of `lines`; '' when none has a point. `unit_range` fixes the y axis to 0..1."""
    drawn = [line for line in lines if len(line.x)]
    if not drawn:
        return ""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "trm",
        "font.size": 9,
        "font.family": "sans-serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(4.4, 2.5), layout="constrained")
        axes = figure.subplots()
        colours = cycle(PALETTE)
        for line in drawn:
            look: dict[str, Any] = {"marker": "o" if line.dots or len(line.x) < 3 else None, "markersize": 4, "lw": 1.6}
            if line.dashed:
                look = {"color": INK, "ls": "--", "lw": 0.8}
            else:
                look |= {} if line.joined else {"ls": "none", "markersize": 6}
                look["color"] = next(colours)
            axes.plot(line.x, line.y, label=line.name, **look)
        axes.set(xlabel=x, ylabel=y)
        axes.grid(axis="y", color=INK, alpha=0.15, lw=0.6)
        if all(isinstance(value, int) for line in drawn for value in line.x):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if log:
            axes.set_yscale("log")
        if unit_range:
            axes.set_ylim(-0.02, 1.02)
        if len(drawn) > 1:
            axes.legend(frameon=False)
        return _svg(figure)


def calibration_chart(sets: dict[str, list[dict[str, float]]]) -> str:
    """Return an SVG chart of how often rows were right, by what the q-head predicted; `sets` maps names to bins."""
    lines = [Line("perfect", (0.0, 1.0), (0.0, 1.0), dashed=True)]
    for name, bins in sets.items():
        lines.append(Line(name, [b["predicted"] for b in bins], [b["observed"] for b in bins], dots=True, joined=False))
    return chart(lines, x="predicted probability of being right", y="right", unit_range=True)


def _svg(figure: object) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    assert isinstance(figure, Figure)
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'<g id="patch_1">.*?</g>', "", text, count=1, flags=re.DOTALL)  # the white figure background
    text = re.sub(r'(<g id="patch_2">\s*<path [^>]*?)fill: #ffffff', r"\1fill: none", text, count=1)
    width, height = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', text).groups()  # type: ignore[union-attr]
    return text.replace(f'width="{width}pt" height="{height}pt"', 'width="100%" role="img"', 1)
