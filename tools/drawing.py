"""Panels as SVG and HTML: numbers, curves, bars, timelines and tables, from the answers to their queries."""

import html
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

PALETTE = (
    "#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ffb357", "#96d98d", "#fade2a",
    "#37872d", "#e0b400", "#c4162a", "#1f60c4", "#8f3bb8", "#ff7383",
)  # fmt: skip
NAMED = {
    "green": "#73bf69", "dark-green": "#37872d", "yellow": "#fade2a", "red": "#f2495c", "blue": "#5794f2",
    "light-blue": "#8ab8ff", "purple": "#b877d9", "orange": "#ff9830", "text": "#ccccdc",
}  # fmt: skip
Points = Sequence[tuple[float, float]]
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 8, 22
"""Pixels around a chart."""
LINE_HEIGHT = 17


@dataclass
class Curve:
    """A curve: its name, its colour, and its points."""

    name: str
    points: Points
    colour: str = PALETTE[0]


@dataclass
class Frame:
    """Where a chart is drawn: its size in pixels, the time it shows, and what is marked there."""

    width: float
    height: float
    start: float
    end: float
    marks: Sequence[tuple[float, str]] = field(default_factory=list)

    def x(self, when: float) -> float:
        """Return where a time is."""
        return LEFT + (when - self.start) / (self.end - self.start) * (self.width - LEFT - RIGHT)


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """Return a number as people read it."""
    if not math.isfinite(value):
        return "–"
    if unit == "percentunit":
        return f"{100 * value:.{1 if decimals is None else decimals}f} %"
    if unit == "s":
        return duration(value)
    if unit == "bytes":
        return scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))
    if unit in ("ops", "flops", "Bps"):
        ends = {"ops": "/s", "flops": "FLOP/s", "Bps": "B/s"}
        return scaled(value, 1000, tuple(f"{prefix}{ends[unit]}" for prefix in ("", "k", "M", "G", "T", "P")))
    if unit in ("short", "locale"):
        return scaled(value, 1000, ("", "k", "M", "G"))
    return f"{value:.{decimals}f}" if decimals is not None else f"{value:.4g}"


def scaled(value: float, base: int, units: Sequence[str]) -> str:
    """Return a number with the unit in which it is short."""
    power = 0
    while abs(value) >= base and power < len(units) - 1:
        value, power = value / base, power + 1
    return f"{value:.3g} {units[power]}".strip()


