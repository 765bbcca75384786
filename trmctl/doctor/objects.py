"""What the checks read out of objects of a cluster."""

from typing import Any

from trmctl.cluster import TRAINJOB, Kind, Object


def smallest(kind: Kind, namespace: str) -> Object:
    """Return the smallest job of a kind that its webhook takes; it is never made."""
    about = {"name": "trmctl-doctor", "namespace": namespace}
    if kind == TRAINJOB:
        spec: dict[str, Any] = {"runtimeRef": {"name": "trm"}, "trainer": {"numNodes": 1}}
    else:
        pod = {"spec": {"containers": [{"name": "pytorch", "image": "trm"}]}}
        spec = {"pytorchReplicaSpecs": {"Worker": {"replicas": 1, "restartPolicy": "ExitCode", "template": pod}}}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": about, "spec": spec}


def usable(node: Object) -> bool:
    """Say whether a machine takes new pods."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    return ready and not (node.get("spec") or {}).get("unschedulable")


def enabled(text: str, framework: str) -> bool:
    """Say whether Kueue's configuration enables a framework."""
    import yaml

    try:
        found = [one for one in yaml.safe_load_all(text) if isinstance(one, dict)]
    except yaml.YAMLError:
        return False
    return any(framework in ((one.get("integrations") or {}).get("frameworks") or ()) for one in found)


def selects(selector: Any, labels: dict[str, str]) -> bool:
    """Say whether a label selector takes these labels; none at all takes nothing, an empty one everything."""
    if selector is None:
        return False
    expressions = selector.get("matchExpressions") or ()
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()) and all(
        {
            "In": labels.get(one["key"]) in (one.get("values") or ()),
            "NotIn": labels.get(one["key"]) not in (one.get("values") or ()),
            "Exists": one["key"] in labels,
            "DoesNotExist": one["key"] not in labels,
        }.get(one["operator"], False)
        for one in expressions
    )
