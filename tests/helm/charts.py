"""The chart, rendered with the real Helm engine in a library; no cluster is asked."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed: it is Helm's engine")

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "trm"
NAMESPACE = "research"
SITUATIONS = {"defaults": {}} | {
    path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((CHART / "ci").glob("*-values.yaml"))
}
"""Name -> values of every situation that the chart is held to."""
Object = dict[str, Any]


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, which YAML readers of clusters may take either way."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        keys = [self.construct_object(key) for key, _ in node.value]  # type: ignore[no-untyped-call]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: {sorted(keys)} has a key twice"
        return super().construct_mapping(node, deep)


def rendered(
    values: dict[str, Any], *, upgrade: bool = False, chart: Path = CHART, namespace: str = NAMESPACE
) -> list[Object]:
    """Return the objects that the chart makes with these values. HelmError: it refuses them."""
    with helm.Chart.load(chart) as loaded:
        texts = loaded.render(values, name="trm", namespace=namespace, is_upgrade=upgrade)
    found = []
    for path, text in texts.items():
        if path.endswith(".yaml"):
            found += [one for one in yaml.load_all(text, StrictLoader) if one is not None]
    return found


@cache
def of_situation(name: str) -> list[Object]:
    """Return the objects of a situation."""
    return rendered(SITUATIONS[name])


def refused_by_kubernetes(found: Object, version: str) -> str:
    """Return why an API server of this version would not take an object; empty: it would."""
    return _refused(json.dumps(found, sort_keys=True), version)


@cache
def _refused(text: str, version: str) -> str:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    try:
        kubernetes_validate.validate(json.loads(text), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error.message)
    return ""


def notes(values: dict[str, Any]) -> str:
    """Return what an installer is told."""
    with helm.Chart.load(CHART) as loaded:
        return str(loaded.render(values, name="trm", namespace=NAMESPACE)["trm/templates/NOTES.txt"])


def one(objects: list[Object], kind: str, name: str) -> Object:
    """Return the object of this kind and name."""
    return next(found for found in objects if (found["kind"], found["metadata"]["name"]) == (kind, name))


def names(objects: list[Object], kind: str) -> set[str]:
    """Return the names of all objects of a kind."""
    return {found["metadata"]["name"] for found in objects if found["kind"] == kind}


def pods(objects: list[Object]) -> list[tuple[str, Object]]:
    """Return the spec of every pod that objects make, with who makes it."""
    found = []
    for body in objects:
        who = f"{body['kind']}/{body['metadata']['name']}"
        if body["kind"] == "Pod":
            found.append((who, body["spec"]))
        elif body["kind"] in ("StatefulSet", "Deployment"):
            found.append((who, body["spec"]["template"]["spec"]))
        elif body["kind"] == "ClusterTrainingRuntime":
            jobs = body["spec"]["template"]["spec"]["replicatedJobs"]
            found += [(who, job["template"]["spec"]["template"]["spec"]) for job in jobs]
        elif body["kind"] == "WorkflowTemplate":
            found += [(f"{who}/{step['name']}", step_pod(body["spec"], step)) for step in body["spec"]["templates"]
                      if "container" in step]  # fmt: skip
    return found


def step_pod(whole: Object, step: Object) -> Object:
    """Return the spec of the pod that Argo makes of a step."""
    volumes = [*(whole.get("volumes") or ()), *(step.get("volumes") or ())]
    containers = [{"name": step["name"], **step["container"]}]
    return {"securityContext": whole.get("securityContext"), "containers": containers, "volumes": volumes}
