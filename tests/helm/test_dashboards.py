"""The dashboards keep the rules that Grafana's own linter has for them, and ask only for what exists."""

import re
from collections import Counter
from itertools import combinations
from typing import Any

import pytest

from helm.trm.dashboards.src.build import dashboards
from tests.helm.boards import BOARDS, ROOT, panels, queries, rules
from tests.helm.promql import grouped, uses
from tools.panels import Query
from trmkit import controller_metrics
from trmkit.metrics import BY_NAME, LABELS

ALL = queries()
CONTROLLER = {name: type_ for metric in controller_metrics.TABLE for name, type_ in metric.series.items()}
"""Series of the controller of TrmRun, and their types."""
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
TARGET = {"namespace", "run", "user", "pod", "node", "instance", "job"}
"""Labels that scraped series have from their target."""
FOREIGN = {
    **dict.fromkeys(
        ("DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_UTIL",
         "DCGM_FI_DEV_MEMORY_TEMP", "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_DEV_XID_ERRORS",
         "DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_NVLINK_RX_BYTES",
         "DCGM_FI_PROF_NVLINK_TX_BYTES", "DCGM_FI_PROF_PCIE_RX_BYTES", "DCGM_FI_PROF_PCIE_TX_BYTES",
         "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"), "gauge"),  # NVIDIA's dcgm-exporter
    "kueue_pending_workloads": "gauge",
    "kueue_admitted_active_workloads": "gauge",
    "kueue_admission_wait_time_seconds_bucket": "counter",
    **{f"training_operator_jobs_{word}_total": "counter" for word in ("created", "successful", "failed", "restarted")},
    **CONTROLLER,
    "ALERTS": "gauge",  # Prometheus itself
    "up": "gauge",
}  # fmt: skip
"""Metrics that others export, and their types."""
FOREIGN_LABELS = {
    "UUID", "GPU_I_ID", "gpu", "modelName", "exported_pod", "exported_namespace", "alertname", "alertstate", "severity",
    "cluster_queue", "status", "job_namespace", "le", *controller_metrics.LABELS,
}  # fmt: skip
MADE = {"series", "score", "place"}
"""Labels that queries make with label_replace."""
NOT_SHOWN: dict[str, str] = {}
"""Metrics of the table that no panel and no rule asks for, and why."""
COUNTS_AS_THEY_ARE = {
    "trm_run_attempts_total": "counted beside the checkpoints, it goes on from pod to pod: the number itself is shown",
    "trm_train_nonfinite_total": "the first one ends the process, so there is never a second sample to compare with",
    "trm_checkpoint_saved_total": "asked only whether it is above 0: whether the time beside it is of a checkpoint",
}
"""Counters that may be asked for without rate or increase, and why."""
OVER_TIME = {"rate", "increase", "irate"}
AS_IT_IS = {"max_over_time", "min_over_time", "last_over_time", ""}
UNITS = {"none", "short", "percentunit", "s", "bytes", "Bps", "ops", "flops", "watt", "celsius", "hertz", "locale"}
EVERY_PANEL = [(board, panel) for board in BOARDS for panel in panels(board)]
NAMES = [f"{board}: {panel['title']}" for board, panel in EVERY_PANEL]


@pytest.fixture(params=EVERY_PANEL, ids=NAMES)
def panel(request: pytest.FixtureRequest) -> Any:
    return request.param[1]


