"""Dashboards as they are asked: the queries of their panels with the variables filled in, and Prometheus' answers."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "helm/trm/dashboards"
SECONDS = 30
"""How long an answer may take."""


@dataclass(frozen=True)
class Series:
    """One series of an answer: its labels, and its points (seconds since 1970, value) in the order of time."""

    labels: dict[str, str]
    points: list[tuple[float, float]]

    @property
    def last(self) -> float:
        """The last value."""
        return self.points[-1][1]


class Prometheus:
    """A Prometheus server."""

    def __init__(self, address: str) -> None:
        """Take its address, as in `http://127.0.0.1:9090`."""
        self.address = address.rstrip("/")

    def instant(self, expr: str, time: float) -> list[Series]:
        """Return the answer at one time. ValueError: the query is wrong."""
        found = self.get("query", {"query": expr, "time": f"{time:.3f}"})
        if found["resultType"] == "scalar":
            return [Series({}, [point(found["result"])])]
        return [Series(entry["metric"], [point(entry["value"])]) for entry in found["result"]]

    def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Return the answer over a range of time. ValueError: the query is wrong."""
        asked = {"query": expr, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        found = self.get("query_range", asked)
        return [Series(entry["metric"], [point(pair) for pair in entry["values"]]) for entry in found["result"]]

    def values(self, label: str, selector: str) -> list[str]:
        """Return the values that a label has in the series of a selector."""
        found: list[str] = self.get(f"label/{label}/values", {"match[]": selector})
        return found

    def get(self, path: str, parameters: Mapping[str, str]) -> Any:
        """Return what the API says at `path`. ValueError: it refuses; OSError: it does not answer."""
        address = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=SECONDS) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refused:
            if refused.code >= 500:  # it starts, or is overburdened
                raise
            raise ValueError(f"{parameters}: {refused.read().decode(errors='replace')}") from refused


def point(pair: Sequence[Any]) -> tuple[float, float]:
    """Return a point of an answer as numbers."""
    return float(pair[0]), float(pair[1])


@dataclass(frozen=True)
class Query:
    """A query of a dashboard: of a panel, or of a mark on all curves."""

    board: str
    panel: str
    expr: str
    legend: str
    instant: bool
    mark: bool = False

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}"


def load(name: str) -> dict[str, Any]:
    """Return the dashboard `run`, `fleet` or `gpu`."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def names() -> list[str]:
    """Return the names of all dashboards."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def queries(name: str) -> Iterator[Query]:
    """Yield every query of a dashboard."""
    board = load(name)
    for panel in board["panels"]:
        for target in panel.get("targets") or []:
            yield Query(name, panel["title"], target["expr"], target["legendFormat"], target.get("instant", False))
    for mark in board["annotations"]["list"]:
        yield Query(name, mark["name"], mark["target"]["expr"], mark["name"], instant=False, mark=True)


def filled(text: str, variables: Mapping[str, str]) -> str:
    """Return a query with its variables filled in, as Grafana does. KeyError: one is not among them."""
    return re.sub(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", lambda found: variables[found[1] or found[2]], text)


def called(legend: str, labels: Mapping[str, str]) -> str:
    """Return what a series is called by its legend."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip()
