"""`python -m tests.helm.remember`: stores what the chart makes now, for tests of upgrades from it."""

import difflib
from pathlib import Path

import yaml

from tests.helm.charts import CHART, SITUATIONS, Object, rendered

ELSEWHERE = ("WorkflowTemplate", "ClusterTrainingRuntime", "CustomResourceDefinition")
"""Kinds whose content is made, and compared, by docs.generate; as are dashboards and rules."""
FOLDER = Path(__file__).parent


class Dumper(yaml.SafeDumper):
    """Writes text of several lines as it is, whatever other modules have taught PyYAML's own writer."""


def write_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    """Return a text as YAML."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


Dumper.add_representer(str, write_text)


def text(objects: list[Object]) -> str:
    """Return objects as one YAML text, by kind and name, without what is drawn at random or is compared elsewhere."""
    kept = []
    for found in sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"])):
        if found["kind"] == "Secret":
            found = {**found, "data": dict.fromkeys(found["data"], "")}
        if found["kind"] in ELSEWHERE:
            found = {**found, "spec": {}}
        if found["kind"] != "PrometheusRule" and not found["metadata"]["name"].startswith("trm-dashboard-"):
            kept.append(found)
    return yaml.dump_all(kept, Dumper=Dumper, sort_keys=True, width=120)


def lines(before: str, now: str) -> list[str]:
    """Return the difference between two of them."""
    return list(difflib.unified_diff(before.splitlines(), now.splitlines(), "stored", "now", lineterm="", n=2))


if __name__ == "__main__":
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["version"]
    place = FOLDER / f"rendered-{version}.yaml"
    place.write_text(text(rendered(SITUATIONS["everything"])), encoding="utf-8")
    print(place)