def duration(seconds: float) -> str:
    """Return a time as people read it."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s" if abs(seconds) >= 1 or not seconds else f"{1000 * seconds:.3g} ms"


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return round numbers between two."""
    raw = (high - low) / count
    power: float = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "tick") -> str:
    """Return words in a picture."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{html.escape(words)}</text>'


def chart(frame: Frame, body: str) -> str:
    """Return a picture."""
    return f'<svg width="{frame.width:.0f}" height="{frame.height:.0f}">{body}</svg>'


def span(values: Sequence[float], least: float | None, most: float | None, log: bool) -> tuple[float, float]:
    """Return the numbers at the lower and the upper edge."""
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)] or [
        0.1 if log else 0.0,
        1.0,
    ]
    low = min(finite) if least is None or log else least
    high = max(finite) if most is None else max(most, max(finite))
    if log:
        return low / 1.15, high * 1.15
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return (low - room if least is None else low), (high + room if most is None else high)


def lines(frame: Frame, curves: Sequence[Curve], unit: str, look: dict[str, Any]) -> str:
    """Return curves over time, one upon the other if `look` says so."""
    stacked, log = look.get("stacked", False), look.get("log", False)
    drawn = piled(curves) if stacked else [(curve, None) for curve in curves]
    values = [value for curve, _ in drawn for _, value in curve.points]
    low, high = span(values, look.get("min"), look.get("max"), log)
    place: Callable[[float], float] = (lambda v: math.log(max(v, low))) if log else (lambda v: v)
    inner = frame.height - TOP - BOTTOM

    def y(value: float) -> float:
        part = (place(value) - place(low)) / (place(high) - place(low))
        return TOP + inner * (1 - min(1.0, max(0.0, part)))

    steps = log_ticks(low, high) if log else ticks(low, high)
    parts = [level(frame, y(step), shown(step, unit)) for step in steps]
    parts += [time_axis(frame), *(mark(frame, when, colour) for when, colour in frame.marks)]
    for curve, floor in reversed(drawn):
        parts.append(path(frame, curve, floor, y, stacked=stacked))
    return chart(frame, "".join(parts))


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten between two numbers, and what is between those where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [10.0**power for power in powers if low <= 10.0**power <= high]
    if len(found) < 2:
        found = [
            factor * 10.0**power for power in powers for factor in (1, 2, 5) if low <= factor * 10.0**power <= high
        ]
    return found if found else [low, high]


def level(frame: Frame, y: float, words: str) -> str:
    """Return a line across with its number."""
    grid = f'<line x1="{LEFT}" x2="{frame.width - RIGHT:.0f}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
    return grid + text(LEFT - 6, y + 4, words, "end")


def time_axis(frame: Frame) -> str:
    """Return the times below."""
    sizes = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400)
    step = next((size for size in sizes if (frame.end - frame.start) / size <= 6), 86400)
    first = math.ceil(frame.start / step) * step
    form = "%H:%M:%S" if step < 60 else "%H:%M"
    return "".join(
        text(frame.x(when), frame.height - 6, time.strftime(form, time.gmtime(when)), "middle")
        for when in range(first, int(frame.end) + 1, step)
        if frame.x(when) < frame.width - RIGHT - 12
    )


def mark(frame: Frame, when: float, colour: str) -> str:
    """Return a mark across all curves."""
    x, foot = frame.x(when), frame.height - BOTTOM
    line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{foot:.1f}" class="mark" stroke="{colour}"/>'
    return line + f'<path d="M{x - 2.5:.1f},{foot + 4:.1f} h5 l-2.5,-4.5 z" fill="{colour}"/>'


def path(frame: Frame, curve: Curve, floor: Points | None, y: Callable[[float], float], *, stacked: bool) -> str:
    """Return a curve, and the area below it down to `floor`; where points are missing for long, it is broken."""
    gap = 4 * min((b[0] - a[0] for a, b in zip(curve.points, curve.points[1:], strict=False)), default=1.0)
    pieces: list[list[tuple[float, float]]] = []
    for when, value in curve.points:
        if not math.isfinite(value):
            continue
        if not pieces or when - pieces[-1][-1][0] > gap:
            pieces.append([])
        pieces[-1].append((when, value))
    foot = dict(floor or [])
    drawn = []
    for piece in pieces:
        over = " ".join(f"{frame.x(when):.1f},{y(value):.1f}" for when, value in piece)
        under = " ".join(
            f"{frame.x(when):.1f},{y(foot[when]) if when in foot else frame.height - BOTTOM:.1f}"
            for when, _ in reversed(piece)
        )
        drawn.append(f'<polygon points="{over} {under}" fill="{curve.colour}" opacity="{0.6 if stacked else 0.06}"/>')
        drawn.append(f'<polyline points="{over}" class="curve" stroke="{curve.colour}"/>')
    return "".join(drawn)


def piled(curves: Sequence[Curve]) -> list[tuple[Curve, Points | None]]:
    """Return curves one upon the other, each with what it stands on."""
    found: list[tuple[Curve, Points | None]] = []
    sums: dict[float, float] = {}
    for curve in curves:
        below = [(when, sums.get(when, 0.0)) for when, _ in curve.points]
        for when, value in curve.points:
            sums[when] = sums.get(when, 0.0) + (value if math.isfinite(value) else 0.0)
        found.append((Curve(curve.name, [(when, sums[when]) for when, _ in curve.points], curve.colour), below))
    return found


def bars(frame: Frame, groups: Sequence[str], series: Sequence[tuple[str, Sequence[float], str]], unit: str) -> str:
    """Return bars: a group for each name below, in it one for each of `series` (name, values, colour)."""
    values = [value for _, found, _ in series for value in found if math.isfinite(value)]
    high = 1.0 if unit == "percentunit" else max(values, default=1.0) * 1.08 or 1.0
    inner = frame.height - TOP - BOTTOM
    parts = [
        level(frame, TOP + inner * (1 - step / high), shown(step, unit, 0 if unit == "percentunit" else None))
        for step in ticks(0.0, high)
    ]
    room = (frame.width - LEFT - RIGHT) / max(1, len(groups))
    each = 0.8 * room / max(1, len(series))
    for index, group in enumerate(groups):
        begin = LEFT + index * room
        parts.append(text(begin + room / 2, frame.height - 6, group, "middle"))
        for number, (_, found, colour) in enumerate(series):
            value = found[index]
            if math.isfinite(value):
                tall = max(1.0, inner * value / high)
                x = begin + 0.1 * room + number * each
                parts.append(
                    f'<rect x="{x:.1f}" y="{TOP + inner - tall:.1f}" width="{0.92 * each:.1f}" height="{tall:.1f}" '
                    f'fill="{colour}" opacity="0.85"/>'
                )
    return chart(frame, "".join(parts))


def timeline(frame: Frame, runs: Sequence[Curve], words: dict[int, tuple[str, str]]) -> str:
    """Return what each run was doing: a strip each, with `words` (name, colour) for its numbers."""
    parts = [time_axis(frame)]
    room = (frame.height - TOP - BOTTOM) / max(1, len(runs))
    for index, run in enumerate(runs):
        y = TOP + index * room
        parts.append(text(LEFT, y + 11, run.name, "start", "name"))
        for (when, value), (after, _) in zip(run.points, run.points[1:], strict=False):
            if math.isfinite(value) and int(value) in words and after - when < 60:
                x = frame.x(when)
                parts.append(
                    f'<rect x="{x:.1f}" y="{y + 16:.1f}" width="{frame.x(after) - x + 0.4:.1f}" '
                    f'height="{room - 24:.1f}" fill="{words[int(value)][1]}"/>'
                )
    return chart(frame, "".join(parts))


def legend(entries: Sequence[tuple[str, str, str]], lines: int = 2) -> str:
    """Return names with their colours and last values, on so many lines."""
    return (
        f'<div class="legend" style="max-height:{lines * LINE_HEIGHT}px">'
        + "".join(
            f'<span><i style="background:{colour}"></i>{html.escape(name)}<b>{html.escape(value)}</b></span>'
            for name, colour, value in entries
        )
        + "</div>"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