@pytest.fixture(params=ALL, ids=str)
def query(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_the_committed_files_are_what_the_sources_make() -> None:
    made = dict(dashboards())
    assert {path: (ROOT / path).read_text() for path in made} == made
    assert {ROOT / path for path in made} == set((ROOT / "helm/trm/dashboards").glob("*.json"))


def test_a_panel_says_what_it_shows_in_which_unit_from_the_chosen_source(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 10
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    for asked in [panel, *panel["targets"]]:
        assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert all(target["legendFormat"] for target in panel["targets"])
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs) > 0


def test_numbers_have_thresholds_and_curves_a_legend(panel: dict[str, Any]) -> None:
    if panel["type"] in ("stat", "bargauge", "table"):
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None
        assert [step["value"] for step in steps[1:]] == sorted(step["value"] for step in steps[1:])
    else:
        assert panel["options"]["legend"]["showLegend"]


@pytest.mark.parametrize("board", BOARDS)
def test_a_dashboard_has_the_variables_links_and_marks_that_all_have(board: str) -> None:
    found = {variable["name"]: variable for variable in BOARDS[board]["templating"]["list"]}
    assert list(found)[:3] == ["datasource", "namespace", "run"]
    assert found["datasource"]["type"] == "datasource"
    assert found["datasource"]["query"] == "prometheus"
    for name in ("namespace", "run"):
        assert found[name]["multi"]
        assert found[name]["includeAll"]
        assert found[name]["allValue"] == ".+"
        assert found[name]["datasource"]["uid"] == "${datasource}"
        asked = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", found[name]["query"]["query"])
        assert asked is not None
        assert asked[1] in BY_NAME
        assert asked[2] in TARGET
    assert all(mark["datasource"]["uid"] == "${datasource}" for mark in BOARDS[board]["annotations"]["list"])
    (links,) = BOARDS[board]["links"]
    assert (links["type"], links["tags"], links["includeVars"], links["keepTime"]) == (
        "dashboards",
        ["trm"],
        True,
        True,
    )
    assert links["tags"] == BOARDS[board]["tags"]


def test_uids_and_titles_are_stable_and_there_once() -> None:
    assert {name: board["uid"] for name, board in BOARDS.items()} == {name: f"trm-{name}" for name in BOARDS}
    assert {board["title"] for board in BOARDS.values()} == {"TRM / Run", "TRM / Fleet", "TRM / GPU"}
    for name, board in BOARDS.items():
        for key in ("id", "title"):
            counts = Counter(panel[key] for panel in board["panels"])
            assert [value for value, count in counts.items() if count > 1] == [], name


def test_what_a_link_leads_to_exists() -> None:
    uids = {board["uid"] for board in BOARDS.values()}
    found = set(re.findall(r"/d/([\w-]+)", str(BOARDS)))
    assert found
    assert found <= uids


@pytest.mark.parametrize("board", BOARDS)
def test_panels_lie_side_by_side_on_the_grid(board: str) -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in BOARDS[board]["panels"]]
    for title, place in places:
        assert place["x"] + place["w"] <= 24, title
    for (one, a), (other, b) in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, f"{one} and {other}"


def test_a_query_asks_for_metrics_and_labels_that_exist(query: Query) -> None:
    known = TARGET | set(LABELS) | FOREIGN_LABELS
    found = list(uses(query.expr))
    assert found, query.expr
    for use in found:
        assert use.name in BY_NAME or use.name in RECORDED or use.name in FOREIGN, use.name
        own = set(BY_NAME[use.name].labels) | TARGET if use.name in BY_NAME else known
        assert use.matched <= own, use
    assert grouped(query.expr) <= known | MADE
    assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= known | MADE


def test_a_query_is_of_the_chosen_runs(query: Query) -> None:
    for use in uses(query.expr):
        if use.name in BY_NAME or use.name in RECORDED or use.name == "ALERTS":
            assert {"namespace", "run"} <= use.matched, use


@pytest.mark.parametrize("expr", [query.expr for query in ALL] + [rule["expr"] for rule in rules()])
def test_counters_are_asked_for_their_growth_and_nothing_else_is(expr: str) -> None:
    for use in uses(expr):
        type_ = BY_NAME[use.name].type if use.name in BY_NAME else FOREIGN.get(use.name, "gauge")
        if use.inside in OVER_TIME:
            assert type_ == "counter", use
        elif type_ == "counter":
            assert use.name in COUNTS_AS_THEY_ARE, use
            assert use.inside in AS_IT_IS | {"max", "min"}, use


def test_every_metric_and_every_recording_rule_is_asked_for() -> None:
    asked = {use.name for query in ALL for use in uses(query.expr)}
    asked |= {use.name for rule in rules() for use in uses(rule["expr"])}
    assert {name for name in BY_NAME if name not in asked} == set(NOT_SHOWN)
    assert RECORDED - asked == set()
    assert {name for name in FOREIGN if name not in asked} == set()
    assert set(COUNTS_AS_THEY_ARE) <= asked


def test_marks_that_are_drawn_at_a_metrics_own_time_are_in_milliseconds() -> None:
    marks = {mark["name"]: mark for mark in BOARDS["run"]["annotations"]["list"]}
    assert list(marks) == ["Checkpoint", "Restart", "Alert"]
    assert marks["Checkpoint"]["useValueForTime"]
    assert "trm_checkpoint_timestamp_seconds" in marks["Checkpoint"]["target"]["expr"]
    assert not marks["Restart"]["useValueForTime"]


def test_panels_that_are_drawn_for_each_run_say_which_one() -> None:
    for _, found in EVERY_PANEL:
        assert ("$run" in found["title"]) == (found.get("repeat") == "run")
