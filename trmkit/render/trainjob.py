"""Run file to a TrainJob of Kubeflow Trainer v2 (`trainer.kubeflow.org/v1alpha1`).

A TrainJob names a runtime, and may patch only a part of its pods. What it may not patch (ports, shared memory of any
kind, one pod a machine, how failures are counted) is in the ClusterTrainingRuntime of `trmkit.render.runtime`.
"""

from collections.abc import Sequence
from typing import Any

from trmkit.errors import SpecError
from trmkit.render.names import TRAINJOB_CONTAINER, NamedRun
from trmkit.render.pod import (
    environment,
    given,
    mounts,
    pod_metadata,
    resources,
    tolerations,
    train_command,
    volumes,
)
from trmkit.render.pytorchjob import LAST_RESORT_SECONDS
from trmkit.spec.cluster import ClusterSection
from trmkit.stages import NAMES

API_VERSION = "trainer.kubeflow.org/v1alpha1"
MANAGER = "trm.dev/trmctl"
"""Who patches the runtime; the webhook wants a domain and a path."""
REPLICATED_JOB = "node"
OWN_RUNTIME = "trm"
"""The runtime that this project brings."""


def trainjob(named: NamedRun, metadata: dict[str, Any], stages: Sequence[str] = NAMES) -> dict[str, Any]:
    """Return the run's TrainJob. SpecError: the run file asks for what only a runtime of its own could give."""
    cluster = named.run.cluster
    refuse_what_a_runtime_decides(cluster)
    deadline = cluster.deadline_seconds
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainJob",
        "metadata": metadata,
        "spec": {
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org",
                "kind": "ClusterTrainingRuntime",
                "name": cluster.runtime,
            },
            **given(activeDeadlineSeconds=deadline and deadline + cluster.grace_seconds + LAST_RESORT_SECONDS),
            "trainer": {
                "image": cluster.image,
                "command": train_command(stages),
                "env": environment(named, {"PET_RDZV_CONF": f"timeout={cluster.rendezvous_seconds}"}),
                "numNodes": cluster.nodes,
                "numProcPerNode": max(1, cluster.gpus_per_node),
                "resourcesPerNode": resources(named),
            },
            "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": patch(named)}],
        },
    }


def patch(named: NamedRun) -> dict[str, Any]:
    """Return the run's changes to the pods of the runtime."""
    cluster = named.run.cluster
    pod = {
        **given(nodeSelector=dict(cluster.node_selector), tolerations=tolerations(cluster)),
        **given(serviceAccountName=cluster.service_account),
        **given(imagePullSecrets=[{"name": name} for name in cluster.image_pull_secrets]),
        "terminationGracePeriodSeconds": cluster.grace_seconds,
        "containers": [{"name": TRAINJOB_CONTAINER, "volumeMounts": mounts(named)}],
        "volumes": volumes(named),
    }
    job = {"name": REPLICATED_JOB, "template": {"spec": {"template": {"metadata": pod_metadata(named), "spec": pod}}}}
    return {"template": {"spec": {"replicatedJobs": [job]}}}


def refuse_what_a_runtime_decides(cluster: ClusterSection) -> None:
    """Raise SpecError for keys that a TrainJob cannot carry, unless the runtime is the user's own and may have them."""
    asked = {
        "priority_class": cluster.priority_class is not None,
        "gang": cluster.gang != "none",
        "spread": cluster.spread != "required",
        "image_pull_policy": cluster.image_pull_policy != "IfNotPresent",
    }
    wrong = [f"cluster.{key}" for key, is_asked in asked.items() if is_asked]
    if wrong and cluster.runtime == OWN_RUNTIME:
        raise SpecError(
            f"{', '.join(wrong)}: a TrainJob cannot carry it, its runtime decides",
            next="use cluster.backend: pytorchjob, or name a ClusterTrainingRuntime that has it in cluster.runtime",
        )
