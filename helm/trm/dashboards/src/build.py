"""The dashboards as JSON text, byte for byte the same from the same sources."""

import json
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from helm.trm.dashboards.src.fleet import fleet_board
from helm.trm.dashboards.src.gpu import gpu_board
from helm.trm.dashboards.src.run import run_board

FOLDER = "helm/trm/dashboards"
EVERY = "60s"
"""How finely marks are looked for."""


def dashboards() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of every dashboard."""
    for board in (run_board(), fleet_board(), gpu_board()):
        found = json.loads(JSONEncoder(sort_keys=True).encode(board.build()))
        name = found["uid"].removeprefix("trm-")
        yield f"{FOLDER}/{name}.json", json.dumps(finish(found), indent=2, ensure_ascii=False) + "\n"


def finish(board: dict[str, Any]) -> dict[str, Any]:
    """Return the dashboard with what the SDK has no words for, and without what Grafana's types do not know."""
    for mark in board["annotations"]["list"]:
        expr = mark.pop("expr")
        mark["target"] = {"expr": expr, "refId": "Anno", "interval": EVERY}
        mark |= {"titleFormat": mark["name"], "textFormat": "{{run}} {{alertname}}", "tagKeys": "run"}
        mark["useValueForTime"] = "* 1000" in expr
    for variable in board["templating"]["list"]:
        for key in [key for key in variable if key.startswith("auto") or variable[key] is None]:
            del variable[key]
    return board
