"""What a namespace needs once, before any run: service accounts, what a pipeline may do, and the TrainJob runtime."""

from typing import Any

from trmkit.render.names import MANAGED_BY, MANAGER
from trmkit.render.runtime import runtime

LABELS = {"app.kubernetes.io/name": "trm", MANAGED_BY: MANAGER}
TRAINER = "trm-trainer"
"""Service account of training pods. It may do nothing in the cluster; a cloud role for S3 may be tied to it."""
WORKFLOW = "trm-workflow"
"""Service account of pipelines, whose train step submits a job and follows it."""
RULES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("kubeflow.org", ("pytorchjobs",), ("create", "get", "list", "watch", "patch", "delete")),
    ("trainer.kubeflow.org", ("trainjobs",), ("create", "get", "list", "watch", "patch", "delete")),
    ("", ("configmaps",), ("create", "get", "patch", "delete")),
    ("", ("pods",), ("create", "get", "list", "watch")),
    ("", ("pods/log",), ("get",)),
    ("", ("events",), ("get", "list", "watch")),
    ("argoproj.io", ("workflowtaskresults",), ("create", "patch")),
)
"""API group, resources, verbs. `create pods` is for the dry run that shows whether a pod would be admitted."""


def base(namespace: str = "default") -> list[dict[str, Any]]:
    """Return the objects of a namespace; the runtime is the whole cluster's."""
    about = {"name": WORKFLOW, "namespace": namespace, "labels": LABELS}
    return [
        account(TRAINER, namespace),
        account(WORKFLOW, namespace),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": about,
            "rules": [
                {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
                for group, resources, verbs in RULES
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": about,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": WORKFLOW},
            "subjects": [{"kind": "ServiceAccount", "name": WORKFLOW, "namespace": namespace}],
        },
        runtime(),
    ]


def account(name: str, namespace: str) -> dict[str, Any]:
    """Return a service account whose token no pod gets unless it asks."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace, "labels": LABELS},
        "automountServiceAccountToken": False,
    }
