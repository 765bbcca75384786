"""values.yaml, its schema and the table of the README; and the chart under any mixture of its switches."""

import json
import random
from functools import cache
from typing import Any

import pytest
import yaml

from docs import chart
from tests.helm.charts import CHART, helm, refused_by_kubernetes, rendered
from tests.helm.test_chart import RELEASES
from tests.trmkit.render.crds import FOLDER, refusals
from trmkit.render.check import problems

VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
SWITCHES: dict[str, Any] = {
    "trainJob": {"enabled": True, "priorityClassName": "p"},
    "pipelines": {"enabled": True},
    "kueue": {"enabled": True, "clusterQueue": "all"},
    "monitoring": {
        "enabled": True,
        "podMonitor": {"labels": {"a": "b"}},
        "rules": {"enabled": True},
        "dashboards": {"enabled": True},
    },
    "networkPolicy": {"enabled": False},
    "devStore": {"enabled": True, "storageClassName": "fast"},
    "doctor": {"enabled": False},
    "defaults": {"enabled": False},
    "serviceAccounts": {"create": False},
    "rbac": {"create": False, "clusterRoles": {"aggregate": False, "viewerReadsMetrics": True}},
    "podDisruptionBudget": {"enabled": True},
    "priorityClasses": [{"name": "p", "value": 5}],
    "quota": {"hard": {"pods": 5}},
    "store": {"remote": "s3://bucket/x", "endpointUrl": "http://s3:9000", "existingSecret": "s"},
    "global": {"imagePullSecrets": ["a", {"name": "b"}], "imageRegistry": "r.example:5000/x"},
    "commonLabels": {"a": "b", "app.kubernetes.io/name": "not-trm"},
}


def mixtures() -> list[tuple[str, ...]]:
    """Return all switches but each, and sixteen mixtures drawn once and for all; no trial store without policies."""
    draw = random.Random(5)
    without = [tuple(one for one in SWITCHES if one != name) for name in SWITCHES]
    drawn = [tuple(name for name in SWITCHES if draw.random() < 0.5) for _ in range(16)]
    return [tuple(name for name in names if name != "devStore" or "networkPolicy" not in names)
            for names in (*without, *drawn)]  # fmt: skip


@cache
def refused_by_its_operator(text: str) -> list[str]:
    """Return why an operator would not take an object; many mixtures have the same."""
    found = json.loads(text)
    return refusals(found, RELEASES[found["kind"]][0])


@pytest.mark.parametrize("part", range(4))
def test_any_mixture_of_switches_gives_what_a_cluster_takes(part: int) -> None:
    for names in mixtures()[part::4]:
        for found in rendered({name: SWITCHES[name] for name in names}):
            assert problems(found) == [], names
            assert found["metadata"]["labels"]["app.kubernetes.io/name"] == "trm"
            if found["kind"] not in RELEASES:
                assert refused_by_kubernetes(found, "1.37") == "", names
            elif FOLDER:
                assert refused_by_its_operator(json.dumps({**found, "metadata": {"name": "x"}})) == []


def sections(values: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every section, in which only keys of ours may be."""
    schema: Any = SCHEMA
    for key in path:
        schema = schema["properties"][key]
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "properties" not in schema:
        return []
    below = [each for key in schema["properties"] for each in sections(values, (*path, key))]
    return [path, *below]


@pytest.mark.parametrize("path", sections(VALUES), ids=".".join)
def test_no_section_takes_a_key_that_it_does_not_know(path: tuple[str, ...]) -> None:
    values: Any = {"nonsense": 1}
    for key in reversed(path):
        values = {key: values}
    with helm.Chart.load(CHART) as loaded:
        if path == ("global",):  # it is shared with other charts
            loaded.validate_schema(values)
            return
        with pytest.raises(helm.HelmError, match="nonsense"):
            loaded.validate_schema(values)


def test_the_schema_has_every_key_of_the_values_with_its_default_and_what_it_means() -> None:
    def compare(schema: Any, values: Any, path: str) -> None:
        if "$ref" in schema and "default" not in schema:  # an image
            return
        assert schema.get("description"), path
        if "properties" not in schema:
            assert schema["default"] == values, path
            return
        assert set(schema["properties"]) == set(values), path
        for key, value in values.items():
            compare(schema["properties"][key], value, f"{path}.{key}")

    compare({**SCHEMA, "description": "the whole"}, VALUES, "")
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_a_value_that_nobody_explains_is_refused_by_the_generator() -> None:
    with pytest.raises(ValueError, match=r"values\.yaml: a\.c: there is no comment"):
        chart.parse("# -- One.\na:\n  # -- Two.\n  b: 1\n  c: 2\n")
    found = chart.parse('# -- One,\n# and more.\n# @schema {"minimum": 1}\na: 1\n')
    assert (found[0].doc, found[0].schema, found[0].default) == ("One, and more.", {"minimum": 1}, 1)


def test_the_readme_has_a_row_for_every_key() -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")

    def rows(values: tuple[chart.Value, ...]) -> list[str]:
        return [path for value in values for path in (value.path, *rows(value.children))]

    for path in rows(chart.parse((CHART / "values.yaml").read_text(encoding="utf-8"))):
        assert f"`{path}`" in readme
