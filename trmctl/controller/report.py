"""Puts into the status what was observed: how far a run is, since when, and what keeps it."""

from trmctl.controller import attempts
from trmctl.controller.seen import Job
from trmctl.controller.turn import Turn, stamp
from trmctl.phase import Phase

ROUND = 60.0
"""Seconds to which the end is foretold: a status that changed with every look would be written with every look."""


def report(turn: Turn, job: Job | None) -> None:
    """Report progress, the newest checkpoint, attempts, and conditions that are only observed."""
    _progress(turn, job)
    _store(turn)
    if job is not None:
        turn.set(job={"kind": job.kind, "name": job.name, "uid": job.uid})
        attempts.count(turn, job)
    _scheduled(turn, job)
    _progressing(turn, job)
    paused = job is not None and (job.paused or job.state.phase == Phase.PAUSED)
    turn.condition("Suspended", paused, "Suspended" if paused else "NotSuspended")


def why(turn: Turn) -> str:
    """Return what keeps a run from training, in a line; empty: nothing does."""
    return turn.seen.why[0] if turn.seen.why else ""


def _progress(turn: Turn, job: Job | None) -> None:
    seen = turn.seen.progress
    step = seen.step or int(turn.status.get("step") or 0)
    total = seen.total or int(turn.status.get("totalSteps") or 0)
    if step or total:
        turn.set(step=step)
    if total:
        turn.set(totalSteps=total, progress=f"{100 * min(step, total) // total} %")
    if seen.value is not None:
        best = {"step": seen.best_step} if seen.best_step is not None else {}
        turn.set(metric={"name": seen.metric, "value": seen.value, **best})
    if seen.last_step_at is not None:
        turn.set(lastStepTime=stamp(max(min(seen.last_step_at, turn.now), turn.at("lastStepTime") or 0.0)))
    _eta(turn, job, step, total)


def _eta(turn: Turn, job: Job | None, step: int, total: int) -> None:
    """Foretell the end from the steps of this attempt."""
    last = (turn.status.get("attempts") or [None])[-1]
    if job is None or job.start is None or last is None or last.get("uid") != job.start.uid or not total:
        turn.set(eta=None)
        return
    made, passed = step - int(last.get("step") or 0), turn.now - job.start.at
    if job.state.phase == Phase.RUNNING and made > 0 and passed > 0 and step < total:
        turn.set(eta=stamp(round((turn.now + (total - step) * passed / made) / ROUND) * ROUND))


def _store(turn: Turn) -> None:
    """Report the newest checkpoint. What was known is not forgotten while the store does not answer."""
    seen, wanted = turn.seen.progress, turn.seen.wanted
    if wanted is not None and not wanted.store:
        turn.condition("StoreReadable", False, "NoStore", "storage.remote is null: nothing outlives the pods")
        return
    if not seen.readable:
        turn.condition("StoreReadable", False if seen.problem else None, "Unreadable", seen.problem)
        return
    turn.condition("StoreReadable", True, "Readable")
    newest(turn)


def newest(turn: Turn) -> None:
    """Report the newest checkpoint, never an older one than is known."""
    seen = turn.seen.progress
    known = int((turn.status.get("checkpoint") or {}).get("step") or 0)
    if seen.checkpoint is not None and seen.checkpoint >= known:
        when = {"time": stamp(seen.checkpoint_at)} if seen.checkpoint_at is not None else {}
        turn.set(checkpoint={"uri": seen.checkpoint_uri, "step": seen.checkpoint, **when})


def _scheduled(turn: Turn, job: Job | None) -> None:
    if turn.seen.half:
        turn.condition("Scheduled", False, "HalfAGang", turn.seen.half)
    elif job is None or not job.live:
        turn.condition("Scheduled", None, "NoJob")
    elif job.state.phase in (Phase.RUNNING, Phase.STARTING, Phase.RESTARTING):
        turn.condition("Scheduled", True, "Scheduled")
    else:
        turn.condition("Scheduled", False, job.state.reason or str(job.state.phase), job.state.message)


def _progressing(turn: Turn, job: Job | None) -> None:
    """Report whether steps are made, by when the pods say now that the last one was."""
    wanted, seen = turn.seen.wanted, turn.seen.progress
    last = seen.last_step_at
    if job is None or wanted is None or job.state.phase != Phase.RUNNING or job.start is None:
        turn.condition("Progressing", None, "NotRunning")
        return
    if last is None or not seen.training:
        turn.condition("Progressing", None, "NoAnswer" if last is None else "NotTraining")
        return
    limit = wanted.spec.run.cluster.stall_minutes
    if last < job.start.at:
        turn.condition("Progressing", None, "NoStepYet")
    elif limit is not None and turn.now - last > 60.0 * limit:
        turn.condition("Progressing", False, "Stalled", f"no step for more than {limit:g} minutes")
    else:
        turn.condition("Progressing", True, "StepsAreMade")
