"""Every query of every dashboard, as Grafana asks it, has an answer from two real runs."""

import math
import subprocess
import time
from pathlib import Path

from tests.helm.boards import BOARDS, need, panels, queries
from tests.observe.fleet import NAMESPACE, Fleet
from tools.draw_dashboard import Drawer, page
from tools.panels import Query, Series, called, filled

ALL = queries()
FAULTS = {"Restart", "Alert"}
"""Marks that a healthy run does not have."""


def asked(fleet: Fleet, query: Query, run: str = ".+") -> list[Series]:
    """Return the answers to a query, at the end of the time shown and over all of it.

    Panels that add up minutes look at full minutes alone: the end is the next one, and the values are those of now.
    """
    end = 60.0 * math.ceil(time.time() / 60)
    begin = end - 5 * math.ceil((end - fleet.began + 60) / 5)  # so that the last point is the end
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


def test_two_real_runs_answer_every_query_and_alarm_as_they_should(fleet: Fleet) -> None:
    """One test, not one for each query: several processes that test would each have to train the two runs."""
    every_panel_has_data(fleet)
    every_panel_of_one_healthy_run_has_data(fleet)
    the_variables_find_both_runs(fleet)
    legends_name_what_they_show(fleet)
    alerts_fire_for_the_run_that_broke_and_for_no_other(fleet)
    the_joins_find_whose_gpus_they_are_wherever_prometheus_put_the_pod(fleet)
    prometheus_itself_finds_nothing_wrong(fleet)
    the_picture_has_every_panel(fleet)


def every_panel_has_data(fleet: Fleet) -> None:
    assert [f"{query}: {query.expr}" for query in ALL if not has_numbers(asked(fleet, query))] == []


def every_panel_of_one_healthy_run_has_data(fleet: Fleet) -> None:
    """Only marks of what did not happen to it are missing, and nothing is of the other run."""
    job = fleet.healthy.job
    found = [(query, asked(fleet, query, job)) for query in ALL if query.board == "run"]
    assert {query.panel for query, answer in found if not has_numbers(answer)} == FAULTS
    assert {series.labels.get("run", job) for _, answer in found for series in answer} == {job}


def the_variables_find_both_runs(fleet: Fleet) -> None:
    for board in BOARDS:
        found = {}
        for variable in BOARDS[board]["templating"]["list"]:
            if variable["type"] == "query":
                text = filled(variable["query"]["query"], {"namespace": ".+"})
                selector, label = text.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
                found[variable["name"]] = fleet.prometheus.values(label, selector)
        assert found == {"namespace": [NAMESPACE], "run": sorted([fleet.faulty.job, fleet.healthy.job])}


def legends_name_what_they_show(fleet: Fleet) -> None:
    for query in ALL:
        if query.panel in FAULTS or "{{" not in query.legend:
            continue
        for series in asked(fleet, query):
            assert called(query.legend, series.labels), f"{query}: {series.labels}"


def alerts_fire_for_the_run_that_broke_and_for_no_other(fleet: Fleet) -> None:
    firing = fleet.prometheus.instant('ALERTS{alertstate="firing"}', time.time())
    assert {(series.labels["alertname"], series.labels["run"]) for series in firing} == {
        ("TrmLossNotFinite", fleet.faulty.job)
    }


def the_joins_find_whose_gpus_they_are_wherever_prometheus_put_the_pod(fleet: Fleet) -> None:
    found = fleet.prometheus.instant("gpu:trm_run:info", time.time())
    assert sorted((series.labels["run"], series.labels["pod"]) for series in found) == sorted(
        [(fleet.healthy.job, f"{fleet.healthy.job}-worker-1")] * 2
        + [(fleet.faulty.job, f"{fleet.faulty.job}-worker-0")] * 2
    )


def prometheus_itself_finds_nothing_wrong(fleet: Fleet) -> None:
    command = [need("promtool", "prometheus"), "check", "config", str(fleet.folder / "prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    groups = fleet.prometheus.get("rules", {})["groups"]
    assert [rule["name"] for group in groups for rule in group["rules"] if rule.get("lastError")] == []
    complaints = Path(fleet.folder / "prometheus.log").read_text()
    assert "many-to-many" not in complaints
    assert "Error on ingesting" not in complaints


def the_picture_has_every_panel(fleet: Fleet) -> None:
    drawer = Drawer(fleet.prometheus, fleet.began, time.time(), {"namespace": ".+", "run": ".+"})
    for name, board in BOARDS.items():
        text, height = page(drawer, board, [], [fleet.healthy.job])
        titles = [filled(panel["title"], {"run": fleet.healthy.job}) for panel in panels(name)]
        assert [title for title in titles if f"<h3>{title}</h3>" not in text] == []
        assert "Not a Grafana screenshot" in text
        assert text.count("<svg") > 5
        assert "nan," not in text
        assert height > 1000
