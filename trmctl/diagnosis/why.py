"""Why a run does not train: findings from evidence, the one that blocks first. Pure.

What was seen to be harmless is not reported: warnings about IPv6 names while DNS learns of the first pod, rendezvous
errors of a container that ends with 0, events PyTorchJobRestarting, which permanent failures have as well.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trmctl import pods as p
from trmctl.cluster import TRMRUN, WORKFLOW, Object
from trmctl.diagnosis.causes import ENDINGS, MOUNTS, NOT_MADE, STORE, UNSCHEDULABLE, WAITING, Cause
from trmctl.diagnosis.evidence import HIDDEN, Evidence
from trmctl.phase import Phase, conditions

TAKEN_UP_WITHIN = 30.0
"""Seconds after which a job without any status is somebody's fault; many jobs at once take a while."""
FIRST_STEP_WITHIN = 900.0
"""Seconds from the start of a pod after which a first step is overdue: data may have to be built."""
NOT_MADE_REASONS = {"FailedCreatePod", "FailedCreateService", "FailedCreate", "TrainJobResourcesCreationFailed"}
LONGEST = 600


@dataclass(frozen=True)
class Finding:
    """One thing that keeps a run from training, or did."""

    title: str
    evidence: tuple[str, ...]
    next: str

    @property
    def line(self) -> str:
        """In one line, for who waits."""
        return f"{self.title}: {self.evidence[0]}" if self.evidence else self.title


def explain(seen: Evidence) -> list[Finding]:
    """Return what is wrong, the most telling first; nothing: nothing is wrong."""
    found: list[Finding] = []
    for look in LOOKS:
        for finding in look(seen):
            if finding.title not in [one.title for one in found]:
                found.append(finding)
    return found


def well(seen: Evidence) -> str:
    """Return how a run is that nothing is wrong with."""
    state = seen.state
    if state.phase == Phase.SUCCEEDED:
        return "it is done"
    if state.phase == Phase.RUNNING:
        step = max(
            (numbers["trm_train_step"] for numbers in seen.metrics.values() if "trm_train_step" in numbers), default=0
        )
        return f"it trains, at update {step:.0f}" if step else "its pods run; it has not reported a step yet"
    if state.phase == Phase.DELETING:
        return "it is being deleted"
    return f"it is {state.phase.lower()}{f' ({state.message})' if state.message else ''}, and nothing is wrong so far"


def told(seen: Evidence) -> Iterator[Finding]:
    """Find what the controller of a TrmRun says of it."""
    if seen.job.kind != TRMRUN or seen.state.phase in (Phase.RUNNING, Phase.SUCCEEDED, Phase.PAUSED, Phase.DELETING):
        return
    phase = str((seen.job.body.get("status") or {}).get("phase") or "")
    if phase:
        title = {"Refused": "its spec cannot be followed", "Backoff": "it waits before it is tried again"}.get(phase)
        title = title or (f"it failed: {seen.state.reason}" if phase == "Failed" else f"it is {phase.lower()}")
        advice = "correct the TrmRun and apply it again" if phase in ("Refused", "Failed") else "nothing yet"
        yield Finding(title, _texts(seen.state.reason, seen.state.message), advice)
    elif seen.age > TAKEN_UP_WITHIN:
        yield Finding(
            "no controller has taken it up", (f"{seen.age:.0f} s after it was made it has no status",),
            "trmctl doctor; or submit it with --direct, as a plain job",
        )  # fmt: skip


def paused(seen: Evidence) -> Iterator[Finding]:
    """Find that somebody stopped it."""
    if seen.state.phase == Phase.PAUSED:
        yield Finding("it is paused", _texts(seen.state.message), f"trmctl resume {seen.job.name}")


def queued(seen: Evidence) -> Iterator[Finding]:
    """Find what Kueue has not let it in for."""
    if seen.state.phase != Phase.QUEUED and not (seen.job.queue and seen.workload is None and not seen.pods):
        return
    if seen.state.finished or seen.state.phase == Phase.PAUSED:
        return
    queue = seen.job.queue
    if seen.queue_missing:
        yield Finding(
            f"there is no queue {queue!r} in this namespace", (), "correct cluster.queue: kubectl get localqueue"
        )
        return
    if seen.workload is None and HIDDEN in seen.notes:
        yield Finding(
            f"it waits in queue {queue!r}", _texts("what Kueue says of it may not be read"),
            "ask for get and list of workloads.kueue.x-k8s.io to see its place",
        )  # fmt: skip
        return
    if seen.workload is None:
        yield Finding(
            f"Kueue has not taken it up in queue {queue!r}", (),
            "have this kind of job enabled in Kueue's configuration (integrations.frameworks); trmctl doctor checks it",
        )  # fmt: skip
        return
    told = {str(one.get("type")): one for one in (seen.workload.get("status") or {}).get("conditions") or ()}
    evicted = conditions(seen.workload).get("Evicted")
    if evicted:
        yield Finding(
            "Kueue took its place away", _texts(evicted.get("reason"), evicted.get("message")),
            "nothing: it goes on from its checkpoint when it is let in again",
        )  # fmt: skip
    reserved = told.get("QuotaReserved") or {}
    message = str(reserved.get("message") or "no decision yet")
    stopped = str(((seen.cluster_queue or seen.queue or {}).get("spec") or {}).get("stopPolicy") or "None")
    if stopped != "None":
        yield Finding(f"queue {queue!r} is stopped ({stopped})", _texts(message), "ask who runs the queue")
    elif "exceed" in message or "maximum capacity" in message or reserved.get("reason") == "Inadmissible":
        yield Finding(
            f"it can never be let into queue {queue!r} as it is", _texts(message), "ask for less, or another queue"
        )
    else:
        yield Finding(
            f"it waits in queue {queue!r}", _texts(message, _ahead(seen)), "nothing: it starts when there is room"
        )


