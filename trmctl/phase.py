"""How a run in a cluster is doing: the states of PyTorchJobs, TrainJobs and workflows in one word of ours. Pure.

Conditions are read by type, never by order: Kubernetes keeps what was true before. What a job says of itself is not
enough: a PyTorchJob says Running when one of many pods does, so where pods are known they count too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from trmctl import pods as p
from trmctl.cluster import Object

QUEUE = "kueue.x-k8s.io/queue-name"
"""Label of a job that waits in a Kueue queue."""
FIRST_SIGNAL = 128
"""Exit codes from here on say that a signal, or the launcher in its place, ended a process: again may help."""
PAUSED = "trm.dev/paused"
"""Annotation of a job that `trmctl pause` stopped: when. Kueue suspends jobs that wait, so suspended is not paused."""


class Phase(StrEnum):
    """Where a run is between being handed in and being over."""

    QUEUED = "Queued"
    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    STOPPING = "Stopping"
    PAUSED = "Paused"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DELETING = "Deleting"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class State:
    """A phase, and why."""

    phase: Phase
    reason: str = ""
    message: str = ""
    since: float | None = None
    """Seconds since 1970; None: not known."""
    again: bool = False
    """Whether a run that failed may succeed when it is started once more."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in (Phase.SUCCEEDED, Phase.FAILED)

    @property
    def exit_code(self) -> int:
        """What a command that waited for the run leaves with: 0 done, 1 failed, 6 again may help."""
        if self.phase == Phase.SUCCEEDED:
            return 0
        return 6 if self.again else 1


NOT_TAKEN_UP = State(Phase.PENDING, "NotTakenUp", "its operator has not taken it up, or cannot make its pods")


def state_of(job: Object, pods: Sequence[Object] | None = None, workload: Object | None = None) -> State:
    """Return the state of a job of any kind; `pods` None: they are not known. `workload`: Kueue's, if there is one."""
    if p.about(job).get("deletionTimestamp"):
        return State(Phase.DELETING, since=p.seconds(p.about(job)["deletionTimestamp"]))
    reader = READERS.get(str(job.get("kind", "")))
    return reader(job, pods, workload) if reader else State(Phase.UNKNOWN, message="a kind trmctl does not know")


def pytorchjob(job: Object, pods: Sequence[Object] | None, workload: Object | None) -> State:
    """Return the state of a PyTorchJob."""
    true = conditions(job)
    if "Succeeded" in true:
        return _with(Phase.SUCCEEDED, true["Succeeded"])
    if "Failed" in true:
        return failed(true["Failed"], pods)
    spec = job.get("spec") or {}
    if "Suspended" in true or (spec.get("runPolicy") or {}).get("suspend"):
        return suspended(job, true.get("Suspended") or {}, pods, workload)
    if "Restarting" in true:
        return _with(Phase.RESTARTING, true["Restarting"])
    wanted = sum(int(one.get("replicas") or 1) for one in (spec.get("pytorchReplicaSpecs") or {}).values())
    if "Running" in true:
        return together(_with(Phase.RUNNING, true["Running"]), pods, wanted)
    if not true:
        return together(NOT_TAKEN_UP, pods, wanted)
    return together(_with(Phase.PENDING, true.get("Created") or {}), pods, wanted)


def trainjob(job: Object, pods: Sequence[Object] | None, workload: Object | None) -> State:
    """Return the state of a TrainJob. While it runs it has no condition, only counts of its jobs."""
    true = conditions(job)
    if "Complete" in true:
        return _with(Phase.SUCCEEDED, true["Complete"])
    if "Failed" in true:
        return failed(true["Failed"], pods)
    spec = job.get("spec") or {}
    if "Suspended" in true or spec.get("suspend"):
        return suspended(job, true.get("Suspended") or {}, pods, workload)
    counts = (job.get("status") or {}).get("jobsStatus") or ()
    wanted = int((spec.get("trainer") or {}).get("numNodes") or 1)
    if any(one.get("ready") for one in counts):
        return together(State(Phase.RUNNING), pods, wanted)
    if any(one.get("failed") for one in counts):
        return State(Phase.RESTARTING, "JobFailed", "its pods are made again")
    if any(one.get("active") for one in counts):
        return together(State(Phase.STARTING), pods, wanted)
    return together(State(Phase.PENDING) if counts else NOT_TAKEN_UP, pods, wanted)


def workflow(job: Object, pods: Sequence[Object] | None, workload: Object | None) -> State:
    """Return the state of an Argo workflow."""
    status, spec = job.get("status") or {}, job.get("spec") or {}
    phase, message = str(status.get("phase") or ""), str(status.get("message") or "")
    since = p.seconds(status.get("finishedAt") or status.get("startedAt"))
    if phase in ("Succeeded", "Failed", "Error"):
        return State(Phase.SUCCEEDED if phase == "Succeeded" else Phase.FAILED, phase, message, since)
    if spec.get("shutdown"):
        return State(Phase.STOPPING, str(spec["shutdown"]), message, since)
    if spec.get("suspend"):
        return State(Phase.PAUSED, "Suspended", message, since)
    if not phase:
        return NOT_TAKEN_UP
    return State(Phase.RUNNING if phase == "Running" else Phase.PENDING, "", message, since)


def cron_workflow(job: Object, pods: Sequence[Object] | None, workload: Object | None) -> State:
    """Return the state of a pipeline that starts by the clock."""
    spec, status = job.get("spec") or {}, job.get("status") or {}
    since = p.seconds(status.get("lastScheduledTime"))
    if spec.get("suspend"):
        return State(Phase.PAUSED, "Suspended", "it does not start by the clock", since)
    when = ", ".join(str(one) for one in spec.get("schedules") or [spec.get("schedule", "?")])
    if status.get("active"):
        return State(Phase.RUNNING, "", f"starts at {when}", since)
    return State(Phase.PENDING, "Scheduled", f"starts at {when}", since)


