"""The pod in which a run trains: the same for every kind of job, and admitted under PodSecurity `restricted`."""

from collections.abc import Sequence
from typing import Any

from trmkit.errors import SpecError
from trmkit.render.fabric import FABRICS, Fabric
from trmkit.render.names import JOB, METRICS_PORT, RUN_FILE_KEY, NamedRun
from trmkit.render.quantity import amount
from trmkit.spec.cluster import ClusterSection, Volume
from trmkit.stages import NAMES

USER = 10001
"""User and group of the image. It owns nothing and may write nowhere but in the volumes below."""
RUN_FILE = f"/etc/trm/{RUN_FILE_KEY}"
WORK = "/scratch"
"""Working directory: where a relative `storage.path` and `storage.data` lead. It goes away with the pod."""
RESERVED = ("PET_", "TRM_ATTEMPT", "TRM_JOB", "TRM_METRICS_PORT", "TRM_NAMESPACE", "TRM_TERMINATION_LOG")
"""Environment variables that are the job's own begin like this."""
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": False, "AWS_SECRET_ACCESS_KEY": False, "AWS_SESSION_TOKEN": True,
    "AWS_ENDPOINT_URL_S3": True, "AWS_REGION": True,
}  # fmt: skip
"""Keys of `cluster.storage_secret`, and whether they may be missing."""
POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
}  # fmt: skip


def pod_template(named: NamedRun, container: dict[str, Any]) -> dict[str, Any]:
    """Return the template of the run's pods around its one container."""
    return {"metadata": pod_metadata(named), "spec": pod_spec(named, container)}


def pod_metadata(named: NamedRun) -> dict[str, Any]:
    """Return labels and annotations of the run's pods."""
    annotations = {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        **FABRICS[named.run.cluster.fabric].annotations,
        **named.run.cluster.annotations,
    }
    return {"labels": {**named.labels, "app.kubernetes.io/component": "trainer"}, "annotations": annotations}


def pod_spec(named: NamedRun, container: dict[str, Any]) -> dict[str, Any]:
    """Return the spec of the run's pods around its one container."""
    cluster = named.run.cluster
    return {
        **placement(named),
        "terminationGracePeriodSeconds": cluster.grace_seconds,
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        **given(serviceAccountName=cluster.service_account, priorityClassName=cluster.priority_class),
        **given(imagePullSecrets=[{"name": name} for name in cluster.image_pull_secrets]),
        "securityContext": POD_SECURITY,
        "containers": [container],
        "volumes": volumes(named),
    }


def placement(named: NamedRun) -> dict[str, Any]:
    """Return on which machines the pods may run: tolerations, selector, one pod a machine."""
    cluster = named.run.cluster
    spread = []
    if cluster.nodes > 1 and cluster.spread != "none":
        hard = cluster.spread == "required"
        spread.append(spread_over_machines(hard, {"labelSelector": {"matchLabels": {JOB: named.job}}}))
    return given(
        nodeSelector=dict(cluster.node_selector), tolerations=tolerations(cluster), topologySpreadConstraints=spread
    )


def spread_over_machines(hard: bool, selector: dict[str, Any]) -> dict[str, Any]:
    """Return the constraint that no machine has two pods of a run while another that may be used has none."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule" if hard else "ScheduleAnyway",
        "nodeAffinityPolicy": "Honor",
        "nodeTaintsPolicy": "Honor",
        **selector,
    }


def tolerations(cluster: ClusterSection) -> list[dict[str, Any]]:
    """Return the tolerations, with that of the GPU's own taint."""
    gpu = [{"key": cluster.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}] if cluster.gpus_per_node else []
    return gpu + [given(**entry.model_dump()) for entry in cluster.tolerations]


def container(named: NamedRun, name: str, command: Sequence[str], env: dict[str, str]) -> dict[str, Any]:
    """Return the trainer's container: `command` in the image, with `env` of the job below that of the run file."""
    cluster = named.run.cluster
    return {
        "name": name,
        "image": cluster.image,
        "imagePullPolicy": cluster.image_pull_policy,
        "command": list(command),
        "workingDir": WORK,
        "env": environment(named, env),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT}],
        "resources": resources(named),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(named),
    }


def train_command(stages: Sequence[str] = NAMES) -> list[str]:
    """Return what the pods of a run execute."""
    chosen = [] if tuple(stages) == NAMES else ["--stages", ",".join(stages)]
    return ["python", "-m", "trainer.launch", "-m", "trainer", "run", RUN_FILE, *chosen]


