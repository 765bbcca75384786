"""trm-stack: the chart and what it can use, each only if it is asked for."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.charts import CHART, NAMESPACE, ROOT, helm

STACK = ROOT / "helm" / "trm-stack"
OPTIONAL = ("argo-workflows", "kube-prometheus-stack", "kubeflow-trainer", "dcgm-exporter")


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Return the chart with its real dependency on trm, and small charts in place of those that come from elsewhere."""
    shutil.copytree(CHART, tmp_path / "trm")
    place = tmp_path / "trm-stack"
    shutil.copytree(STACK, place, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    about = yaml.safe_load((place / "Chart.yaml").read_text(encoding="utf-8"))
    for each in about["dependencies"]:
        if each["name"] != "trm":
            each["repository"] = f"file://../{each['name']}"
            stub = tmp_path / each["name"]
            (stub / "templates").mkdir(parents=True)
            version = {"1.x.x": "1.0.0", "2.x.x": "2.3.0", "4.x.x": "4.8.1", "88.x.x": "88.1.3"}[each["version"]]
            chart = {"apiVersion": "v2", "name": each["name"], "version": version}
            (stub / "Chart.yaml").write_text(yaml.safe_dump(chart))
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": each["name"]}}
            (stub / "templates" / "one.yaml").write_text(yaml.safe_dump(body))
    (place / "Chart.yaml").write_text(yaml.safe_dump(about, sort_keys=False))
    helm.dependency_update(place)
    return place


def made(stack: Path, values: dict[str, Any]) -> set[str]:
    """Return the charts that a release of the stack has objects of."""
    with helm.Chart.load(stack) as chart:
        texts = chart.render(values, name="trm", namespace=NAMESPACE)
    return {path.split("/")[2] for path, text in texts.items() if path.startswith("trm-stack/charts/") and text.strip()}


def test_nothing_but_trm_comes_unless_it_is_asked_for(stack: Path) -> None:
    assert made(stack, {}) == {"trm"}
    for name in OPTIONAL:
        assert made(stack, {name: {"enabled": True}}) == {"trm", name}
    assert made(stack, {name: {"enabled": True} for name in OPTIONAL}) == {"trm", *OPTIONAL}


def test_every_chart_from_elsewhere_is_held_to_one_major_version() -> None:
    about = yaml.safe_load((STACK / "Chart.yaml").read_text(encoding="utf-8"))
    versions = {each["name"]: each["version"] for each in about["dependencies"] if each["name"] != "trm"}
    assert set(versions) == set(OPTIONAL)
    assert all(re.fullmatch(r"[0-9]+\.x\.x", version) for version in versions.values())


def test_metrics_in_the_stack_come_with_alerts_and_dashboards(stack: Path) -> None:
    with helm.Chart.load(stack) as chart:
        text = chart.render({"trm": {"monitoring": {"enabled": True}}}, name="trm", namespace=NAMESPACE)[
            "trm-stack/charts/trm/templates/monitoring.yaml"
        ]
    assert {one["kind"] for one in yaml.safe_load_all(text) if one} == {"PodMonitor", "PrometheusRule", "ConfigMap"}


def test_values_reach_trm_and_are_held_to_its_schema(stack: Path) -> None:
    with helm.Chart.load(stack) as chart:
        texts = chart.render({"trm": {"pipelines": {"enabled": True}}, "global": {"imageRegistry": "r.example"}},
                             name="trm", namespace=NAMESPACE)  # fmt: skip
        assert "r.example/trmctl:0.1.0" in texts["trm-stack/charts/trm/templates/pipelines.yaml"]
        with pytest.raises(helm.HelmError, match="pipelnes"):
            chart.render({"trm": {"pipelnes": {}}}, name="trm", namespace=NAMESPACE)


@pytest.mark.parametrize(
    ("values", "words"), [({"argo": {}}, "argo"), ({"dcgm-exporter": {"enabled": "yes"}}, "/dcgm-exporter/enabled")]
)
def test_a_chart_that_is_not_one_of_them_is_refused(stack: Path, values: dict[str, Any], words: str) -> None:
    with helm.Chart.load(stack) as chart, pytest.raises(helm.HelmError, match=words):
        chart.render(values, name="trm", namespace=NAMESPACE)


def test_every_optional_chart_has_a_condition_that_is_off() -> None:
    about = yaml.safe_load((STACK / "Chart.yaml").read_text(encoding="utf-8"))
    values = yaml.safe_load((STACK / "values.yaml").read_text(encoding="utf-8"))
    conditions = {each["name"]: each.get("condition") for each in about["dependencies"]}
    assert conditions == {"trm": None, **{name: f"{name}.enabled" for name in OPTIONAL}}
    assert all(values[name]["enabled"] is False for name in OPTIONAL)
    trm = next(each for each in about["dependencies"] if each["name"] == "trm")
    assert trm["version"] == yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["version"]


def test_helm_refuses_a_chart_whose_dependencies_are_not_there_so_trm_has_none(tmp_path: Path) -> None:
    with pytest.raises(helm.HelmError, match="missing in charts/ directory"):
        helm.package(STACK, destination=tmp_path)
    assert "dependencies" not in yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert Path(helm.package(CHART, destination=tmp_path)).is_file()
