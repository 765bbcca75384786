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
CONTROLLER_ACCOUNT = "trm-controller"
"""Service account of the controller, and name of its Deployment and its Lease."""
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
"""What Argo's own container of every step does."""
RULES: Rules = (
    ("kubeflow.org", ("pytorchjobs",), ("create", "get", "delete")),
    ("trainer.kubeflow.org", ("trainjobs",), ("create", "get", "delete")),
    ("", ("configmaps",), ("create", "get", "patch")),
    ("", ("pods",), ("create", "list", "watch")),
    ("", ("pods/log",), ("get",)),
    ("", ("events",), ("list",)),
    ("kueue.x-k8s.io", ("workloads",), ("list",)),
    ("kueue.x-k8s.io", ("localqueues",), ("get",)),
    *RESULTS,
)
"""`create pods` is for the dry run that shows whether a pod would be admitted."""
VIEWER: Rules = (
    ("trm.dev", ("trmruns",), ("get", "list", "watch")),
    ("kubeflow.org", ("pytorchjobs",), ("get", "list")),
    ("trainer.kubeflow.org", ("trainjobs",), ("get", "list")),
    ("argoproj.io", ("workflows", "cronworkflows"), ("get", "list")),
    ("", ("configmaps",), ("get",)),
    ("", ("pods",), ("list",)),
    ("", ("pods/log",), ("get",)),
    ("", ("events",), ("list",)),
    ("kueue.x-k8s.io", ("workloads",), ("list",)),
    ("kueue.x-k8s.io", ("localqueues", "clusterqueues"), ("get",)),
)
"""What a person needs to see runs: list, status, logs, watch, why, diff."""
METRICS: Rules = (("", ("pods/proxy",), ("get",)),)
"""What a person needs to see curves; it opens every port of every pod in the namespace to GET requests."""
EDITOR: Rules = (
    ("trm.dev", ("trmruns",), ("create", "get", "list", "watch", "patch", "delete")),
    ("kubeflow.org", ("pytorchjobs",), ("create", "get", "list", "patch", "delete")),
    ("trainer.kubeflow.org", ("trainjobs",), ("create", "get", "list", "patch", "delete")),
    ("trainer.kubeflow.org", ("clustertrainingruntimes",), ("get",)),
    ("argoproj.io", ("workflows", "cronworkflows"), ("create", "get", "list", "patch", "delete")),
    ("argoproj.io", ("workflowtemplates",), ("get",)),
    ("", ("configmaps",), ("create", "get", "list", "patch", "delete")),
    ("", ("pods",), ("create", "list", "watch")),
    ("", ("pods/log",), ("get",)),
    ("", ("pods/exec",), ("create", "get")),
    ("", ("events", "resourcequotas"), ("list",)),
    ("", ("persistentvolumeclaims",), ("get",)),
    ("coordination.k8s.io", ("leases",), ("get",)),
    ("kueue.x-k8s.io", ("workloads",), ("list", "patch")),
    ("kueue.x-k8s.io", ("localqueues", "clusterqueues"), ("get",)),
    *METRICS,
)
"""What a person needs to do everything with runs. `get pods/exec` is how older API servers see a web socket.

The Lease says whether a controller works. `submit` looks whether the Secrets are there that a run names. That right is
not in here: it would show their values.
"""
CONTROLLER: Rules = (
    ("trm.dev", ("trmruns",), ("get", "list", "watch", "create")),
    ("trm.dev", ("trmruns/status",), ("patch",)),
    ("kubeflow.org", ("pytorchjobs",), ("create", "get", "list", "watch", "patch", "delete")),
    ("trainer.kubeflow.org", ("trainjobs",), ("create", "get", "list", "watch", "patch", "delete")),
    ("argoproj.io", ("workflows",), ("create", "get", "list", "watch", "patch", "delete")),
    ("", ("configmaps",), ("create", "get", "patch")),
    ("", ("pods",), ("list", "watch")),
    ("", ("events",), ("create", "get", "list", "patch")),
    ("kueue.x-k8s.io", ("workloads",), ("list", "patch")),
)
"""What the controller does where it keeps runs. `create trmruns` is for the dry run that shows whether their definition
is served and not about to go, before any job is taken for one that nobody wants any more."""
CONTROLLER_LEASE: Rules = (("coordination.k8s.io", ("leases",), ("create", "get", "patch")),)
"""What it does with the Lease of its own namespace, and with no other one: `named`."""
LOOKER: Rules = (
    ("coordination.k8s.io", ("leases",), ("get",)),
    ("", ("serviceaccounts",), ("get",)),
    ("argoproj.io", ("workflowtemplates",), ("get",)),
    ("kueue.x-k8s.io", ("localqueues",), ("list",)),
    ("monitoring.coreos.com", ("podmonitors",), ("list",)),
)
"""What `trmctl doctor --in-cluster` looks at in its namespace."""
LOOKER_EVERYWHERE: Rules = (
    ("", ("namespaces",), ("get",)),
    ("", ("nodes",), ("list",)),
    ("apps", ("deployments",), ("list",)),
    ("trainer.kubeflow.org", ("clustertrainingruntimes",), ("get",)),
    ("monitoring.coreos.com", ("prometheuses",), ("list",)),
)
"""What it looks at outside of it; where it may not, it says so and goes on."""
KUEUE_CONFIG: tuple[str, str] = ("kueue-system", "kueue-manager-config")
"""Namespace and name of the ConfigMap that says which kinds Kueue looks at."""


def base(namespace: str = "default") -> list[dict[str, Any]]:
    """Return the objects of a namespace."""
    return [
        *(account(name, namespace) for name in (TRAINER, STEP, WORKFLOW)),
        *role(STEP, namespace, RESULTS),
        *role(WORKFLOW, namespace, RULES),
    ]


def as_rules(rules: Rules) -> list[dict[str, list[str]]]:
    """Return rules as Kubernetes writes them."""
    return [{"apiGroups": [api], "resources": list(resources), "verbs": list(verbs)} for api, resources, verbs in rules]


def named(rules: Rules, name: str) -> list[dict[str, list[str]]]:
    """Return rules as Kubernetes writes them, for objects of one name; a name says nothing of what is to be created."""
    found = []
    for api, resources, verbs in rules:
        kept = tuple(verb for verb in verbs if verb != "create")
        found += as_rules(((api, resources, ("create",)),)) if "create" in verbs else []
        found += [{**one, "resourceNames": [name]} for one in as_rules(((api, resources, kept),))]
    return found


def role(name: str, namespace: str, rules: Rules) -> list[dict[str, Any]]:
    """Return a role, and what binds it to the service account of its name."""
    about = {"name": name, "namespace": namespace, "labels": LABELS}
    group = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": about,
            "rules": as_rules(rules),
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
