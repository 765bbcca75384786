"""The starts of a run, counted: `status.attempts`, and whether there may be another one.

The launcher in the pods counts, too (`trmkit/store/attempts.py`), and its word is better where it was written: it knows
why a process ended. What never reaches the launcher is only seen from here: an image without it, a pod that was taken
away. Both are judged by the same rule.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trmctl.controller.seen import Job, Start, Status
from trmctl.controller.turn import Turn, stamp
from trmctl.pods import seconds
from trmkit.spec.trmrun import TrmRunSpec
from trmkit.spec.trmrun import seconds as length
from trmkit.spec.trmrun_status import LONGEST_HISTORY
from trmkit.store.attempts import LARGEST_FINAL, NOT_MET, PREEMPTED, Attempt, Verdict, decide

REMEMBERED = 10
"""Attempts that are shown at least."""
SLACK = 10.0
"""Seconds by which clocks of pods and of the controller may differ."""
TIME_IS_UP = "longer than specified deadline"
"""What an operator says of a job whose own deadline it ended."""
LARGEST_EXIT = 255
UNKNOWN = "Unknown"
"""Reason of an attempt whose pod was gone before anybody saw how it ended."""


def count(turn: Turn, job: Job) -> None:
    """Write down the start that a job shows, and how the one before it ended."""
    known: list[Status] = turn.status.setdefault("attempts", [])
    start = job.start
    if start is not None and not (known and known[-1].get("uid") == start.uid):
        _close(turn, stamp(min(turn.now, start.at)), None, "")
        number = int(known[-1]["number"]) + 1 if known else 1
        known.append(
            {
                "number": number, "uid": start.uid, "pod": start.pod, "job": job.uid, "started": stamp(start.at),
                "step": checkpoint(turn),
            }
        )  # fmt: skip
        turn.set(restarts=number - 1)
        del known[: -_remembered(turn)]
    if start is not None and known and known[-1].get("uid") == start.uid:
        _ending(turn, start)
    if not known:
        turn.set(attempts=None)
    turn.set(attemptsWithoutProgress=without_progress(turn) if known else None)


def _remembered(turn: Turn) -> int:
    """Return how many attempts are kept: enough to see that the last one allowed is used up."""
    limit = 0 if turn.seen.wanted is None else _limit(turn.seen.wanted.spec)
    return min(LONGEST_HISTORY, max(REMEMBERED, limit + 2, len(turn.old.get("attempts") or ())))


def _limit(spec: TrmRunSpec) -> int:
    """Return how many starts in a row may get no further: as asked, and no more than can be remembered."""
    limit = spec.run.cluster.restarts if spec.attempts.limit is None else spec.attempts.limit
    return min(limit, LONGEST_HISTORY - 2)


def _ending(turn: Turn, start: Start) -> None:
    if start.ended is not None:
        _close(turn, stamp(start.ended), start.exit, start.reason)
    elif start.leaving:
        _close(turn, stamp(turn.now), 143, PREEMPTED)


def close(turn: Turn, reason: str, exit: int | None) -> None:
    """Say that the newest attempt is over, where that is not known yet."""
    _close(turn, stamp(turn.now), exit, reason)


def _close(turn: Turn, when: str, exit: int | None, reason: str) -> None:
    known: list[Status] = turn.status.get("attempts") or []
    if not known or known[-1].get("reason"):
        return
    told = _told(turn, known[-1])
    if told is not None and not reason:
        reason, exit = told.reason, told.exit
    known[-1] = {**known[-1], "ended": when, "reason": reason or UNKNOWN}
    if exit is not None and 0 <= exit <= LARGEST_EXIT:
        known[-1]["exitCode"] = exit


def _told(turn: Turn, one: Status) -> Attempt | None:
    """Return what the launcher wrote of an attempt."""
    began = seconds(one["started"]) or 0.0
    ended = [entry for entry in turn.seen.progress.ledger if entry.ended is not None]
    same = [entry for entry in ended if entry.pod == one.get("pod")]
    found = [entry for entry in same if entry.started >= began - SLACK]
    return found[-1] if found else None


def checkpoint(turn: Turn) -> int:
    """Return the update from which a start goes on; where the store does not say it, the furthest that was seen."""
    known = max(int((turn.status.get("checkpoint") or {}).get("step") or 0), turn.seen.progress.checkpoint or 0)
    if turn.seen.progress.readable:
        return known
    before = (int(one.get("step") or 0) for one in turn.status.get("attempts") or ())
    return max(known, int(turn.status.get("step") or 0), *before)


def ledger(status: Mapping[str, Any]) -> tuple[Attempt, ...]:
    """Return `status.attempts` as the launcher has them. One that says nothing of its end has one all the same."""
    found = []
    for one in status.get("attempts") or ():
        began = seconds(one.get("started")) or 0.0
        over = seconds(one["ended"]) if one.get("ended") else None
        attempt = Attempt(int(one["number"]), began, int(one.get("step") or 0), over, reason=str(one.get("reason", "")))
        found.append(replace(attempt, exit=one.get("exitCode")))
    return tuple(found)


def without_progress(turn: Turn) -> int:
    """Return how many attempts in a row began where the one before did; those told to leave do not count."""
    row = [one for one in ledger(turn.status) if one.reason not in (PREEMPTED, NOT_MET)]
    count = 0
    for one in reversed(row):
        if one.step != row[-1].step:
            break
        count += 1
    return max(0, count - 1)


def verdict(turn: Turn, spec: TrmRunSpec) -> Verdict:
    """Say whether the run may be started once more, and after how long."""
    over = tuple(one for one in ledger(turn.status) if one.ended is not None and not one.final)
    found = decide(over, checkpoint(turn), _limit(spec), None, turn.now)
    if not found.reason and found.without_progress:
        first, longest = length(spec.attempts.backoff), length(spec.attempts.longestBackoff)
        found = replace(found, wait=min(longest, first * 2.0 ** (found.without_progress - 1)))
    return found


def may_help(job: Job, status: Mapping[str, Any]) -> bool:
    """Say whether another try makes sense after a job failed: not if a process said that it was its own fault."""
    if job.kind == "Workflow" and job.state.reason == "Error" and job.start is None:
        return False  # nothing of it could be started: a template that is not there, a parameter that it lacks
    last = (status.get("attempts") or [{}])[-1]
    code = job.exit if job.exit is not None or last.get("job") != job.uid else last.get("exitCode")
    if code is not None:
        return int(code) > LARGEST_FINAL
    return job.state.again or TIME_IS_UP not in job.state.message
