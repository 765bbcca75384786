"""Decides what a run should be, from what it is: no clock, no cluster, nothing remembered but the status itself.

Every decision is made from the beginning, and may be made again: after a crash, from old news, by another replica.
So what is done is named by what it is for (a job's name follows from the run file), is tied to what was seen (a uid, a
version), and is written down before it is done, where only the status remembers it.
"""

from collections.abc import Callable, Sequence

from trmctl.controller import attempts
from trmctl.controller.accept import accepted
from trmctl.controller.actions import Action, Adopt, Delete, Make, Pause, Resume
from trmctl.controller.enough import enough
from trmctl.controller.ours import ours, own, phase_of, second, stop
from trmctl.controller.report import newest, report, why
from trmctl.controller.seen import Job, Observed, Wanted
from trmctl.controller.turn import ENDED, NOT_MADE, Turn, stamp
from trmctl.phase import Phase
from trmkit.spec.trmrun import seconds as length

STALLED_TWICE = 2.0
"""Times `cluster.stall_minutes` without a step, after which the watchdog in the pods has to be dead itself."""
STALLED_FOR = 60.0
"""Seconds for which it has to have been seen that no step is made: one look alone ends nothing."""


def reconcile(seen: Observed, now: float) -> list[Action]:
    """Return what to do about a TrmRun, the status first. Nothing: all is as it should be."""
    if seen.run.leaving:
        return []
    turn = Turn(seen, now)
    good = accepted(turn)
    if good or turn.old.get("phase") != "Failed":  # what mends a run that failed is not forgotten until it counts
        turn.set(observedGeneration=seen.run.generation, asked=seen.asked or None)
    if good and over(turn):
        tidy(turn, needed(seen))
    elif turn.old.get("phase") not in ENDED or good:
        report(turn, own(seen))
        if good:
            any(rule(turn, needed(seen)) for rule in RULES)
        elif (job := own(seen)) is not None and job.live:
            any(rule(turn, seen.wanted) for rule in WHATEVER)
    return turn.actions()


def needed(seen: Observed) -> Wanted:
    """Return what a TrmRun whose spec can be followed asks for."""
    assert seen.wanted is not None
    return seen.wanted


def over(turn: Turn) -> bool:
    """Say whether the run has ended. One that failed begins anew when its spec is changed: somebody has mended it."""
    phase = turn.old.get("phase")
    if phase != "Failed" or turn.old.get("observedGeneration") == turn.seen.run.generation or _only_keep(turn):
        return phase in ENDED
    turn.set(attempts=None, attemptsWithoutProgress=None, startTime=None, completionTime=None, nextAttemptTime=None)
    turn.set(pausedSince=None, pausedSeconds=None)
    turn.condition("Failed", False, "TriedAgain", "its spec was changed")
    turn.condition("Succeeded", False, "TriedAgain", "its spec was changed")
    job = own(turn.seen)
    if job is not None and (job.state.finished or job.kind == "Workflow"):
        turn.set(discarded=job.uid)
    return False


def _only_keep(turn: Turn) -> bool:
    """Say whether the spec was changed in nothing but how long the job stays: that asks for no other attempt."""
    before, now = str(turn.old.get("asked") or "").partition("-"), turn.seen.asked.partition("-")
    return before[2] == now[2] != "" and before[0] != now[0]


def tidy(turn: Turn, wanted: Wanted) -> None:
    """Have a run that is over do nothing more, and remove its jobs when they have stayed long enough."""
    newest(turn)  # pods that were told to leave save once more
    ended_at = turn.at("completionTime") or turn.now
    keep = wanted.spec.keep
    age = length(keep.age) if keep.age is not None else wanted.spec.run.cluster.ttl_seconds
    old = age is not None and turn.now - ended_at > age
    many = keep.count is not None and turn.seen.newer >= keep.count
    for job in ours(turn):
        if job.state.phase == Phase.DELETING:
            continue
        if not job.quiet:
            stop(turn, job)
        elif old or many:
            turn.do(Delete(job.kind, job.name, job.uid, "it is over, and was kept as long as it should be"))


