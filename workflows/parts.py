"""What the steps of every pipeline have in common. Needs Hera."""

import json
from collections.abc import Sequence

from hera.workflows import Container, Parameter, RetryStrategy
from hera.workflows import models as m

from trmkit.render.base import LABELS, STEP
from trmkit.render.pod import CONTAINER_SECURITY, POD_SECURITY, RUN_FILE, WORK
from trmkit.render.workflow import NOTIFY_SECRET, RUN, TRMCTL_IMAGE
from workflows.outputs import OUTPUTS

RETRIES = "3"
AGAIN = (
    "lastRetry.status == 'Error' || asInt(lastRetry.exitCode) < 0 || asInt(lastRetry.exitCode) in [3, 6]"
    " || asInt(lastRetry.exitCode) >= 128"
)
"""Another try makes sense after what our exit codes call retryable or unreachable, a signal, a lost pod (code -1)."""
OURS = ("allowPrivilegeEscalation", "capabilities")
EXECUTOR = {
    "securityContext": {key: CONTAINER_SECURITY[key] for key in OURS},
    "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"}},
}
"""What Argo's own containers get: without, PodSecurity restricted and quotas refuse the pods of every step."""
SUBMIT = [
    "trmctl", "submit", "-c", RUN_FILE, "--direct", "--yes", "--wait", "--follow", "--if-exists", "adopt",
    "--on-signal", "delete", "--outputs", OUTPUTS,
]  # fmt: skip
SMALL = m.ResourceRequirements.model_validate(
    {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}
)
"""For steps that only talk to the cluster or the store."""


def given(name: str) -> str:
    """Return how a template reads a parameter of its workflow."""
    return f"{{{{workflow.parameters.{name}}}}}"


def again() -> RetryStrategy:
    """Return when a step is tried again: waiting longer each time, never for what would only fail again."""
    return RetryStrategy(
        limit=RETRIES,
        retry_policy="Always",
        expression=AGAIN,
        backoff=m.Backoff.model_validate({"duration": "10s", "factor": 2}),  # maxDuration counts from the first try
    )


def step(
    name: str,
    command: Sequence[str],
    *,
    image: str,
    inputs: Sequence[Parameter] = (),
    outputs: Sequence[str] = (),
    env: Sequence[m.EnvVar] = (),
    patch: str | None = None,
    account: str = STEP,
) -> Container:
    """Return a step: `command` in the image that a parameter names, in a pod that passes PodSecurity restricted.

    Every output has a default, so that what a skipped step would have said is never missing. `patch` is the parameter
    with what the run file asks of the pod. Only a step that hands in jobs runs under an `account` that may.
    """
    return Container(
        name=name,
        service_account_name=account,
        image=given(image),
        command=list(command),
        working_dir=WORK,
        inputs=list(inputs),
        outputs=[Parameter(name=one, value_from=m.ValueFrom(path=f"{OUTPUTS}/{one}", default="")) for one in outputs],
        env=[m.EnvVar(name="HOME", value="/tmp"), m.EnvVar(name="PYTHONUNBUFFERED", value="1"), *env],
        resources=SMALL,
        retry_strategy=again(),
        security_context=m.SecurityContext.model_validate(CONTAINER_SECURITY),
        volume_mounts=[
            m.VolumeMount(name="run-file", mount_path=RUN_FILE.rpartition("/")[0], read_only=True),
            m.VolumeMount(name="work", mount_path=WORK),
            m.VolumeMount(name="tmp", mount_path="/tmp"),
        ],
        pod_spec_patch=given(patch) if patch else None,
    )


def common(name: str) -> dict[str, object]:
    """Return what is the same for every WorkflowTemplate."""
    return {
        "name": name,
        "labels": dict(LABELS),
        "service_account_name": STEP,
        "pod_spec_patch": json.dumps(
            {
                "initContainers": [{"name": "init", **EXECUTOR}],
                "containers": [{"name": "wait", **EXECUTOR}],
            }
        ),
        "automount_service_account_token": True,
        "security_context": m.PodSecurityContext.model_validate(POD_SECURITY),
        "volumes": [
            m.Volume(name="run-file", config_map=m.ConfigMapVolumeSource(name=given(RUN))),
            m.Volume(name="work", empty_dir=m.EmptyDirVolumeSource()),
            m.Volume(name="tmp", empty_dir=m.EmptyDirVolumeSource()),
        ],
        "on_exit": "notify",
    }


def notify() -> Container:
    """Return the step at the very end, whatever came of the rest: it tells a webhook, where there is one."""
    address = m.SecretKeySelector(name=given(NOTIFY_SECRET), key="url", optional=True)
    return step(
        "notify",
        [
            "python", "-m", "workflows.notify", "{{workflow.name}}", "{{workflow.namespace}}", "{{workflow.status}}",
            "{{workflow.duration}}", "{{workflow.failures}}",
        ],
        image=TRMCTL_IMAGE,
        env=[m.EnvVar(name="NOTIFY_URL", value_from=m.EnvVarSource(secret_key_ref=address))],
    )  # fmt: skip
