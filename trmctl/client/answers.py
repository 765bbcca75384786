"""What an API server answers, turned into our errors: pure, so that every answer seen can be a test."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from trmctl.output import plain
from trmkit.errors import (
    ClusterConflictError,
    ClusterError,
    ClusterForbiddenError,
    ClusterMissingError,
    ClusterNotReadyError,
    ClusterRefusedError,
    ClusterUnreachableError,
)

AGAIN = {408, 409, 429, 500, 502, 503, 504}
"""Statuses after which the same question may get an answer."""
LONGEST = 2000
WEBHOOKS = {
    "training-operator": "the Training Operator is down or starting",
    "jobset": "the JobSet controller is down or starting",
    "trainer": "the Kubeflow Trainer is down or starting",
    "kueue": "Kueue is down or starting",
    "argo": "Argo is down or starting",
}
NEXT = {
    "violates PodSecurity": "render again with this version, or ask for a namespace with a lower PodSecurity level",
    "quota": "ask for less in `cluster`, or free some: kubectl describe quota",
    "no PriorityClass": "correct cluster.priority_class; kubectl get priorityclass lists them",
    "error looking up service account": "correct cluster.service_account, or have it made",
    "is being terminated": "wait until the namespace is gone, or take another",
    "strict decoding error": "the cluster's version of this kind lacks that field; trmctl doctor compares versions",
}


@dataclass(frozen=True)
class Answer:
    """An answer of an API server, or of something in front of it."""

    status: int
    """HTTP status; 0: there was none."""
    text: str
    headers: Mapping[str, str]
    """With names in lower case."""

    @property
    def message(self) -> str:
        """What it says, for a person; a Status object's message where it is one."""
        try:
            found = json.loads(self.text)
        except ValueError:
            found = None
        said = found.get("message") if isinstance(found, dict) else None
        return plain(str(said or self.text).strip() or f"HTTP {self.status}")[:LONGEST]

    @property
    def reason(self) -> str:
        """A Status object's reason, as `AlreadyExists`; some have none."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return ""
        return str(found.get("reason") or "") if isinstance(found, dict) else ""

    @property
    def retry_after(self) -> float | None:
        """Seconds it asks us to wait."""
        try:
            return max(0.0, float(self.headers.get("retry-after", "")))
        except ValueError:
            return None

    @property
    def webhook_down(self) -> str:
        """Who is down when an admission webhook could not be called; empty: that is not what happened."""
        if self.status not in (500, 503, 504) or "failed calling webhook" not in self.message:
            return ""
        called = self.message.partition("failed calling webhook")[2]
        return next((text for part, text in WEBHOOKS.items() if part in called), "an admission webhook is down")


def error(answer: Answer, doing: str) -> ClusterError:
    """Return the error that an answer means; `doing` says what was asked, as `create pytorchjobs demo`."""
    said, text = answer.message, f"{doing}: {answer.message}"
    if answer.webhook_down:
        return ClusterUnreachableError(
            f"{answer.webhook_down}; {text}", next="trmctl doctor says more; ask who runs the cluster, or wait"
        )
    if answer.status == 401:
        return ClusterForbiddenError(f"{doing}: the cluster does not know you: {said}", next="log in to it again")
    if answer.status == 403:
        if _is_about_rights(said):
            return ClusterForbiddenError(text, next="ask for this right; trmctl doctor lists all that are needed")
        return ClusterRefusedError(text, next=_next(said))
    if answer.status == 404:
        return ClusterMissingError(text, next="check the name, and -n and --context")
    if answer.status == 409:
        return ClusterConflictError(text, next="look what is there: trmctl status")
    if answer.status == 400 and ("waiting to start" in said or "ContainerCreating" in said):
        return ClusterNotReadyError(text, next="wait for it: trmctl logs -f")
    if answer.status == 400 and "previous terminated container" in said:
        return ClusterMissingError(text, next="the pod was not restarted in place; leave out --previous")
    if 400 <= answer.status < 500 and answer.status not in AGAIN | {410}:
        return ClusterRefusedError(text, next=_next(said))
    return ClusterUnreachableError(text, next="try again; trmctl doctor checks the cluster")


def _is_about_rights(said: str) -> bool:
    """Tell RBAC, whose text is `User "x" cannot create resource "y"`, from admission, which has the same status."""
    return "admission webhook" not in said and (" cannot " in said or "RBAC" in said)


def _next(said: str) -> str:
    return next((text for part, text in NEXT.items() if part in said), "correct the run file; trmctl render shows it")
