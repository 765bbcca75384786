"""Recording rules and alerts: promtool reads them, each alert fires when it should and not when it should not."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.boards import CHART, ROOT, RULES, need, rules
from tests.helm.promql import grouped, uses
from tests.helm.test_dashboards import FOREIGN, FOREIGN_LABELS, RECORDED, TARGET
from trmkit.metrics import BY_NAME, LABELS, STATES

ALERTS = [rule for rule in rules() if "alert" in rule]
CASES = sorted((CHART / "rules/tests").glob("*.yaml"))
RUNBOOKS = ROOT / "docs/runbooks"


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [need("promtool", "prometheus"), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_reads_every_rule() -> None:
    assert promtool("check", "rules", *RULES).count("SUCCESS") == len(RULES)


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_each_alert_fires_when_it_should_and_not_when_it_should_not(cases: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", cases)


def test_every_alert_has_cases_of_both_kinds_and_no_alarm_for_what_is_paused_or_over() -> None:
    fires: dict[str, list[str]] = {rule["alert"]: [] for rule in ALERTS}
    quiet: dict[str, list[str]] = {rule["alert"]: [] for rule in ALERTS}
    for path in CASES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for check in case.get("alert_rule_test", []):
                (fires if check["exp_alerts"] else quiet)[check["alertname"]].append(case["name"])
    assert all(fires.values())
    assert all(any(name.startswith("does not fire") for name in names) for names in quiet.values())
    over = {alert for alert, names in quiet.items() if any("paused" in name or "finished" in name for name in names)}
    # An error of a GPU, a loss that is no number and a bad evaluation are what they are when the run is over, too.
    assert set(quiet) - over == {"TrmGpuError", "TrmLossNotFinite", "TrmAccuracyCollapsed"}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Trm")
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert "$labels.namespace" in rule["annotations"]["summary"] or "$labels.node" in rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 40
    page = re.fullmatch(r"RUNBOOKS/([a-z-]+\.md)", rule["annotations"]["runbook_url"])
    assert page is not None
    text = (RUNBOOKS / page[1]).read_text()
    assert f"`{rule['alert']}`" in text.splitlines()[2]
    for heading in ("## What it means", "## How bad it is", "## How to look", "## What to do"):
        assert heading in text
    assert re.search(r"trmctl (why|status|logs)", text)


def test_every_runbook_belongs_to_an_alert() -> None:
    pages = {rule["annotations"]["runbook_url"].removeprefix("RUNBOOKS/") for rule in ALERTS}
    assert {path.name for path in RUNBOOKS.glob("*.md")} == pages | {"README.md"}
    index = (RUNBOOKS / "README.md").read_text()
    assert all(f"({page})" in index for page in pages)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    known = TARGET | set(LABELS) | FOREIGN_LABELS
    for use in uses(rule["expr"]):
        assert use.name in BY_NAME or use.name in RECORDED or use.name in FOREIGN, use.name
        own = set(BY_NAME[use.name].labels) | TARGET if use.name in BY_NAME else known
        assert use.matched <= own, use
    assert grouped(rule["expr"]) <= known
    said = " ".join(rule.get("annotations", {}).values())
    assert set(re.findall(r"\$labels\.(\w+)", said)) <= known


def test_the_number_of_a_state_is_its_place_in_the_list() -> None:
    (code,) = [rule["expr"] for rule in rules() if rule.get("record") == "run:trm_run_state:code"]
    assert re.findall(r'state="(\w+)"} \* (\d)', code) == [(state, str(n)) for n, state in enumerate(STATES, 1)]