def _ahead(seen: Evidence) -> str:
    status = (seen.queue or {}).get("status") or {}
    pending, admitted = status.get("pendingWorkloads"), status.get("admittedWorkloads")
    return f"{pending} wait and {admitted} run in this queue" if pending is not None else ""


def not_made(seen: Evidence) -> Iterator[Finding]:
    """Find that the operator could not make its pods, or that nobody cares for the job."""
    if seen.state.finished or seen.state.phase in (Phase.PAUSED, Phase.QUEUED) or seen.job.kind == TRMRUN:
        return
    said = [one for one in seen.events if one.get("reason") in NOT_MADE_REASONS]
    if said and len(seen.pods) < max(1, seen.job.nodes):
        message = str(said[-1].get("message") or "")
        yield _match(NOT_MADE, message, "its pods cannot be made", message, "the message says what is against them")
    elif not seen.pods and not said and seen.state.reason == "NotTakenUp" and seen.age > TAKEN_UP_WITHIN:
        yield Finding(
            "nobody has taken it up", (f"{seen.age:.0f} s after it was made it has no status and no event",),
            "the operator is down or starting: trmctl doctor",
        )  # fmt: skip
    elif any("name is too long" in str(one.get("message")) for one in said):
        yield Finding("the job's name is too long", _texts(said[-1].get("message")), "shorten `name`")


def unscheduled(seen: Evidence) -> Iterator[Finding]:
    """Find that machines are missing, for all of its pods or for some."""
    if seen.state.finished:
        return
    without = [pod for pod in seen.pods if p.unscheduled(pod) and not p.is_leaving(pod)]
    if not without:
        return
    message = p.unscheduled(without[0])
    total = max(len(seen.pods), seen.job.nodes)
    which = next((one for one in UNSCHEDULABLE if one.fits(message)), None)
    count = f"{len(without)} of {total} pods get no machine"
    if len(without) < total:
        advice = "the others wait in vain meanwhile; a queue (cluster.queue) or cluster.gang starts all or none"
        yield Finding(f"{count}: {which.title if which else 'they cannot be scheduled'}", (message,), advice)
    else:
        title = f"{which.title}" if which else "no machine takes its pods"
        yield Finding(title, _texts(message, count), which.next if which else "kubectl describe pod says more")


def waiting(seen: Evidence) -> Iterator[Finding]:
    """Find a container that cannot start: its image, its Secret, its volume."""
    for pod in seen.pods:
        reason, message = p.waiting(pod)
        if not reason or p.is_leaving(pod) or reason == "PodInitializing":
            continue
        if reason == "ContainerCreating":
            yield from _mounts(seen, pod)
            continue
        told = message or next((str(one.get("message")) for one in seen.events if one.get("reason") == reason), "")
        if reason in ("ErrImagePull", "ImagePullBackOff"):  # the back-off's own text lacks the cause at first
            pulls = [str(one.get("message")) for one in seen.events if "ailed to pull" in str(one.get("message"))]
            told = told if "failed to pull" in told or not pulls else pulls[-1]
        text = f"{p.name(pod)}: {reason}: {told}"
        yield _match(WAITING, f"{reason} {told}", "a container waits", text, "kubectl describe pod says more")


def _mounts(seen: Evidence, pod: Object) -> Iterator[Finding]:
    """Find what the pod alone says: the job has no event of it, and the container waits without a message."""
    for event in reversed(seen.events):
        here = (event.get("involvedObject") or {}).get("name") == p.name(pod)
        if here and event.get("reason") in ("FailedMount", "FailedAttachVolume"):
            message = str(event.get("message") or "")
            yield _match(MOUNTS, message, "a volume cannot be mounted", f"{p.name(pod)}: {message}", "")
            return