# -- rules: each says whether it has decided


def discarded(turn: Turn, wanted: Wanted) -> bool:
    """Remove a job about which all is decided and written down, however often it is seen."""
    job = own(turn.seen)
    if job is None or job.uid != turn.status.get("discarded"):
        turn.set(discarded=None)
        return False
    for one in ours(turn):
        if one.state.phase != Phase.DELETING:
            turn.do(Delete(one.kind, one.name, one.uid, "it is made anew, to go on from its newest checkpoint"))
    if turn.status.get("phase") != "Backoff":
        turn.phase("Pending", "TriedAgain", "it is tried again")
    return True


def stale(turn: Turn, wanted: Wanted) -> bool:
    """Remove jobs of this TrmRun that are no longer wanted; nothing is made while one of them is there."""
    known = {wanted.job, wanted.beside} - {""}
    others = [one for one in ours(turn) if one.name not in known]
    for job in others:
        if job.state.phase != Phase.DELETING:
            turn.do(Delete(job.kind, job.name, job.uid, "the TrmRun asks for another job"))
    if others:
        turn.phase("Pending", "JobReplaced", f"{others[0].name} saves and leaves")
    return bool(others)


def adopt(turn: Turn, wanted: Wanted) -> bool:
    """Take over a job of the wanted name that nobody has, or that was made for an earlier TrmRun of this name."""
    run = turn.seen.run
    for job in turn.seen.jobs:
        if job.name != wanted.job or (job.trmrun and job.trmrun_uid == run.uid):
            continue
        if job.state.phase != Phase.DELETING:
            turn.do(Adopt(job.kind, job.name, job.uid))
        turn.phase(phase_of(job), "Adopted", f"{job.kind} {job.name} was there, and is this run")
        return True
    return False


def stopped_early(turn: Turn, wanted: Wanted) -> bool:
    """End training that has done enough, and have the end scored."""
    job = own(turn.seen)
    if "stopped" not in turn.status:
        found = enough(turn, wanted, job)
        if not found:
            return False
        turn.set(stopped=found)
    told = turn.status["stopped"]
    if job is not None and (job.final or job.state.phase == Phase.SUCCEEDED):
        return False
    message = f"{told['reason']} at update {told['step']}: it saves, and is then scored"
    going = [one for one in ours(turn) if not one.quiet]
    for one in going:
        stop(turn, one)
    for one in ours(turn) if not going else ():
        if one.state.phase != Phase.DELETING:
            turn.do(Delete(one.kind, one.name, one.uid, "training has done enough"))
    if not ours(turn):
        return False
    turn.phase("Stopping", str(told["reason"]), message)
    return True


def succeeded(turn: Turn, wanted: Wanted) -> bool:
    """See that it is done: the job, and the one beside it."""
    job = own(turn.seen)
    if job is None or job.state.phase != Phase.SUCCEEDED:
        return False
    beside = second(turn, wanted)
    if wanted.beside and not job.final:
        if beside is not None and beside.state.phase == Phase.FAILED:
            turn.end("Failed", "ScoringFailed", f"it was trained; {beside.name} failed: {beside.state.message}")
            return True
        if beside is None:
            turn.do(Make(job.final, belongings=True))
        if beside is None or beside.state.phase != Phase.SUCCEEDED:
            turn.phase("Running", "Scoring", f"it is trained; {wanted.beside} scores it")
            return True
    early = turn.status.get("stopped")
    if early:
        turn.end("Succeeded", str(early["reason"]), f"{early['reason']} at update {early['step']}; scored and reported")
    else:
        turn.end("Succeeded", "Succeeded", "it is done")
    return True


