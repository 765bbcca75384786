"""Looks: one survey of a namespace with a handful of requests, however many runs it has, and what it says of each."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from trmctl import jobs as j
from trmctl import pods as p
from trmctl.cluster import EVENT, KUEUE_WORKLOAD, POD, PYTORCHJOB, TRAINJOB, TRMRUN, WORKFLOW, Cluster, Kind, Object
from trmctl.controller.seen import Job, Observed, Progress, Run, Start, Wanted, job_name, of_spec
from trmctl.controller.turn import ENDED
from trmctl.diagnosis.evidence import Evidence, is_well
from trmctl.diagnosis.why import explain
from trmctl.phase import PAUSED, Phase, State
from trmkit.errors import ClusterForbiddenError, ClusterMissingError
from trmkit.render import names
from trmkit.spec.trmrun import DURATION
from trmkit.stages import STAGES

KINDS: Mapping[str, Kind] = {kind.kind: kind for kind in (PYTORCHJOB, TRAINJOB, WORKFLOW)}
WAITING = tuple(stage.name for stage in STAGES if stage.is_job)
"""Steps of a pipeline that hand in a job and wait for it."""
STUCK = 60.0
"""Seconds after its time to leave from which a pod is taken for one that will not."""
FINAL = "evaluate,report"
"""Stages of a job that only scores and reports what was trained."""


@dataclass(frozen=True)
class Survey:
    """What there is in a namespace, or of one run in it."""

    runs: Sequence[Object]
    jobs: Sequence[j.Job]
    pods: Sequence[Object]
    now: float
    """Seconds since 1970, before anything was asked for."""
    events: Sequence[Object] = ()
    workloads: Sequence[Object] = ()
    there: Collection[tuple[str, str]] = ()
    """Namespace and name of TrmRuns that are known to be there."""
    over: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    """(namespace, run name) -> times at which runs of it ended that keep their jobs."""


def survey(cluster: Cluster, namespace: str, now: float) -> Survey:
    """Look at everything in a namespace (`*`: in all of them). ClusterMissingError: no TrmRuns are served."""
    runs = cluster.list(TRMRUN, namespace)
    found = [job for kind in KINDS.values() for job in _listed(cluster, kind, namespace, names.OURS)]
    pods = cluster.list(POD, namespace, labels=names.OURS)
    ill = any(not is_well(job.state()) and not job.state().finished for job in found)
    events = may_list(cluster, EVENT, namespace) if ill else ()
    workloads = may_list(cluster, KUEUE_WORKLOAD, namespace) if any(job.queue for job in found) else ()
    there = {(run_of(body).namespace, run_of(body).name) for body in runs}
    return Survey(runs, found, pods, now, events, workloads, there, _over(runs, found))


def survey_one(
    cluster: Cluster, namespace: str, name: str, job: str, now: float, events_of: Callable[[str], Sequence[Object]]
) -> Survey | None:
    """Look at one TrmRun and its jobs, `job` being the name of the one it wants; None: it is gone.

    `events_of` lists the events of a namespace: there may be very many, so they need not be new.
    """
    body = cluster.get(TRMRUN, name, namespace)
    if body is None:
        return None
    found = [one for kind in KINDS.values() for one in _listed(cluster, kind, namespace, f"{names.TRMRUN}={name}")]
    if job and job not in [one.name for one in found]:
        found += [one for kind in KINDS.values() for one in _named(cluster, kind, namespace, job)]
    pods = [pod for one in {job, *(one.name for one in found)} - {""} for pod in _pods(cluster, namespace, one)]
    for one in [one for one in found if one.kind == WORKFLOW]:  # those of the job that a step has handed in
        handed = cluster.list(POD, namespace, labels=f"{names.ID}={one.run_id}")
        pods += [pod for pod in handed if not _is_of(pod, namespace, one.name)]
    ill = any(not is_well(one.state()) for one in found)
    events = events_of(namespace) if ill else ()
    workloads = may_list(cluster, KUEUE_WORKLOAD, namespace) if any(one.queue for one in found) else ()
    others = {one.labels.get(names.TRMRUN, "") for one in found} - {"", name}
    there = {other for other in others if cluster.get(TRMRUN, other, namespace) is not None}
    return Survey([body], found, pods, now, events, workloads, {(namespace, one) for one in (name, *there)})


def _pods(cluster: Cluster, namespace: str, job: str) -> list[Object]:
    return cluster.list(POD, namespace, labels=f"{names.JOB}={job}")


def _listed(cluster: Cluster, kind: Kind, namespace: str, selector: str) -> list[j.Job]:
    if not cluster.serves(kind):
        return []
    try:
        return [j.Job(kind, body) for body in cluster.list(kind, namespace, labels=selector)]
    except ClusterMissingError:
        return []


def _named(cluster: Cluster, kind: Kind, namespace: str, name: str) -> list[j.Job]:
    body = cluster.get(kind, name, namespace) if cluster.serves(kind) else None
    return [] if body is None else [j.Job(kind, body)]


def may_list(cluster: Cluster, kind: Kind, namespace: str) -> Sequence[Object]:
    """Return the objects of a kind; nothing where they may not be listed, or there is no such kind."""
    with suppress(ClusterMissingError, ClusterForbiddenError):
        return cluster.list(kind, namespace)
    return ()


def _over(runs: Sequence[Object], found: Sequence[j.Job]) -> Mapping[tuple[str, str], Sequence[str]]:
    kept = {(job.namespace, job.labels.get(names.TRMRUN)) for job in found}
    ended: dict[tuple[str, str], list[str]] = {}
    for body in runs:
        status = body.get("status") or {}
        space, name = str(p.about(body).get("namespace", "")), p.name(body)
        if status.get("phase") in ENDED and (space, name) in kept:
            key = (space, str((status.get("run") or {}).get("name", "")))
            ended.setdefault(key, []).append(str(status.get("completionTime", "")))
    return ended


def run_of(body: Object) -> Run:
    """Return a TrmRun from its object."""
    about = p.about(body)
    return Run(
        p.name(body), str(about.get("namespace", "")), p.uid(body), int(about.get("generation") or 0),
        str(about.get("resourceVersion", "")), body.get("status") or {}, p.is_leaving(body),
    )  # fmt: skip


def observe(
    found: Survey,
    body: Object,
    wanted: Wanted | None,
    problem: tuple[str, str],
    progress: Callable[[Sequence[Object]], Progress],
) -> Observed:
    """Return what there is to know of one TrmRun of a survey.

    `problem` is what is wrong with its spec, and the reason that goes with that; `progress` says how far it is, by its
    pods.
    """
    run = run_of(body)
    here = [job for job in found.jobs if job.namespace == run.namespace]
    mine = [job for job in here if job.labels.get(names.TRMRUN) == run.name or (wanted and job.name == wanted.job)]
    pods = {job.uid: pods_of(job, found.pods) for job in mine}
    name = job_name(run, wanted)
    main = next((job for job in mine if job.name == name), None)
    leftover = [] if main else [pod for pod in found.pods if _is_of(pod, run.namespace, name) and not p.is_over(pod)]
    known = [*(pods[main.uid] if main else ())]
    ended = found.over.get((run.namespace, str((run.status.get("run") or {}).get("name", ""))), ())
    told = str(run.status.get("completionTime", ""))
    spec = body.get("spec") or {}
    deadline = str(spec.get("deadline") or "")
    return Observed(
        run, wanted, *problem, bool(spec.get("suspend")), deadline if re.fullmatch(DURATION, deadline) else None,
        of_spec(spec),
        tuple(_seen(found, job, pods[job.uid]) for job in mine), len(leftover), _stuck(leftover, found.now),
        progress(known), _why(found, main, known), _half(main, known), sum(one > told for one in ended),
    )  # fmt: skip


def _seen(found: Survey, job: j.Job, pods: Sequence[Object]) -> Job:
    owner = job.labels.get(names.TRMRUN, "")
    orphan = bool(owner) and (job.namespace, owner) not in found.there
    return replace(job_of(job, pods, _workload(found, job), _busy(found, job, pods)), orphan=orphan)


def _stuck(leaving: Sequence[Object], now: float) -> str:
    """Return what to do about a pod that does not leave; as a rule its machine is lost, and cannot say so."""
    for pod in leaving:
        at = p.about(pod).get("deletionTimestamp")
        due = p.seconds(at)
        if due is not None and now - due > STUCK:
            node = (pod.get("spec") or {}).get("nodeName") or "its machine"
            return (
                f"pod {p.name(pod)} of an earlier job should have left {node} by {at}; if that"
                f" machine is lost: kubectl delete pod {p.name(pod)} --force --grace-period=0"
            )
    return ""


def _is_of(pod: Object, namespace: str, job: str) -> bool:
    about = p.about(pod)
    return bool(about.get("namespace") == namespace and (about.get("labels") or {}).get(names.JOB) == job)


def pods_of(job: j.Job, pods: Sequence[Object]) -> list[Object]:
    """Return a job's own pods by rank; not those of an earlier job that had its name."""
    found = [pod for pod in pods if _is_of(pod, job.namespace, job.name)]
    if job.kind == PYTORCHJOB:
        found = [pod for pod in found if job.uid in [one.get("uid") for one in p.about(pod).get("ownerReferences", ())]]
    return p.by_rank(found)


