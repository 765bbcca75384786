"""Every query of every dashboard, as Grafana asks it, has an answer from two real runs."""

import math
import subprocess
import time
from pathlib import Path

import pytest

from tests.helm.boards import BOARDS, need, queries
from tests.observe.fleet import NAMESPACE, Fleet
from tools.panels import Query, Series, called, filled

pytestmark = pytest.mark.xdist_group("fleet")
ALL = queries()
FAULTS = {"Restart", "Alert"}
"""Marks that a healthy run does not have."""


def asked(fleet: Fleet, query: Query, run: str = ".+") -> list[Series]:
    """Return the answers to a query, at the end of the time shown and over all of it.

    Panels that add up minutes look at full minutes alone: the end is the next one, and the values are those of now.
    """
    end = 60.0 * math.ceil(time.time() / 60)
    begin = fleet.began - 60
    variables = {
        "namespace": NAMESPACE if run != ".+" else ".+", "run": run, "__range": f"{math.ceil(end - begin)}s",
        "__interval": "5s", "__rate_interval": "1m",
    }  # fmt: skip
    expr = filled(query.expr, variables)
    step = 1.0 if query.mark else 5.0
    over_time = fleet.prometheus.range(expr, begin, end, step)
    if query.mark:
        return over_time
    now = fleet.prometheus.instant(expr, end)
    assert bool(now) == bool(over_time) or not now, expr
    return now


def has_numbers(found: list[Series]) -> bool:
    return any(math.isfinite(value) for series in found for _, value in series.points)


@pytest.mark.parametrize("query", ALL, ids=str)
def test_a_panel_has_data(fleet: Fleet, query: Query) -> None:
    assert has_numbers(asked(fleet, query)), query.expr


@pytest.mark.parametrize("query", [query for query in ALL if query.board == "run"], ids=str)
def test_a_panel_of_one_healthy_run_has_data(fleet: Fleet, query: Query) -> None:
    found = asked(fleet, query, fleet.healthy.job)
    assert has_numbers(found) == (query.panel not in FAULTS), query.expr
    assert {series.labels.get("run", fleet.healthy.job) for series in found} <= {fleet.healthy.job}


@pytest.mark.parametrize("board", BOARDS)
def test_the_variables_find_both_runs(fleet: Fleet, board: str) -> None:
    found = {}
    for variable in BOARDS[board]["templating"]["list"]:
        if variable["type"] == "query":
            text = filled(variable["query"]["query"], {"namespace": ".+"})
            selector, label = text.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
            found[variable["name"]] = fleet.prometheus.values(label, selector)
    assert found == {"namespace": [NAMESPACE], "run": sorted([fleet.faulty.job, fleet.healthy.job])}


def test_legends_name_what_they_show(fleet: Fleet) -> None:
    for query in ALL:
        if query.panel in FAULTS or "{{" not in query.legend:
            continue
        for series in asked(fleet, query):
            assert called(query.legend, series.labels), f"{query}: {series.labels}"


def test_alerts_fire_for_the_run_that_broke_and_for_no_other(fleet: Fleet) -> None:
    firing = fleet.prometheus.instant('ALERTS{alertstate="firing"}', time.time())
    assert {(series.labels["alertname"], series.labels["run"]) for series in firing} == {
        ("TrmLossNotFinite", fleet.faulty.job)
    }


def test_the_joins_find_whose_gpus_they_are_wherever_prometheus_put_the_pod(fleet: Fleet) -> None:
    found = fleet.prometheus.instant("gpu:trm_run:info", time.time())
    assert sorted((series.labels["run"], series.labels["pod"]) for series in found) == sorted(
        [(fleet.healthy.job, f"{fleet.healthy.job}-worker-1")] * 2
        + [(fleet.faulty.job, f"{fleet.faulty.job}-worker-0")] * 2
    )


def test_prometheus_itself_finds_nothing_wrong(fleet: Fleet) -> None:
    command = [need("promtool", "prometheus"), "check", "config", str(fleet.folder / "prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    groups = fleet.prometheus.get("rules", {})["groups"]
    assert [rule["name"] for group in groups for rule in group["rules"] if rule.get("lastError")] == []
    complaints = Path(fleet.folder / "prometheus.log").read_text()
    assert "many-to-many" not in complaints
    assert "Error on ingesting" not in complaints
