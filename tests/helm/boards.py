"""What the tests of dashboards and rules share: the committed files, their queries, and tools that may be missing."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/trm"
RULES = sorted((CHART / "rules").glob("*.yaml"))
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((CHART / "dashboards").glob("*.json"))}


@dataclass(frozen=True)
class Query:
    """A query of a dashboard."""

    board: str
    panel: str
    expr: str
    instant: bool
    legend: str = ""
    kind: str = "panel"

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}"


def panels(board: str) -> list[dict[str, Any]]:
    """Return the panels of a dashboard, rows not among them."""
    return [panel for panel in BOARDS[board]["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """Yield every query of every panel and annotation."""
    for name, board in BOARDS.items():
        for panel in panels(name):
            for target in panel["targets"]:
                yield Query(name, panel["title"], target["expr"], target.get("instant", False), target["legendFormat"])
        for mark in board["annotations"]["list"]:
            yield Query(name, mark["name"], mark["target"]["expr"], False, kind="mark")


def rules() -> list[dict[str, Any]]:
    """Return every recording rule and alert."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def need(program: str, package: str) -> str:
    """Return where `program` is; the test is skipped where it is not, but in CI it fails."""
    found = shutil.which(program)
    if found:
        return found
    message = f"{program} is missing: apt-get install --no-install-recommends {package}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
