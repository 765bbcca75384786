"""Decides whether the spec of a TrmRun can be followed; says what is wrong where it cannot."""

from trmctl.controller.ours import ours, own, phase_of, stop
from trmctl.controller.seen import is_another
from trmctl.controller.turn import ENDED, Turn


def accepted(turn: Turn) -> bool:
    """Say whether the spec can be followed; where it cannot, whatever trains goes on, and is only reported."""
    seen, wanted = turn.seen, turn.seen.wanted
    if wanted is None:
        return _refused(turn, seen.blame, seen.problem)
    if is_another(seen.run, wanted):
        before = turn.old["run"]["id"]
        return _refused(
            turn, "RunChanged",
            f"spec.run is now run {wanted.run_id}, and this TrmRun is run {before}: model, data, seed and training make"
            " a run what it is; put them back, or make another TrmRun",
        )  # fmt: skip
    store = str((turn.old.get("run") or {}).get("store", ""))
    if store and "startTime" in turn.old and store != wanted.store:
        return _refused(
            turn, "StoreChanged",
            f"the run is kept in {store}, and is now to be in {wanted.store or 'no store'}, by its spec or by its"
            " namespace's defaults: it would begin anew; put that back, or make another TrmRun",
        )  # fmt: skip
    kind = (turn.old.get("job") or {}).get("kind")
    if kind and (kind == "Workflow") != (wanted.kind == "Workflow"):
        return _refused(turn, "PipelineChanged", "spec.pipeline cannot change; put it back, or make another TrmRun")
    taken = next((one for one in seen.jobs if one.name == wanted.job and one.trmrun not in ("", seen.run.name)), None)
    if taken is not None and not taken.orphan:
        return _refused(turn, "NameTaken", f"{taken.kind} {taken.name} is there for TrmRun {taken.trmrun} already")
    turn.condition("Accepted", True, "Accepted")
    there = {"store": wanted.store} if wanted.store else {}
    turn.set(run={"name": wanted.spec.run.name, "id": wanted.run_id, **there})
    return True


def _refused(turn: Turn, reason: str, message: str) -> bool:
    turn.condition("Accepted", False, reason, message)
    job = own(turn.seen)
    if turn.status.get("phase") in ENDED:
        for one in ours(turn):
            stop(turn, one)
        return False
    if job is None or job.state.finished:
        turn.phase("Refused", reason, message)
    else:
        turn.phase(phase_of(job), reason, message)
    return False
