"""The ClusterTrainingRuntime behind every TrainJob of ours: a gang that is started again as a whole, or fails for good.

Trainer's own runtimes start only the lost pod again, beside others that wait in a rendezvous that is over.
"""

from typing import Any

from trmkit.render.names import MANAGED_BY, MANAGER, METRICS_PORT, TRAINJOB_CONTAINER
from trmkit.render.pod import CONTAINER_SECURITY, POD_SECURITY, WORK, spread_over_machines, train_command
from trmkit.render.trainjob import API_VERSION, OWN_RUNTIME, REPLICATED_JOB

PERMANENT = list(range(1, 128))
"""Exit codes after which another try makes no sense, as for a PyTorchJob: below 128 no signal ended it."""
MAX_RESTARTS = 100
"""A limit for what never gets as far as the launcher, which counts the tries itself."""
LABELS = {"app.kubernetes.io/name": "trm", "app.kubernetes.io/component": "trainer"}
"""Labels of every training pod."""
JOBSET = "jobset.sigs.k8s.io/jobset-name"


def runtime(image: str = "trm:latest") -> dict[str, Any]:
    """Return the runtime; `image` is what pods run whose TrainJob names none."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ClusterTrainingRuntime",
        "metadata": {
            "name": OWN_RUNTIME,
            "labels": {
                "app.kubernetes.io/name": "trm",
                MANAGED_BY: MANAGER,
                "trainer.kubeflow.org/framework": "torch",
            },
        },
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {
                "spec": {
                    "failurePolicy": {
                        "maxRestarts": MAX_RESTARTS,
                        "rules": [
                            {
                                "name": "permanent",
                                "action": "FailJobSet",
                                "onJobFailureReasons": ["PodFailurePolicy"],
                            }
                        ],
                    },
                    "replicatedJobs": [{"name": REPLICATED_JOB, "template": job(image)}],
                }
            },
        },
    }


def job(image: str) -> dict[str, Any]:
    """Return the Job whose pods train together."""
    exits = {"containerName": TRAINJOB_CONTAINER, "operator": "In", "values": PERMANENT}
    return {
        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": exits}]},
            "template": {"metadata": {"labels": LABELS}, "spec": pod(image)},
        },
    }


def pod(image: str) -> dict[str, Any]:
    """Return the pods' spec, as far as it is the same for every run."""
    selector = {"labelSelector": {"matchLabels": LABELS}, "matchLabelKeys": [JOBSET]}
    return {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "topologySpreadConstraints": [spread_over_machines(True, selector)],
        "securityContext": POD_SECURITY,
        "containers": [
            {
                "name": TRAINJOB_CONTAINER,
                "image": image,
                "command": train_command(),
                "workingDir": WORK,
                "ports": [{"name": "metrics", "containerPort": METRICS_PORT}],
                "securityContext": CONTAINER_SECURITY,
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }
        ],
    }
