"""The dashboards are what Grafana's own TypeScript types say a dashboard is."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helm.boards import BOARDS, need, panels

SCHEMA = "11.6.0"
"""Version of Grafana whose types are asked: the one that constraints.txt names the SDK for."""
TYPESCRIPT = "5.9.3"
PANELS = {
    "timeseries": "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen",
    "stat": "stat/panelcfg/x/StatPanelCfg_types.gen",
    "barchart": "barchart/panelcfg/x/BarChartPanelCfg_types.gen",
    "bargauge": "bargauge/panelcfg/x/BarGaugePanelCfg_types.gen",
    "state-timeline": "statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen",
    "table": "table/panelcfg/x/TablePanelCfg_types.gen",
}
LOOKS_OF_THEIR_OWN = {"timeseries", "barchart", "state-timeline", "table"}
"""Kinds of panels whose fields have options too."""
HEAD = """import type { Dashboard, AnnotationQuery, DataQuery } from '@grafana/schema';
// Text is as good as the enum that it is a value of: JSON has no enums.
type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
// What the Prometheus data source adds; it is not in the schema.
type Prometheus = DataQuery & {
  expr: string; format?: 'table' | 'time_series'; legendFormat?: string; instant?: boolean; range?: boolean;
  interval?: string;
};
type Mark = Plain<AnnotationQuery<Prometheus>> & {
  titleFormat: string; textFormat: string; tagKeys: string; useValueForTime: boolean;
};
type Board = Plain<Omit<Dashboard, 'annotations'>> & { annotations: { list: Mark[] } };
"""


def install(folder: Path) -> Path:
    """Install the types and the compiler, once; skip where the registry does not answer."""
    npm = need("npm", "npm")
    package = {"private": True, "dependencies": {"@grafana/schema": SCHEMA, "typescript": TYPESCRIPT}}
    (folder / "package.json").write_text(json.dumps(package))
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if done.returncode:
        message = f"@grafana/schema {SCHEMA} cannot be installed from npm:\n{done.stderr[-500:]}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


def program(name: str) -> str:
    """Return a program that only compiles if the dashboard has Grafana's types, panels and queries too."""
    lines = [HEAD]
    for kind, path in PANELS.items():
        folder = "@grafana/schema/dist/esm/raw/composable"
        lines.append(f"import type * as {alias(kind)} from '{folder}/{path}.d.ts';")
    lines.append(f"export const board: Board = {json.dumps(BOARDS[name], indent=1)};")
    for panel in panels(name):
        lines += panel_checks(panel)
    return "\n".join(lines) + "\n"


def panel_checks(panel: dict[str, Any]) -> list[str]:
    kind, number = alias(panel["type"]), panel["id"]
    checks = [
        f"export const options_{number}: Plain<Partial<{kind}.Options>> = {json.dumps(panel['options'])};",
        f"export const targets_{number}: Plain<Prometheus>[] = {json.dumps(panel['targets'])};",
    ]
    custom = panel["fieldConfig"]["defaults"].get("custom")
    if custom is not None and panel["type"] in LOOKS_OF_THEIR_OWN:
        checks.append(f"export const custom_{number}: Plain<Partial<{kind}.FieldConfig>> = {json.dumps(custom)};")
    return checks


def alias(kind: str) -> str:
    return kind.replace("-", "_")


@pytest.mark.full
def test_the_dashboards_have_grafanas_own_types(tmp_path: Path) -> None:
    install(tmp_path)
    for name in BOARDS:
        (tmp_path / f"{name}.ts").write_text(program(name))
    # The same with a mistake: if that compiles, nothing was checked.
    (tmp_path / "wrong.ts").write_text(program("run").replace('"displayMode": "table"', '"displayMode": "tabel"'))
    options = [
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--moduleResolution",
        "bundler",
        "--module",
        "esnext",
        "--target",
        "es2022",
    ]
    compiler = [str(tmp_path / "node_modules/.bin/tsc"), *options, *(f"{name}.ts" for name in BOARDS), "wrong.ts"]
    done = subprocess.run(compiler, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    complaints = [line for line in done.stdout.splitlines() if not line.startswith(("wrong.ts", " "))]
    assert complaints == []
    assert '"tabel"\' is not assignable' in done.stdout