def environment(named: NamedRun, own: dict[str, str]) -> list[dict[str, Any]]:
    """Return the container's environment. SpecError: the run file sets a variable that is the job's own."""
    cluster = named.run.cluster
    secret = {entry.name: (entry.secret, entry.key, False) for entry in cluster.secret_env}
    for name in [*cluster.env, *secret]:
        if name.startswith(RESERVED):
            raise SpecError(
                f"cluster.env: {name} is set by the job", next="leave it out; cluster.* has a key for what it does"
            )
    credentials = {}
    if cluster.storage_secret is not None:
        credentials = {key: (cluster.storage_secret, key, optional) for key, optional in CREDENTIALS.items()}
    plain = {
        "HOME": "/tmp",
        "PYTHONUNBUFFERED": "1",
        "TRM_IMAGE": cluster.image,
        "OMP_NUM_THREADS": str(threads(cluster)),
        **FABRICS[cluster.fabric].env,
        **cluster.env,
        "TRM_JOB": named.job,
        "TRM_METRICS_PORT": str(METRICS_PORT),
        **own,
    }
    known = {"name": "TRM_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
    hidden = {name: entry for name, entry in {**credentials, **secret}.items() if name not in plain}
    return (
        [{"name": name, "value": value} for name, value in plain.items()]
        + [known]
        + [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": of, "key": key, **given(optional=optional or None)}}}
            for name, (of, key, optional) in hidden.items()
        ]
    )


def threads(cluster: ClusterSection) -> int:
    """Return the CPU threads of each process; a container sees the machine's CPUs, not its own share."""
    return max(1, int(amount(cluster.cpu)) // max(1, cluster.gpus_per_node))


def resources(named: NamedRun) -> dict[str, Any]:
    """Return what a pod gets: requests equal limits, so that it is among the last to be evicted."""
    cluster = named.run.cluster
    fabric: Fabric = FABRICS[cluster.fabric]
    wanted = {
        "cpu": cluster.cpu,
        "memory": cluster.memory,
        **given(**{"ephemeral-storage": cluster.ephemeral_storage}),
        **({cluster.gpu_resource: str(cluster.gpus_per_node)} if cluster.gpus_per_node else {}),
        **(fabric.resources if cluster.nodes > 1 else {}),
        **cluster.resources,
    }
    return {"requests": wanted, "limits": dict(wanted)}


def volumes(named: NamedRun) -> list[dict[str, Any]]:
    """Return the pod's volumes: the run file, scratch space, shared memory, and those of the run file."""
    cluster = named.run.cluster
    shm = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": cluster.shm}}] if cluster.shm else []
    return [
        {"name": "run-file", "configMap": {"name": named.job}},
        {"name": "work", "emptyDir": given(sizeLimit=cluster.scratch)},
        {"name": "tmp", "emptyDir": given(sizeLimit=cluster.tmp)},
        *shm,
        *(volume(entry) for entry in cluster.volumes),
    ]


def volume(entry: Volume) -> dict[str, Any]:
    """Return a volume of the run file as Kubernetes writes it."""
    if entry.kind == "pvc":
        source = {"persistentVolumeClaim": {"claimName": entry.claim, **given(readOnly=entry.read_only or None)}}
    elif entry.kind == "emptyDir":
        medium = "Memory" if entry.memory else None
        source = {"emptyDir": given(medium=medium, sizeLimit=entry.size_limit)}
    elif entry.kind == "configMap":
        source = {"configMap": {"name": entry.config_map}}
    else:
        source = {"secret": {"secretName": entry.secret}}
    return {"name": entry.name, **source}


def mounts(named: NamedRun) -> list[dict[str, Any]]:
    """Return where the container sees its volumes. SpecError: one of the run file hides one of ours."""
    own = {
        "run-file": "/etc/trm",
        "work": WORK,
        "tmp": "/tmp",
        **({"shm": "/dev/shm"} if named.run.cluster.shm else {}),
    }
    for entry in named.run.cluster.volumes:
        if entry.name in own or entry.mount_path.rstrip("/") in own.values():
            raise SpecError(
                f"cluster.volumes: {entry.name} at {entry.mount_path}: the name or the path is the job's own",
                next=f"take another than {', '.join(f'{name} ({path})' for name, path in own.items())}",
            )
    return [
        {"name": name, "mountPath": path, **given(readOnly=name == "run-file" or None)} for name, path in own.items()
    ] + [
        {
            "name": entry.name,
            "mountPath": entry.mount_path,
            **given(subPath=getattr(entry, "sub_path", None), readOnly=read_only(entry) or None),
        }
        for entry in named.run.cluster.volumes
    ]


def read_only(entry: Volume) -> bool:
    """Say whether a volume may not be written."""
    return entry.kind in ("configMap", "secret") or (entry.kind == "pvc" and entry.read_only)


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that have something in them."""
    return {name: value for name, value in fields.items() if value is not None and value != [] and value != {}}
