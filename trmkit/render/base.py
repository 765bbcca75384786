"""What a namespace needs once, before any run: service accounts, and what the steps of pipelines may do."""

from typing import Any

from trmkit.render.names import MANAGED_BY, MANAGER

LABELS = {"app.kubernetes.io/name": "trm", MANAGED_BY: MANAGER}
TRAINER = "trm-trainer"
"""Service account of training pods. It may do nothing in the cluster; a cloud role for S3 may be tied to it."""
STEP = "trm-step"
"""Service account of a pipeline's steps that compute: it may only tell Argo what came of them."""
WORKFLOW = "trm-workflow"
"""Service account of a pipeline's steps that submit a job and follow it."""
DOCTOR = "trm-doctor"
"""Service account of `trmctl doctor --in-cluster`: it may look at what a run needs, and change nothing."""
DEFAULTS, DEFAULTS_KEY = "trm-defaults", "defaults.yaml"
"""ConfigMap of a namespace, and its key, with what runs there take that do not say it themselves."""
DEFAULTS_KEYS = {
    "cluster": (
        "image",
        "trmctl_image",
        "queue",
        "priority",
        "service_account",
        "storage_secret",
        "image_pull_secrets",
    ),
    "storage": ("remote", "endpoint_url", "region", "addressing"),
}
"""Section and keys of the run file that a namespace may have defaults for."""
Rules = tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
"""API group, resources, verbs."""
RESULTS: Rules = (("argoproj.io", ("workflowtaskresults",), ("create", "patch")),)
RULES: Rules = (
    ("kubeflow.org", ("pytorchjobs",), ("create", "get", "list", "watch", "patch", "delete")),
    ("trainer.kubeflow.org", ("trainjobs",), ("create", "get", "list", "watch", "patch", "delete")),
    ("", ("configmaps",), ("create", "get", "patch", "delete")),
    ("", ("pods",), ("create", "get", "list", "watch")),
    ("", ("pods/log",), ("get",)),
    ("", ("events",), ("get", "list", "watch")),
    ("kueue.x-k8s.io", ("workloads", "localqueues"), ("get", "list")),
    *RESULTS,
)
"""`create pods` is for the dry run that shows whether a pod would be admitted."""


def base(namespace: str = "default") -> list[dict[str, Any]]:
    """Return the objects of a namespace."""
    return [
        *(account(name, namespace) for name in (TRAINER, STEP, WORKFLOW)),
        *role(STEP, namespace, RESULTS),
        *role(WORKFLOW, namespace, RULES),
    ]


def role(name: str, namespace: str, rules: Rules) -> list[dict[str, Any]]:
    """Return a role, and what binds it to the service account of its name."""
    about = {"name": name, "namespace": namespace, "labels": LABELS}
    group = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": about,
            "rules": [
                {"apiGroups": [api], "resources": list(resources), "verbs": list(verbs)}
                for api, resources, verbs in rules
            ],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": about,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    ]


def account(name: str, namespace: str) -> dict[str, Any]:
    """Return a service account whose token no pod gets unless it asks."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace, "labels": LABELS},
        "automountServiceAccountToken": False,
    }
