"""The table of metrics holds to its own rules."""

import re

import pytest

from trmkit.metrics import BY_NAME, LABELS, MOST_DEPTHS, MOST_SERIES, PHASES, STATES, TABLE, Metric, exported

BASE_UNITS = {"seconds": "_seconds", "bytes": "_bytes", "ratio": "_ratio"}
VALUES = {
    "part": 5, "level": 2, "depth": MOST_DEPTHS, "bin": 10, "phase": len(PHASES), "state": len(STATES), "metric": 8,
    "kind": 3, "basis": 1, "version": 1, "commit": 1, "image": 1, "family": 1, "store": 1,
}  # fmt: skip
"""How many values each label takes in one process."""


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_a_name_says_its_unit_and_its_type(metric: Metric) -> None:
    assert re.fullmatch(r"trm_[a-z0-9]+(_[a-z0-9]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.type == "counter")
    assert metric.name.endswith("_info") == (metric.type == "info")
    if metric.unit in BASE_UNITS:
        assert metric.name.removesuffix("_total").endswith(BASE_UNITS[metric.unit])
    assert metric.help[0].isupper() or metric.help[0].isdigit()
    assert metric.help.endswith(".")


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_labels_are_those_of_the_list_and_a_line_of_log_gives_them(metric: Metric) -> None:
    assert set(metric.labels) <= set(LABELS)
    for source in metric.log:
        named = {name for name, _ in source.labels} | set(re.findall(r"{(\w+)}", source.key)) | {source.each or ""}
        assert named - {""} == set(metric.labels)


def test_every_name_is_there_once_and_every_label_is_used() -> None:
    assert len(BY_NAME) == len(TABLE)
    assert {label for metric in TABLE for label in metric.labels} == set(LABELS) == set(VALUES)


def test_a_pod_has_no_more_series_than_it_may() -> None:
    def series(metric: Metric) -> int:
        count = 1
        for label in metric.labels:
            count *= VALUES[label]
        return count

    assert sum(map(series, exported("first"))) <= MOST_SERIES
    assert 10 < sum(map(series, exported("machine"))) < 40