OF_TRMRUNS = {"Refused": Phase.FAILED, "Backoff": Phase.RESTARTING}
"""Phases of a TrmRun that a job has not."""


def trmrun(job: Object, pods: Sequence[Object] | None, workload: Object | None) -> State:
    """Return the state of a TrmRun, as its controller says it."""
    status = job.get("status") or {}
    phase = str(status.get("phase") or "")
    if not phase:
        return State(Phase.PENDING, "NotTakenUp", "no controller has taken it up")
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    since = p.seconds(status.get("completionTime") or status.get("startTime"))
    if phase in ("Failed", "Refused") and status.get("observedGeneration") != p.about(job).get("generation"):
        return State(Phase.PENDING, "Changed", "its controller has not seen yet how it was changed")
    known = OF_TRMRUNS.get(phase) or (Phase(phase) if phase in list(Phase) else Phase.UNKNOWN)
    return State(known, reason, message, since)


READERS: dict[str, Callable[[Object, Sequence[Object] | None, Object | None], State]] = {
    "PyTorchJob": pytorchjob,
    "TrainJob": trainjob,
    "Workflow": workflow,
    "CronWorkflow": cron_workflow,
    "TrmRun": trmrun,
}


def conditions(body: Object) -> dict[str, dict[str, Any]]:
    """Return the conditions that are true now, by type."""
    found = (body.get("status") or {}).get("conditions") or ()
    return {str(one.get("type")): one for one in found if str(one.get("status")) == "True"}


def suspended(job: Object, why: dict[str, Any], pods: Sequence[Object] | None, workload: Object | None) -> State:
    """Return the state of a job that may have no pods: its user paused it, or Kueue has not admitted it."""
    leaving = [pod for pod in pods or () if not p.is_over(pod)]
    if leaving:
        return State(Phase.STOPPING, "Suspended", f"{len(leaving)} pods save and leave", _since(why))
    about = p.about(job)
    paused = PAUSED in (about.get("annotations") or {}) or (workload or {}).get("spec", {}).get("active") is False
    queue = (about.get("labels") or {}).get(QUEUE)
    if queue and not paused:
        admitted = conditions(workload or {}).get("QuotaReserved") or _said(workload, "QuotaReserved")
        return State(Phase.QUEUED, "Queued", str(admitted.get("message") or f"waits in queue {queue}"), _since(why))
    return State(Phase.PAUSED, "Suspended", str(why.get("message") or ""), _since(why))


def together(told: State, pods: Sequence[Object] | None, wanted: int) -> State:
    """Return the state that the pods show, where they show more than the job tells."""
    if pods is None or not pods:
        return told
    current = [pod for pod in pods if not p.is_leaving(pod)]
    if told.phase == Phase.RUNNING and any(p.phase(pod) == "Failed" for pod in current):
        return State(Phase.RESTARTING, "PodsEnded", "a pod has ended, and is made again", told.since)
    up = sum(p.is_running(pod) or p.phase(pod) == "Succeeded" for pod in current)
    if told.phase == Phase.RUNNING and len(current) < len(pods):
        return State(Phase.RESTARTING, "PodsLeave", f"{len(pods) - len(current)} pods save and leave", told.since)
    if any(p.waiting(pod)[0] == "CrashLoopBackOff" for pod in current):
        return State(Phase.RESTARTING, "CrashLoopBackOff", "a container ends again and again", told.since)
    if up >= wanted:
        return told if told.phase == Phase.RUNNING else State(Phase.RUNNING, since=told.since)
    without = [p.unscheduled(pod) for pod in current if p.unscheduled(pod)]
    if without and not up:
        return State(Phase.PENDING, "Unschedulable", without[0], told.since)
    if any(p.unscheduled(pod) == "" for pod in current):
        return State(Phase.STARTING, "NotAllUp", f"{up} of {wanted} pods run", told.since)
    return told


def failed(why: dict[str, Any], pods: Sequence[Object] | None) -> State:
    """Return the state of a job that failed, with what the launcher or Kubernetes says of the pod that did."""
    endings = [found for pod in pods or () if (found := p.ending(pod)) is not None and found.exit != 0]
    # A pod that was told to leave because another one failed says so; the other one is the reason.
    endings.sort(key=lambda one: (one.reason in p.RETRYABLE, one.at or 0.0))
    reason = str(why.get("reason") or "Failed")
    if endings and reason != "ReachedMaxRestarts":
        first = endings[0]
        text = f"exit code {first.exit}" + (
            f": {first.message.strip().splitlines()[-1]}" if first.message.strip() else ""
        )
        again = first.reason in p.RETRYABLE and first.exit >= FIRST_SIGNAL
        return State(Phase.FAILED, first.reason or reason, text, _since(why), again)
    limit = reason == "ReachedMaxRestarts"
    return State(Phase.FAILED, reason, str(why.get("message") or ""), _since(why), limit)


def _with(phase: Phase, why: dict[str, Any]) -> State:
    return State(phase, str(why.get("reason") or ""), str(why.get("message") or ""), _since(why))


def _since(why: dict[str, Any]) -> float | None:
    return p.seconds(why.get("lastTransitionTime"))


def _said(body: Object | None, type: str) -> dict[str, Any]:
    """Return a condition whatever its status."""
    found = ((body or {}).get("status") or {}).get("conditions") or ()
    return next((one for one in found if one.get("type") == type), {})