def ended(seen: Evidence) -> Iterator[Finding]:
    """Find a container that ended, for good or to be started again."""
    endings = [(p.name(pod), found) for pod in seen.pods if (found := p.ending(pod)) is not None and found.exit != 0]
    endings.sort(key=lambda one: (one[1].reason in p.RETRYABLE, one[1].at or 0.0))
    if endings and seen.state.phase != Phase.SUCCEEDED:
        pod, ending = endings[0]
        title, advice = ENDINGS.get(
            ending.reason, (f"it ended with exit code {ending.exit}", "trmctl logs shows where")
        )
        if ending.reason not in p.RETRYABLE and STORE.fits(ending.message):
            title, advice = STORE.title, STORE.next
        text = f"{pod}: exit code {ending.exit} ({ending.reason or 'no reason given'})"
        yield Finding(title, _texts(text, ending.message), advice)
    elif seen.state.phase in (Phase.FAILED, Phase.RESTARTING, Phase.STARTING, Phase.PENDING):
        yield from _from_events(seen)
    if seen.state.phase == Phase.FAILED and not endings:
        title, advice = ENDINGS.get(seen.state.reason, ("it failed", "trmctl logs, where its pods are still there"))
        yield Finding(title, _texts(seen.state.reason, seen.state.message), advice)


def _from_events(seen: Evidence) -> Iterator[Finding]:
    """Find what pods left behind that are no more: recreated ones take their last words with them."""
    for event in reversed(seen.events):
        reason, message = str(event.get("reason")), str(event.get("message") or "")
        if reason == "OOMKilled":
            title, advice = ENDINGS["OutOfMemory"]
            yield Finding(title, _texts(f"{message} (seen {event.get('count') or 1} times)"), advice)
            return
        if reason == "StartError":
            title, advice = ENDINGS["StartError"]
            yield Finding(title, _texts(message), advice)
            return
        said = p.last_words(message[message.find("{") :]) if "{" in message else None
        if reason == "Error" and said is not None and said.get("exit"):
            known = str(said.get("reason"))
            title, advice = ENDINGS.get(known, ("it ended with an error", "trmctl logs"))
            yield Finding(title, _texts(str(said.get("message") or message)), advice)
            return


def looping(seen: Evidence) -> Iterator[Finding]:
    """Find that it starts again and again without getting further."""
    if seen.state.finished or len(seen.attempts) < 3:
        return
    steps = [one.get("step") for one in seen.attempts[-3:]]
    if len(set(steps)) == 1:
        reasons = ", ".join(str(one.get("reason") or "?") for one in seen.attempts[-3:])
        text = f"the last 3 of {len(seen.attempts)} attempts began at update {steps[0]} and ended: {reasons}"
        yield Finding("it is started again and again without getting further", (text,), "mend what ended them")


def leaving(seen: Evidence) -> Iterator[Finding]:
    """Find pods that are being put off their machines."""
    for pod in seen.pods:
        for one in (pod.get("status") or {}).get("conditions") or ():
            if one.get("type") == "DisruptionTarget" and one.get("status") == "True" and not seen.state.finished:
                text = f"{p.name(pod)}: {one.get('reason')}: {one.get('message')}"
                yield Finding("a pod is put off its machine", (text,), "nothing: it saves and goes on elsewhere")


def silent(seen: Evidence) -> Iterator[Finding]:
    """Find that all pods run, and no step is reported."""
    if seen.state.phase != Phase.RUNNING or not seen.pods:
        return
    if any("trm_train_step" in numbers for numbers in seen.metrics.values()):
        return
    started = [
        p.seconds(((p.own_status(pod).get("state") or {}).get("running") or {}).get("startedAt")) for pod in seen.pods
    ]
    since = seen.now - max((at for at in started if at is not None), default=seen.now)
    if since > FIRST_STEP_WITHIN and seen.metrics:
        text = f"all {len(seen.pods)} pods run for {since / 60:.0f} minutes, and none reports a step"
        yield Finding(
            "it runs and reports no step",
            (text,),
            "trmctl logs --rank all: it builds data, or pods wait for each other",
        )


def steps(seen: Evidence) -> Iterator[Finding]:
    """Find steps of a workflow that failed."""
    if seen.job.kind != WORKFLOW or seen.state.phase == Phase.SUCCEEDED:
        return
    for node in ((seen.job.body.get("status") or {}).get("nodes") or {}).values():
        if node.get("type") == "Pod" and node.get("phase") in ("Failed", "Error"):
            name = node.get("displayName") or node.get("name")
            yield Finding(f"step {name} failed", _texts(node.get("message")), f"trmctl logs {seen.job.name}")


LOOKS: Sequence[Callable[[Evidence], Iterator[Finding]]] = (
    paused, queued, not_made, waiting, unscheduled, steps, ended, told, looping, leaving, silent,
)  # fmt: skip


def _match(causes: Sequence[Cause], said: str, title: str, text: str, advice: str) -> Finding:
    cause = next((one for one in causes if one.fits(said)), None)
    return Finding(cause.title if cause else title, _texts(text), cause.next if cause else advice)


def _texts(*texts: object) -> tuple[str, ...]:
    return tuple(str(text).strip()[-LONGEST:] for text in texts if text)
