"""What a pod says of itself, in our words: its rank, how its container is, how it ended."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trmctl.cluster import Object
from trmkit.render.names import PYTORCH_CONTAINER, TRAINJOB_CONTAINER

RANKS = ("training.kubeflow.org/replica-index", "batch.kubernetes.io/job-completion-index")
CONTAINERS = (PYTORCH_CONTAINER, TRAINJOB_CONTAINER, "main")
"""The trainer's container in a PyTorchJob, a TrainJob, a step of a workflow."""
RETRYABLE = {
    "PeerLost", "Stalled", "RendezvousTimeout", "Preempted", "Killed", "BrokenGpu", "StoreUnavailable",
}  # fmt: skip
"""Reasons of the launcher after which the same run, started again, may succeed."""


@dataclass(frozen=True)
class Ending:
    """How a container ended."""

    exit: int
    reason: str
    """OutOfMemory, one of the launcher's reasons, or what Kubernetes calls it."""
    message: str
    step: int | None
    at: float | None
    """Seconds since 1970."""


def rank(pod: Object) -> int:
    """Return the number of the pod among those of its run; 0 where it has none."""
    labels = about(pod).get("labels") or {}
    return next((int(labels[name]) for name in RANKS if str(labels.get(name, "")).isdigit()), 0)


def mark(pod: Object) -> str:
    """Return what to put before the pod's lines: `rank N`, or in a workflow the name of its step."""
    step = (about(pod).get("annotations") or {}).get("workflows.argoproj.io/node-name")
    return str(step).rpartition(".")[2] if step else f"rank {rank(pod)}"


def about(body: Object) -> dict[str, Any]:
    """Return the metadata of an object."""
    return body.get("metadata") or {}


def name(body: Object) -> str:
    """Return the name of an object."""
    return str(about(body).get("name", ""))


def uid(body: Object) -> str:
    """Return what tells an object from another one that had its name."""
    return str(about(body).get("uid", ""))


def phase(pod: Object) -> str:
    """Return the pod's phase, as Kubernetes has it."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def container(pod: Object) -> str:
    """Return the name of the trainer's container."""
    known = [str(one.get("name", "")) for one in (pod.get("spec") or {}).get("containers") or ()]
    return next((one for one in CONTAINERS if one in known), known[0] if known else PYTORCH_CONTAINER)


def own_status(pod: Object) -> dict[str, Any]:
    """Return the status of the trainer's container; empty: it has none yet."""
    wanted = container(pod)
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((one for one in statuses if one.get("name") == wanted), {})


def statuses(pod: Object) -> list[dict[str, Any]]:
    """Return the status of every container, those that run before the others first."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def waiting(pod: Object) -> tuple[str, str]:
    """Return reason and message of the first container that waits; empty: none does."""
    for one in statuses(pod):
        found = (one.get("state") or {}).get("waiting")
        if found:
            return str(found.get("reason") or ""), str(found.get("message") or "")
    return "", ""


def is_running(pod: Object) -> bool:
    """Say whether the trainer's container runs, in a pod that nobody is deleting."""
    return "running" in (own_status(pod).get("state") or {}) and not is_leaving(pod)


def has_started(pod: Object) -> bool:
    """Say whether the trainer's container runs or ran, so that there is a log."""
    return bool({"running", "terminated"} & set(own_status(pod).get("state") or {}))


def is_leaving(pod: Object) -> bool:
    """Say whether the pod is being deleted."""
    return bool(about(pod).get("deletionTimestamp"))


def is_over(pod: Object) -> bool:
    """Say whether the pod has ended."""
    return phase(pod) in ("Succeeded", "Failed")


def unscheduled(pod: Object) -> str:
    """Return why no machine takes the pod; empty: one has."""
    for one in (pod.get("status") or {}).get("conditions") or ():
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            return str(one.get("message") or one.get("reason") or "not scheduled")
    return ""


def restarts(pod: Object) -> int:
    """Return how often the trainer's container was started again in this pod."""
    return int(own_status(pod).get("restartCount") or 0)


def ending(pod: Object) -> Ending | None:
    """Return how the trainer's container ended, or ended the last time; None: it never has."""
    status = own_status(pod)
    found = (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get("terminated")
    return parse_ending(found) if found else None


def parse_ending(found: dict[str, Any]) -> Ending:
    """Return what a `terminated` state means; the launcher's last words are one line of JSON, others' are anything."""
    text = str(found.get("message") or "")
    code = int(found.get("exitCode") or 0)
    reason, message, step = str(found.get("reason") or ""), text, None
    said = last_words(text)
    if said is not None:
        reason, message = str(said.get("reason") or reason), str(said.get("message") or "")
        step = said["step"] if isinstance(said.get("step"), int) else None
    if found.get("reason") == "OOMKilled":
        reason = "OutOfMemory"
    return Ending(code, reason, message, step, seconds(found.get("finishedAt")))


def last_words(text: str) -> dict[str, Any] | None:
    """Return the launcher's JSON in a termination message: the last line that is some."""
    for line in reversed(text.splitlines()):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict) and "exit" in said:
            return said
    return None


def by_rank(pods: Iterable[Object]) -> list[Object]:
    """Return pods in the order of their ranks, of each rank the newest last."""
    return sorted(pods, key=lambda pod: (rank(pod), str(about(pod).get("creationTimestamp", "")), name(pod)))


def seconds(stamp: Any) -> float | None:
    """Return a time as Kubernetes writes it in seconds since 1970; None: it is none."""
    try:
        return datetime.fromisoformat(str(stamp)).timestamp()
    except ValueError:
        return None