def _workload(found: Survey, job: j.Job) -> Object | None:
    wanted = {"kueue.x-k8s.io/job-uid": job.uid}.items()
    return next((one for one in found.workloads if wanted <= (p.about(one).get("labels") or {}).items()), None)


def _busy(found: Survey, job: j.Job, pods: Sequence[Object]) -> int:
    """Return how many pods do something that a pause has to wait for.

    A pipeline that is suspended starts no step, but ends none: the step that waits for the job it has handed in stays,
    and it is that job's pods which save and leave.
    """
    own = [pod for pod in pods if not p.is_over(pod)]
    if job.kind != WORKFLOW:
        return len(own)
    same = {names.ID: job.run_id, names.NAME: job.run_name}.items()
    handed = [
        pod for pod in found.pods
        if not _is_of(pod, job.namespace, job.name) and p.about(pod).get("namespace") == job.namespace
        and same <= (p.about(pod).get("labels") or {}).items() and not p.is_over(pod)
    ]  # fmt: skip
    return len(handed) + sum(p.mark(pod).partition("(")[0] not in WAITING for pod in own)


def job_of(job: j.Job, pods: Sequence[Object], workload: Object | None, busy: int = 0) -> Job:
    """Return a job in our words; `busy` of its pods are not over."""
    state = job.state(pods, workload)
    notes, spec = job.annotations, job.body.get("spec") or {}
    return Job(
        job.kind.kind, job.name, job.uid, state, job.labels.get(names.TRMRUN, ""), notes.get(names.TRMRUN_UID, ""),
        False, notes.get(names.WANTED, ""), notes.get(names.STAGES) == FINAL, bool(job.beside), *_paused(job, workload),
        bool(spec.get("shutdown")), busy,
        _exit(job, state, pods), _start(job, state, pods),
    )  # fmt: skip


