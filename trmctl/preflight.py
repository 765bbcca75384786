"""What would keep a run from starting, asked before it is sent.

A server dry run of the job proves little: its pods are made later, by an operator, where nobody reads why they are
refused. So the pod itself is dry-run too, and what no dry run looks at is asked for by name.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from trmctl.cluster import (
    CLAIM,
    CONFIG_MAP,
    CRON_WORKFLOW,
    LOCAL_QUEUE,
    POD,
    PYTORCHJOB,
    QUOTA,
    RUNTIME,
    SECRET,
    TRAINJOB,
    TRMRUN,
    WORKFLOW,
    WORKFLOW_TEMPLATE,
    Cluster,
    Kind,
    Object,
)
from trmkit.errors import (
    ClusterConflictError,
    ClusterError,
    ClusterForbiddenError,
    ClusterMissingError,
    ClusterUnreachableError,
)
from trmkit.render.names import PYTORCH_CONTAINER, NamedRun
from trmkit.render.pod import container, pod_template, train_command
from trmkit.render.quantity import amount
from trmkit.spec.run import RunFile

KINDS: dict[str, Kind] = {
    kind.kind: kind for kind in (CONFIG_MAP, POD, PYTORCHJOB, TRAINJOB, TRMRUN, WORKFLOW, CRON_WORKFLOW)
}


def preflight(
    cluster: Cluster, run: RunFile, objects: list[Object], namespace: str, beside: RunFile | None = None
) -> tuple[list[str], list[str]]:
    """Return what would keep the run from starting, and what could not be found out. Nothing is changed.

    `beside` is the run file of a second job, whose pod counts against the quota, too.
    ClusterUnreachableError: the cluster does not answer. ClusterForbiddenError: this user may not make such jobs.
    """
    wrong, unknown = [], []
    for found in [*objects, pod(run, namespace)]:
        kind = KINDS[found["kind"]]
        try:
            cluster.create(kind, found, dry_run=True)
        except ClusterConflictError:
            continue
        except ClusterForbiddenError as error:
            if kind is not POD:
                raise
            unknown.append(f"whether its pods would be admitted: {error.message}")
        except ClusterUnreachableError:
            raise
        except ClusterError as error:
            wrong.append(error.message)
    questions = [named(cluster, run, namespace), quota(cluster, [run, *([beside] if beside else ())], namespace)]
    kinds = {found["kind"] for found in objects}
    if "TrainJob" in kinds:
        questions.append(runtime(cluster, run))
    if kinds & {"Workflow", "CronWorkflow"}:
        questions.append(template(cluster, objects[-1], namespace))
    for question in questions:
        for sure, line in question:
            (wrong if sure else unknown).append(line)
    return list(dict.fromkeys(wrong)), list(dict.fromkeys(unknown))


def pod(run: RunFile, namespace: str) -> Object:
    """Return a pod as the operator would make it, to be dry-run."""
    run_named = NamedRun.of(run)
    template = pod_template(run_named, container(run_named, PYTORCH_CONTAINER, train_command(), {}))
    about = {**template["metadata"], "name": f"{run_named.job}-preflight", "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": about,
        "spec": {**template["spec"], "restartPolicy": "Never"},
    }


def references(run: RunFile) -> Iterator[tuple[Kind, str, str]]:
    """Yield every object that the run file names: kind, name, and the key that names it."""
    cluster = run.cluster
    if cluster.storage_secret is not None:
        yield SECRET, cluster.storage_secret, "cluster.storage_secret"
    for entry in cluster.secret_env:
        yield SECRET, entry.secret, "cluster.secret_env"
    for name in cluster.image_pull_secrets:
        yield SECRET, name, "cluster.image_pull_secrets"
    for volume in cluster.volumes:
        if volume.kind == "pvc":
            yield CLAIM, volume.claim, "cluster.volumes"
        elif volume.kind == "configMap":
            yield CONFIG_MAP, volume.config_map, "cluster.volumes"
        elif volume.kind == "secret":
            yield SECRET, volume.secret, "cluster.volumes"
    if cluster.queue is not None:
        yield LOCAL_QUEUE, cluster.queue, "cluster.queue"


def named(cluster: Cluster, run: RunFile, namespace: str) -> Iterator[tuple[bool, str]]:
    """Yield what the run file names and the cluster has not; False: it could not be asked."""
    for kind, name, key in dict.fromkeys(references(run)):
        try:
            if cluster.get(kind, name, namespace) is None:
                yield True, f"{key}: there is no {kind.kind} {name!r} in namespace {namespace}"
        except ClusterForbiddenError:
            yield False, f"{key}: whether there is a {kind.kind} {name!r}: this user may not read it"
        except ClusterMissingError:
            yield True, f"{key}: this cluster knows no {kind.kind}; is Kueue installed?"


def runtime(cluster: Cluster, run: RunFile) -> Iterator[tuple[bool, str]]:
    """Yield what is wrong with the runtime of a TrainJob."""
    try:
        if cluster.get(RUNTIME, run.cluster.runtime) is None:
            yield (
                True,
                f"cluster.runtime: there is no ClusterTrainingRuntime {run.cluster.runtime!r};"
                " `trmctl render --runtime | kubectl apply -f -` makes ours",
            )
    except ClusterForbiddenError:
        yield False, f"cluster.runtime: whether there is a ClusterTrainingRuntime {run.cluster.runtime!r}"


def template(cluster: Cluster, found: Object, namespace: str) -> Iterator[tuple[bool, str]]:
    """Yield what is wrong with the template of a workflow."""
    spec = found["spec"].get("workflowSpec") or found["spec"]
    name = spec["workflowTemplateRef"]["name"]
    try:
        if cluster.get(WORKFLOW_TEMPLATE, name, namespace) is None:
            yield (
                True,
                f"there is no WorkflowTemplate {name!r} in namespace {namespace};"
                " `trmctl render --templates | kubectl apply -f -` makes ours",
            )
    except ClusterForbiddenError:
        yield False, f"whether there is a WorkflowTemplate {name!r}"


def quota(cluster: Cluster, runs: list[RunFile], namespace: str) -> Iterator[tuple[bool, str]]:
    """Yield the quotas that all pods together would exceed; a dry run only looks at one pod."""
    try:
        quotas = cluster.list(QUOTA, namespace)
    except ClusterForbiddenError:
        yield False, "whether the quota is enough: this user may not read it"
        return
    each, nodes = [asked(run) for run in runs], sum(run.cluster.nodes for run in runs)
    wanted = {name: sum((one.get(name, Decimal(0)) for one in each), Decimal(0)) for name in each[0]}
    for entry in quotas:
        status = entry.get("status") or {}
        for name, hard in (status.get("hard") or {}).items():
            need = wanted.get(name)
            used = Decimal(amount((status.get("used") or {}).get(name, "0")))
            if need is not None and used + need > amount(hard):
                about = f"{name}: {nodes} pods ask for {plain(need)}, {plain(used)} of {hard} are used"
                yield True, f"quota {entry['metadata']['name']} is too small for {about}"


def asked(run: RunFile) -> dict[str, Decimal]:
    """Return what all pods of the run ask for, by the names that quotas use."""
    resources: dict[str, Any] = container(NamedRun.of(run), PYTORCH_CONTAINER, (), {})["resources"]
    nodes = run.cluster.nodes
    whole = {name: amount(value) * nodes for name, value in resources["requests"].items()}
    named_too = {name: whole[name] for name in ("cpu", "memory") if name in whole}
    requests = {f"requests.{name}": value for name, value in whole.items()}
    limits = {f"limits.{name}": value for name, value in whole.items() if "/" not in name}
    return {**named_too, **requests, **limits, "pods": Decimal(nodes), "count/pods": Decimal(nodes)}


def plain(number: Decimal) -> str:
    """Return a quantity without an exponent."""
    for suffix, size in (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20)):
        if number >= size and number % size == 0:
            return f"{number // size}{suffix}"
    return f"{number.normalize():f}"
