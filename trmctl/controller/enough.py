"""Whether training has done enough: `spec.stopWhen`. Pure."""

from trmctl.controller.seen import Job, Wanted
from trmctl.controller.turn import Turn


def enough(turn: Turn, wanted: Wanted, job: Job | None) -> dict[str, object] | None:
    """Return why training has done enough; None: it has not, or nobody knows.

    Patience is counted in scores, not in updates: who scores may be far behind who trains.
    """
    stop, seen = wanted.spec.stopWhen, turn.seen.progress
    if stop is None or job is None or not job.live or seen.value is None or seen.metric != stop.metric:
        return None
    said: dict[str, object] = {"step": seen.step, "value": seen.value}
    if stop.target is not None and seen.value >= stop.target:
        return {"reason": "TargetReached", **said}
    every = wanted.spec.run.evaluate.every_steps or 0
    if stop.patience is None or seen.best_step is None or not every:
        return None
    worse = 0 if seen.scored is None else seen.scored - seen.best_step
    return {"reason": "NoImprovement", **said} if worse >= stop.patience * every else None
