"""Draws a dashboard from a running Prometheus, without Grafana: asks its panels' queries and makes a PNG in Chromium.

python -m tools.draw_dashboard http://127.0.0.1:9090 --board run --run 'sudoku.*' --last 30m --to picture.png
"""

import argparse
import html
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools import drawing
from tools.drawing import NAMED, PALETTE, Curve, Frame
from tools.panels import Prometheus, Series, called, filled, load

PAGE, UNIT, GAP, HEAD = 1640, 34, 8, 30
"""Pixels: width of the page, height of a grid unit, space between panels, height of a panel's heading."""
POINTS = 240
MOST_LINES = 3
"""Lines of a legend; names beyond them are left out."""
STYLE = """
body{margin:0;background:#111217;color:#ccccdc;font:13px Inter,"DejaVu Sans",sans-serif;width:PAGEpx}
header{padding:16px 16px 4px;font-size:21px}header small{color:#8e8e9a;font-size:13px;margin-left:14px}
h2{position:absolute;margin:0;font-size:15px;font-weight:600}.panel{position:absolute;background:#181b1f;
border:1px solid #25272d;border-radius:3px;overflow:hidden}.panel>h3{margin:0;padding:7px 10px;font-size:13px;
font-weight:500;white-space:nowrap}main{position:relative}svg{display:block}.tick{fill:#8e8e9a;font-size:11px}
.name{fill:#ccccdc;font-size:12px}.grid{stroke:#2a2d33}.mark{stroke-dasharray:3 3;opacity:.55}
.curve{fill:none;stroke-width:1.8;stroke-linejoin:round}.legend{padding:0 10px 0 14px;font-size:12px;line-height:17px;
overflow:hidden}.legend span{margin-right:16px;white-space:nowrap;display:inline-block}.legend i{display:inline-block;
width:14px;height:3px;margin:0 6px 3px 0}.legend b{color:#8e8e9a;font-weight:400;margin-left:6px}.stat{display:flex;
height:100%;align-items:stretch;gap:2px}.stat div{flex:1;display:flex;flex-direction:column;justify-content:center;
align-items:center;min-width:0}.stat b{font-size:22px;font-weight:600;white-space:nowrap}
.stat.small b{font-size:16px}.stat small{font-size:11px;
opacity:.85;max-width:96%;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}table{border-collapse:collapse;
width:100%;font-size:12px}th{text-align:left;color:#8ab8ff;font-weight:500}td,th{padding:4px 10px;border-bottom:1px
solid #25272d;white-space:nowrap;overflow:hidden;text-overflow:ellipsis;max-width:150px}
td:last-child{max-width:230px}footer{padding:10px 16px 16px;
color:#8e8e9a;font-size:12px}
"""


