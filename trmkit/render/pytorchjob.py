"""Run file to a PyTorchJob of the Kubeflow Training Operator (`kubeflow.org/v1`).

Workers only, without `elasticPolicy`: with it the job counts as done as soon as any worker is, and with a Master the
operator adds a container that PodSecurity `restricted` refuses. So the rendezvous is ours. `restartPolicy: ExitCode`
lets the operator start a pod again when it exits with 128 or more, which `trainer.launch` does exactly when another
try makes sense; `backoffLimit` does nothing with it, so the launcher counts the tries.
"""

from collections.abc import Sequence
from typing import Any

from trmkit.render.names import PYTORCH_CONTAINER, NamedRun
from trmkit.render.pod import container, given, pod_template, train_command
from trmkit.spec.cluster import ClusterSection
from trmkit.stages import NAMES

API_VERSION = "kubeflow.org/v1"
RENDEZVOUS_PORT = 23456
"""Port that the operator opens in the Service of each worker."""
LAST_RESORT_SECONDS = 7 * 86400
"""How much later than the launcher the operator ends a run, should the launcher hang: it counts waiting, too."""


def pytorchjob(named: NamedRun, metadata: dict[str, Any], stages: Sequence[str] = NAMES) -> dict[str, Any]:
    """Return the run's PyTorchJob. SpecError: the run file asks for what a pod cannot have."""
    cluster = named.run.cluster
    worker = container(named, PYTORCH_CONTAINER, train_command(stages), rendezvous(named))
    return {
        "apiVersion": API_VERSION,
        "kind": "PyTorchJob",
        "metadata": metadata,
        "spec": {
            "nprocPerNode": str(max(1, cluster.gpus_per_node)),
            "runPolicy": run_policy(cluster),
            "pytorchReplicaSpecs": {
                "Worker": {
                    "replicas": cluster.nodes,
                    "restartPolicy": "ExitCode",
                    "template": pod_template(named, worker),
                }
            },
        },
    }


def run_policy(cluster: ClusterSection) -> dict[str, Any]:
    """Return what becomes of the job when it ends, and how its pods are scheduled together."""
    deadline = cluster.deadline_seconds
    return {
        "cleanPodPolicy": "Running",
        **given(
            ttlSecondsAfterFinished=cluster.ttl_seconds,
            activeDeadlineSeconds=deadline and deadline + cluster.grace_seconds + LAST_RESORT_SECONDS,
            schedulingPolicy=gang(cluster),
        ),
    }


def gang(cluster: ClusterSection) -> dict[str, Any]:
    """Return the scheduling policy by which Volcano or the coscheduling plugin starts all pods or none."""
    if cluster.gang == "none":
        return {}
    return {
        "minAvailable": cluster.nodes,
        "scheduleTimeoutSeconds": cluster.rendezvous_seconds,
        **given(priorityClass=cluster.priority_class),
    }


def rendezvous(named: NamedRun) -> dict[str, str]:
    """Return how torchrun's agents find each other: at the first worker; a single one needs no name service."""
    name, cluster = named.job, named.run.cluster
    return {
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ENDPOINT": f"{name}-worker-0:{RENDEZVOUS_PORT}" if cluster.nodes > 1 else "localhost:0",
        "PET_RDZV_ID": name,
        "PET_RDZV_CONF": f"join_timeout={cluster.rendezvous_seconds}",
        "PET_MAX_RESTARTS": "0",
    }
