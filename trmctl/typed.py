"""Manifests through the typed models of the operators' own Python packages: a second opinion on every field."""

from typing import Any

from trmkit.errors import TrmError


def typed_problems(found: dict[str, Any]) -> list[str]:
    """Return what an operator's typed model does not take of an object; nothing for kinds that have none.

    TrmError: the operator's package is not installed.
    """
    models = {"PyTorchJob": through_pytorchjob, "TrainJob": through_trainjob, "ClusterTrainingRuntime": through_runtime}
    model = models.get(str(found.get("kind")))
    if model is None:
        return []
    try:
        back = model(found)
    except ImportError:
        raise TrmError(
            "the operators' Python packages are not installed", next="pip install 'trmctl[cluster]'"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        return [f"{found['kind']}: {error}"]
    return [f"{line}: lost by the typed model: no such field" for line in differences(found, back, "")]


def through_pytorchjob(found: dict[str, Any]) -> Any:
    """Return a PyTorchJob as `kubeflow-training` understands it."""
    import json
    from types import SimpleNamespace

    from kubeflow.training import ApiClient, KubeflowOrgV1PyTorchJob

    client = ApiClient()
    typed = client.deserialize(SimpleNamespace(data=json.dumps(found)), KubeflowOrgV1PyTorchJob)
    return client.sanitize_for_serialization(typed)


def through_trainjob(found: dict[str, Any]) -> Any:
    """Return a TrainJob as `kubeflow-trainer-api` understands it."""
    from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob as TrainJob

    return plain(TrainJob.from_dict(found))


def through_runtime(found: dict[str, Any]) -> Any:
    """Return a ClusterTrainingRuntime as `kubeflow-trainer-api` understands it."""
    from kubeflow_trainer_api.models import trainer_v1alpha1_cluster_training_runtime as module

    return plain(module.TrainerV1alpha1ClusterTrainingRuntime.from_dict(found))


def plain(typed: Any) -> Any:
    """Return a typed model as JSON says it."""
    return typed.to_dict() if typed is not None else {}


def differences(before: Any, after: Any, path: str) -> list[str]:
    """Return the paths at which `after` lacks something of `before`; what a model adds is a default, and no loss."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [line for key in before for line in differences(before[key], after.get(key), f"{path}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for number, (one, two) in pairs for line in differences(one, two, f"{path}[{number}]")]
    same = before == after or (before in ({}, [], None) and after in ({}, [], None))
    return [] if same else [path.lstrip(".")]