class Drawer:
    """Asks a Prometheus and draws what it says."""

    def __init__(self, prometheus: Prometheus, start: float, end: float, variables: Mapping[str, str]) -> None:
        self.prometheus, self.start, self.end = prometheus, start, end
        self.step = max(1.0, (end - start) / POINTS)
        length = f"{math.ceil(end - start)}s"
        window = f"{max(15, math.ceil(4 * self.step))}s"
        self.variables = {
            **variables, "__range": length, "__rate_interval": window, "__interval": f"{math.ceil(self.step)}s",
        }  # fmt: skip
        self.marks: list[tuple[float, str]] = []

    def ask(self, target: Mapping[str, Any], variables: Mapping[str, str]) -> list[Series]:
        """Return the answer to a query."""
        expr = filled(target["expr"], variables)
        if target.get("instant"):
            return self.prometheus.instant(expr, self.end)
        return self.prometheus.range(expr, self.start, self.end, self.step)

    def find_marks(self, board: Mapping[str, Any]) -> None:
        """Ask for what is marked on all curves."""
        for note in board["annotations"]["list"]:
            for series in self.ask(note["target"], self.variables):
                times = {value / 1000 if note["useValueForTime"] else when for when, value in series.points}
                colour = NAMED.get(note["iconColor"], note["iconColor"])
                kept = sorted(when for when in times if self.start <= when <= self.end)
                self.marks += [(when, colour) for when in (kept if note["useValueForTime"] else kept[:1])]

    def panel(self, panel: Mapping[str, Any], width: float, height: float, variables: Mapping[str, str]) -> str:
        """Return the inside of a panel of this size in pixels."""
        answers = [(target, self.ask(target, variables)) for target in panel["targets"]]
        draw: Callable[..., str] = {
            "stat": self._numbers, "bargauge": self._numbers, "timeseries": self._curves, "barchart": self._bars,
            "state-timeline": self._timeline, "table": self._table,
        }[panel["type"]]  # fmt: skip
        return draw(panel, answers, Frame(width, height, self.start, self.end, self.marks))

    def _numbers(self, panel: Mapping[str, Any], answers: Sequence[Any], _frame: Frame) -> str:
        defaults = panel["fieldConfig"]["defaults"]
        words = states(panel)
        cells = []
        for target, found in answers:
            for series in found:
                value = series.last
                shown = drawing.shown(value, defaults["unit"], defaults.get("decimals"))
                name, colour = words.get(int(value), ("", "")) if math.isfinite(value) else ("", "")
                colour = colour or reached(defaults["thresholds"]["steps"], value)
                style = f"background:{colour};color:#111217" if name and "Background" not in name else f"color:{colour}"
                label = called(target["legendFormat"], series.labels)
                cells.append(f'<div style="{style}"><b>{name or shown}</b><small>{html.escape(label)}</small></div>')
        small = " small" if len(cells) > 1 and panel["gridPos"]["w"] < 4 else ""
        return f'<div class="stat{small}">{"".join(cells) or "<div><b>–</b></div>"}</div>'

    def _curves(self, panel: Mapping[str, Any], answers: Sequence[Any], frame: Frame) -> str:
        defaults = panel["fieldConfig"]["defaults"]
        custom = defaults.get("custom", {})
        curves = [
            Curve(called(target["legendFormat"], series.labels), series.points)
            for target, found in answers
            for series in found
        ]
        right = [rule["matcher"]["options"] for rule in panel["fieldConfig"]["overrides"] or []]
        curves = [curve for curve in curves if not any(re.search(rule.strip("/"), curve.name) for rule in right)]
        for index, curve in enumerate(curves):
            curve.colour = PALETTE[index % len(PALETTE)]
        below = legend_lines(curves, frame.width)
        frame.height -= below * drawing.LINE_HEIGHT + 8
        look = {
            "stacked": custom.get("stacking", {}).get("mode") == "normal",
            "log": custom.get("scaleDistribution", {}).get("type") == "log",
            "min": defaults.get("min"), "max": defaults.get("max"),
        }  # fmt: skip
        unit = defaults["unit"]
        entries = [(c.name, c.colour, drawing.shown(c.points[-1][1], unit)) for c in curves]
        return drawing.lines(frame, curves, unit, look) + drawing.legend(entries, below)

    def _bars(self, panel: Mapping[str, Any], answers: Sequence[Any], frame: Frame) -> str:
        matrix = next(entry["options"] for entry in panel["transformations"] if entry["id"] == "groupingToMatrix")
        by, of = matrix["rowField"], matrix["columnField"]
        found = [series for _, series_list in answers for series in series_list]
        groups = sorted({series.labels[by] for series in found}, key=float)
        known = {(series.labels[of], series.labels[by]): series.last for series in found}
        names = sorted({name for name, _ in known})
        series = [
            (name, [known.get((name, group), math.nan) for group in groups], PALETTE[index % len(PALETTE)])
            for index, name in enumerate(names)
        ]
        frame.height -= 2 * drawing.LINE_HEIGHT
        picture = drawing.bars(frame, groups, series, panel["fieldConfig"]["defaults"]["unit"])
        return picture + drawing.legend([(name, colour, "") for name, _, colour in series])

    def _timeline(self, panel: Mapping[str, Any], answers: Sequence[Any], frame: Frame) -> str:
        runs = [Curve(called(t["legendFormat"], s.labels), s.points) for t, found in answers for s in found]
        words = states(panel)
        frame.height -= drawing.LINE_HEIGHT + 6
        seen = {int(value) for run in runs for _, value in run.points if math.isfinite(value)}
        entries = [(name, colour, "") for code, (name, colour) in words.items() if code in seen]
        return drawing.timeline(frame, runs, words) + drawing.legend(entries)

    def _table(self, panel: Mapping[str, Any], answers: Sequence[Any], _frame: Frame) -> str:
        options = [entry["options"] for entry in panel["transformations"]]
        shape = next(entry for entry in options if "renameByName" in entry)
        names = {
            field: shape["renameByName"][field] for field in sorted(shape["indexByName"], key=shape["indexByName"].get)
        }
        rows: dict[tuple[str, ...], dict[str, str]] = {}
        units = {
            rule["matcher"]["options"]: entry["value"]
            for rule in panel["fieldConfig"]["overrides"] or []
            for entry in rule["properties"]
            if entry["id"] == "unit"
        }
        for number, (_, found) in enumerate(answers):
            field = f"Value #{chr(ord('A') + number)}" if len(answers) > 1 else "Value"
            for series in found:
                own = str(sorted(series.labels.items())) if len(answers) == 1 else ""
                key = (series.labels.get("namespace", ""), series.labels.get("run", ""), own)
                value = drawing.shown(series.last, units.get(names.get(field, ""), "none"))
                rows.setdefault(key, {}).update({**series.labels, field: value})
        cells = [[row.get(field, "") for field in names] for _, row in sorted(rows.items())]
        kept = [index for index in range(len(names)) if any(row[index] for row in cells)]
        heads = list(names.values())
        return drawing.table([heads[index] for index in kept], [[row[index] for index in kept] for row in cells])