def overdue(turn: Turn, wanted: Wanted | None) -> bool:
    """End a run whose time is up."""
    began, limit = turn.at("startTime"), turn.seen.deadline
    if began is None or limit is None or turn.seen.suspend:
        return False
    paused = float(turn.status.get("pausedSeconds") or 0.0)
    since = turn.at("pausedSince")
    paused += 0.0 if since is None else turn.now - since
    if turn.now - began - paused <= length(limit):
        return False
    attempts.close(turn, "DeadlineExceeded", None)
    turn.end(
        "Failed", "DeadlineExceeded", f"it was not done {limit} after its first job was to be made; it saves and leaves"
    )
    for one in ours(turn):
        stop(turn, one)
    return True


def failed(turn: Turn, wanted: Wanted) -> bool:
    """Decide about a job that failed: try again after a pause, or give up."""
    job = own(turn.seen)
    if job is None or job.state.phase != Phase.FAILED:
        return False
    attempts.close(turn, job.state.reason, job.exit)
    if not attempts.may_help(job, turn.status):
        turn.end("Failed", job.state.reason or "Failed", _ended(turn, job))
        return True
    return _again(turn, wanted, job, "it failed")


def _again(turn: Turn, wanted: Wanted, job: Job, because: str) -> bool:
    """Remove a job to make it anew, if there may be another attempt."""
    found = attempts.verdict(turn, wanted.spec)
    if found.reason:
        turn.end("Failed", found.reason, f"{found.message}; {found.next}")
        tidy(turn, wanted)
        return True
    turn.set(nextAttemptTime=stamp(turn.now + found.wait))
    turn.phase("Backoff", job.state.reason or "Failed", f"{because}: {_ended(turn, job)}")
    turn.set(discarded=job.uid)
    return discarded(turn, wanted)


def _ended(turn: Turn, job: Job) -> str:
    """Return why a job ended; a workflow's own words say it best."""
    own = job.state.message if job.kind == "Workflow" else ""
    return own or why(turn) or job.state.message


def looping(turn: Turn, wanted: Wanted) -> bool:
    """End a job that is started again and again by its operator, and gets no further."""
    job = own(turn.seen)
    if job is None or job.start is None or job.start.ended is None:
        return False
    found = attempts.verdict(turn, wanted.spec)
    if not found.reason:
        return False
    turn.end("Failed", found.reason, f"{found.message}; {found.next}")
    tidy(turn, wanted)
    return True


def stalled(turn: Turn, wanted: Wanted) -> bool:
    """Make a gang anew that has not made a step for so long that its own watchdog has to be dead.

    Only a pod that says itself that it trains, and when it last made a step, can be said to make none: one that does
    not answer, or evaluates, may be well.
    """
    job, limit, seen = own(turn.seen), wanted.spec.run.cluster.stall_minutes, turn.seen.progress
    last = seen.last_step_at
    if job is None or job.state.phase != Phase.RUNNING or job.start is None or limit is None:
        return False
    if last is None or not seen.training or last < job.start.at:
        return False
    since = turn.since("Progressing", "Stalled")
    if last + STALLED_TWICE * 60.0 * limit > turn.now or since is None or turn.now - since < STALLED_FOR:
        return False
    attempts.close(turn, "Stalled", 137)
    return _again(turn, wanted, job, f"no step for {(turn.now - last) / 60:.0f} minutes")


def changed(turn: Turn, wanted: Wanted) -> bool:
    """Make a job anew whose cluster settings were changed."""
    job = own(turn.seen)
    if job is None or job.hash == wanted.hash or job.final or job.state.phase == Phase.DELETING:
        return False
    for one in ours(turn):
        turn.do(Delete(one.kind, one.name, one.uid, "the TrmRun asks for other settings"))
    attempts.close(turn, "Preempted", 143)
    turn.phase("Stopping", "SettingsChanged", "it saves, and goes on with the new settings")
    return True