def _paused(job: j.Job, workload: Object | None) -> tuple[bool, bool]:
    """Return whether a job has been told to wait and does, and whether anything on it says that it was told to.

    It takes two writes where Kueue decides, and anybody may take one of them back.
    """
    spec, inactive = job.body.get("spec") or {}, ((workload or {}).get("spec") or {}).get("active") is False
    suspended = bool((spec.get("runPolicy") or {}).get("suspend") or spec.get("suspend"))
    noted = PAUSED in job.annotations
    return noted and (suspended if workload is None else inactive), noted or inactive


def _exit(job: j.Job, state: State, pods: Sequence[Object]) -> int | None:
    """Return the exit code that a failure began with; None: it is not known, or says nothing."""
    if state.phase != Phase.FAILED:
        return None
    if job.kind == WORKFLOW:
        nodes: Mapping[str, Any] = (job.body.get("status") or {}).get("nodes") or {}
        codes = [str((one.get("outputs") or {}).get("exitCode")) for one in nodes.values()]
        return next((int(code) for code in codes if code in ("1", "2")), None)
    ends = [end for pod in pods if (end := p.ending(pod)) is not None and end.exit]
    ends.sort(key=lambda one: (one.reason in p.RETRYABLE, one.at or 0.0))
    return ends[0].exit if ends else None


def _start(job: j.Job, state: State, pods: Sequence[Object]) -> Start | None:
    """Return the newest start; of a workflow, whose steps are pods of their own, it is the workflow's."""
    if job.kind == WORKFLOW:
        return _begun(job, state, pods)
    first = [pod for pod in pods if p.rank(pod) == 0 and p.has_started(pod)]
    if not first:
        return None
    pod = first[-1]
    end = p.ending(pod) if p.is_over(pod) or "terminated" in (p.own_status(pod).get("state") or {}) else None
    status = p.own_status(pod).get("state") or {}
    began = p.seconds((status.get("running") or status.get("terminated") or {}).get("startedAt")) or job.created
    if end is None:
        return Start(p.uid(pod), p.name(pod), began, leaving=p.is_leaving(pod))
    if end.exit == 0:
        return Start(p.uid(pod), p.name(pod), began, end.at or began, 0, "Completed")
    return Start(p.uid(pod), p.name(pod), began, end.at or began, end.exit, end.reason or "Error")


def _begun(job: j.Job, state: State, pods: Sequence[Object]) -> Start | None:
    """Return when a workflow began, if it has ever had a pod; its own words are the reason of its end."""
    status = job.body.get("status") or {}
    nodes: Mapping[str, Any] = status.get("nodes") or {}
    hidden = status.get("compressedNodes") or status.get("offloadNodeStatusVersion")
    had = pods or hidden or any(one.get("type") == "Pod" for one in nodes.values())
    began = p.seconds(status.get("startedAt"))
    if began is None or not had:
        return None
    ended = p.seconds(status.get("finishedAt"))
    if state.phase == Phase.SUCCEEDED:
        return Start(job.uid, job.name, began, ended or began, 0, "Completed")
    return Start(job.uid, job.name, began, ended, None, "" if ended is None else state.reason)


def _why(found: Survey, job: j.Job | None, pods: Sequence[Object]) -> tuple[str, ...]:
    if job is None:
        return ()
    workload = _workload(found, job)
    state = job.state(pods, workload)
    if is_well(state):
        return ()
    events = j.of_job(job, pods, [one for one in found.events if p.about(one).get("namespace") == job.namespace])
    seen = Evidence(job, state, pods, events, workload, now=found.now)
    return tuple(f"{one.line}; next: {one.next}" if one.next else one.line for one in explain(seen))


def _half(job: j.Job | None, pods: Sequence[Object]) -> str:
    """Return how much of a gang finds no machine, where only some of it does."""
    if job is None or job.state().finished:
        return ""
    current = [pod for pod in pods if not p.is_leaving(pod)]
    without = [p.unscheduled(pod) for pod in current if p.unscheduled(pod)]
    up = sum(p.is_running(pod) for pod in current)
    return (
        f"{len(without)} of {max(job.nodes, len(current))} pods get no machine: {without[0]}" if without and up else ""
    )