def states(panel: Mapping[str, Any]) -> dict[int, tuple[str, str]]:
    """Return the words and colours that a panel has for numbers."""
    found = {}
    for mapping in panel["fieldConfig"]["defaults"].get("mappings") or []:
        for code, result in mapping["options"].items():
            found[int(code)] = (result["text"], NAMED[result["color"]])
    return found


def reached(steps: Sequence[Mapping[str, Any]], value: float) -> str:
    """Return the colour of the highest threshold that a value has reached."""
    kept: list[str] = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return NAMED[kept[-1]]


def legend_lines(curves: Sequence[Curve], width: float) -> int:
    """Return how many lines the names of curves take."""
    used = sum(8 * len(curve.name) + 90 for curve in curves)
    return min(MOST_LINES, max(1, math.ceil(used / (width - 30))))


def page(drawer: Drawer, board: Mapping[str, Any], rows: Sequence[str], runs: Sequence[str]) -> tuple[str, int]:
    """Return the page of a dashboard, or of some of its rows, and its height in pixels."""
    drawer.find_marks(board)
    column = (PAGE - 2 * GAP) / 24
    parts, top, shift, taken = [], 0.0, 0.0, True
    for panel in board["panels"]:
        place = panel["gridPos"]
        if panel["type"] == "row":
            taken = not rows or panel["title"] in rows
            if taken:
                shift = top - place["y"]
                parts.append(
                    f'<h2 style="left:{2 * GAP}px;top:{top * UNIT + 8:.0f}px">{html.escape(panel["title"])}</h2>'
                )
                top += 1
            continue
        if not taken:
            continue
        copies = list(runs) if panel.get("repeat") else [""]
        for index, run in enumerate(copies):
            variables = {**drawer.variables, "run": run} if run else drawer.variables
            width = place["w"] * column / len(copies) - GAP
            height = place["h"] * UNIT - GAP
            left = GAP + place["x"] * column + index * place["w"] * column / len(copies)
            inside = drawer.panel(panel, width, height - HEAD, variables)
            title = html.escape(filled(panel["title"], variables))
            box = f"left:{left:.0f}px;top:{(place['y'] + shift) * UNIT:.0f}px;width:{width:.0f}px;height:{height:.0f}px"
            parts.append(
                f'<div class="panel" style="{box}"><h3>{title}</h3>'
                f'<div style="height:{height - HEAD:.0f}px">{inside}</div></div>'
            )
        top = max(top, place["y"] + shift + place["h"])
    height = int(top * UNIT)
    note = (
        f"Drawn from Prometheus' answers to the queries of {html.escape(board['title'])} by tools/draw_dashboard.py. "
        "Not a Grafana screenshot: Grafana shows the same panels in its own way. Dashed: checkpoints (blue), restarts "
        "(orange)."
    )
    style = STYLE.replace("PAGE", str(PAGE))
    return (
        f'<!doctype html><meta charset="utf-8"><style>{style}</style><header>{html.escape(board["title"])}'
        f"<small>{html.escape(', '.join(runs))}</small></header>"
        f'<main style="height:{height}px">{"".join(parts)}</main><footer>{note}</footer>',
        height + 90,
    )


