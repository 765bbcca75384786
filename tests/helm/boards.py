"""What the tests of dashboards and rules share: the committed files, their queries, and tools that may be missing."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.panels import Query, load, names
from tools.panels import queries as panel_queries

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/trm"
RULES = sorted((CHART / "rules").glob("*.yaml"))
BOARDS = {name: load(name) for name in names()}


def panels(board: str) -> list[dict[str, Any]]:
    """Return the panels of a dashboard, rows not among them."""
    return [panel for panel in BOARDS[board]["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    """Return every query of every panel and mark."""
    return [query for name in BOARDS for query in panel_queries(name)]


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