def suspended(turn: Turn, wanted: Wanted | None) -> bool:
    """Have a run save and wait, or go on, as its spec says."""
    job = own(turn.seen)
    if not turn.seen.suspend:
        since = turn.at("pausedSince")
        if since is not None:
            passed = float(turn.status.get("pausedSeconds") or 0.0) + turn.now - since
            turn.set(pausedSince=None, pausedSeconds=round(passed))
        if job is None or not job.marked or job.state.finished or job.state.phase == Phase.DELETING:
            return False
        turn.do(Resume(job.kind, job.name, job.uid))
        turn.phase("Pending", "Resumed", "it goes on from its newest checkpoint")
        return True
    if "startTime" in turn.status and "pausedSince" not in turn.status:
        turn.set(pausedSince=stamp(turn.now))
    if job is None:
        turn.phase("Paused", "Suspended", "spec.suspend is true; no job is made")
        return True
    if not job.paused and not job.state.finished and job.state.phase != Phase.DELETING:
        turn.do(Pause(job.kind, job.name, job.uid))
    if job.quiet:
        turn.phase("Paused", "Suspended", "it has saved, and gave back its machines")
    else:
        turn.phase("Stopping", "Suspended", "it saves, and gives back its machines")
    return True


def going(turn: Turn, wanted: Wanted) -> bool:
    """Report a job that is there and may go on; see to the one beside it."""
    job = own(turn.seen)
    if job is None:
        return False
    if "startTime" not in turn.status:  # it was adopted
        turn.set(startTime=stamp(turn.now))
    alone = bool(wanted.beside) and not job.final and second(turn, wanted) is None
    if (alone or (turn.old.get("job") or {}).get("uid") != job.uid) and job.state.phase != Phase.DELETING:
        turn.first(Make(job.final, belongings=True))  # whoever made it may have died before all of it was there
    turn.set(nextAttemptTime=None)
    reason = job.state.reason if job.state.phase != Phase.RUNNING else ""
    turn.phase(phase_of(job), reason or str(job.state.phase), why(turn) or job.state.message)
    return True


def make(turn: Turn, wanted: Wanted) -> bool:
    """Make the job, once its time has come and nothing of an earlier one is left."""
    due = turn.at("nextAttemptTime")
    if due is not None and turn.now < due:
        turn.phase("Backoff", str(turn.old.get("reason") or "Backoff"), str(turn.old.get("message") or ""))
        return True
    if turn.seen.leftover or ours(turn):
        waits = f"{turn.seen.leftover} pods of an earlier job save and leave"
        turn.phase("Pending", "PodStuck" if turn.seen.stuck else "PodsLeave", turn.seen.stuck or waits)
        return True
    if turn.seen.progress.state == "scored":
        if "startTime" in turn.status:
            turn.end("Succeeded", "Succeeded", "it is done; its job was gone before anybody saw it end")
        else:
            turn.end("Succeeded", "AlreadyDone", "its results are in its store; trmctl evaluate scores it again")
        return True
    if "startTime" not in turn.status:
        turn.set(startTime=stamp(turn.now), pausedSeconds=None)
    turn.set(job={"kind": wanted.kind, "name": wanted.job})
    if turn.old.get("reason") == NOT_MADE:  # it is tried again
        turn.phase("Pending", NOT_MADE, str(turn.old.get("message") or ""))
    else:
        turn.phase("Pending", "Made", f"{wanted.kind} {wanted.job} is made")
    turn.do(Make("stopped" in turn.status))
    return True


RULES: Sequence[Callable[[Turn, Wanted], bool]] = (
    discarded, stale, adopt, succeeded, overdue, stopped_early, failed, looping, changed, suspended, stalled, going,
    make,
)  # fmt: skip
WHATEVER: Sequence[Callable[[Turn, Wanted | None], bool]] = (overdue, suspended)
"""What holds also where the rest of a spec cannot be followed."""