def photograph(text: str, height: int, path: Path) -> None:
    """Render a page in Chromium. OSError: there is none, or it fails."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise OSError("chromium is missing: apt-get install --no-install-recommends chromium fonts-dejavu-core")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "page.html"
        source.write_text(text, encoding="utf-8")
        command = [
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            f"--user-data-dir={folder}/profile", f"--window-size={PAGE},{height}", f"--screenshot={path.absolute()}",
            source.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def seconds(words: str) -> float:
    """Return a length of time as in `30m`. ValueError: it is none."""
    return float(words[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[words[-1]]


def main(arguments: list[str]) -> int:
    """Draw a dashboard; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prometheus", help="its address")
    parser.add_argument("--board", default="run", choices=("run", "fleet", "gpu"))
    parser.add_argument("--namespace", default=".+", help="a regular expression")
    parser.add_argument("--run", default=".+", help="a regular expression")
    parser.add_argument("--last", default="30m", type=seconds, help="time to show, as 30m")
    parser.add_argument("--until", default=None, type=float, help="its end, in seconds since 1970 [now]")
    parser.add_argument("--rows", nargs="*", default=[], help="headings of the rows to draw [all]")
    parser.add_argument("--to", default=Path("dashboard.png"), type=Path)
    options = parser.parse_args(arguments)
    try:
        return draw(options)
    except OSError as error:
        print(
            f"error: {options.prometheus} does not answer: {error}\n  next: give Prometheus' own address",
            file=sys.stderr,
        )
        return 1


def draw(options: argparse.Namespace) -> int:
    """Ask, draw and write; return the exit code. OSError: Prometheus does not answer."""
    prometheus = Prometheus(options.prometheus)
    end = options.until or time.time()
    drawer = Drawer(prometheus, end - options.last, end, {"namespace": options.namespace, "run": options.run})
    runs = sorted(
        {
            series.labels["run"]
            for series in prometheus.instant(
                filled(
                    'last_over_time(trm_run_info{namespace=~"$namespace", run=~"$run"}[$__range])', drawer.variables
                ),
                end,
            )
        }
    )
    if not runs and options.board == "run":
        print(
            f"error: Prometheus knows no run {options.run!r} of that time\n  next: see --run, --namespace and --last",
            file=sys.stderr,
        )
        return 1
    text, height = page(drawer, load(options.board), options.rows, runs)
    if options.to.suffix == ".html":
        options.to.write_text(text, encoding="utf-8")
    else:
        photograph(text, height, options.to)
    print(f"wrote {options.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
