"""`attempts.json`: when a run was started, from which step, and how it ended; and whether it may be started again.

A cluster starts a job's pods again for ever, without a pause. What ends that is this file, which lies beside the run's
checkpoints and so outlives pods. Times are in seconds since 1970.
"""

import json
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import Any

from trmkit.errors import StoreDamagedError, StoreError, StoreUnavailableError
from trmkit.store.base import Store

ATTEMPTS = "attempts.json"
FORMAT = 1
MOST = 200
"""Attempts that are remembered, the newest; how long the others ran is remembered, too."""
LONGEST_WAIT = 60.0
"""Seconds."""

PREEMPTED = "Preempted"
OUT_OF_MEMORY = "OutOfMemory"
SILENT = ". What left no word was killed whole, most often for want of memory (cluster.memory), or lost its machine"
KILLED = "Killed"
NOT_MET = "RendezvousTimeout"
"""Not all machines came: nothing was begun."""
LARGEST_FINAL = 127
"""Exit codes up to this one end a job; whoever starts it after that does so on purpose, and counting begins anew."""


@dataclass(frozen=True)
class Attempt:
    """One start of all the run's processes."""

    number: int
    started: float
    step: int
    """Newest checkpoint at the start."""
    ended: float | None = None
    """None: it is running, or died without a word."""
    exit: int | None = None
    reason: str = ""
    pod: str = ""
    """Where the first process ran."""
    before: float = 0.0
    """Seconds that attempts ran which are forgotten, since the job was last ended for good."""

    @property
    def final(self) -> bool:
        """Whether it ended the job."""
        return self.exit is not None and self.exit <= LARGEST_FINAL


@dataclass(frozen=True)
class Verdict:
    """Whether to start again."""

    wait: float = 0.0
    """Seconds to wait before."""
    without_progress: int = 0
    """Attempts before this one that began at the same step."""
    reason: str = ""
    """Why not: `OutOfAttempts`, `OutOfMemory`, `Killed` or `Deadline`; empty: go on."""
    message: str = ""
    next: str = ""
    left: float | None = None
    """Seconds until the deadline; None: there is none."""


Attempts = tuple[Attempt, ...]


def decide(attempts: Attempts, step: int, restarts: int, deadline: float | None, now: float) -> Verdict:
    """Say whether a run whose newest checkpoint is of `step` may be started again.

    Those in a row count that began at this very step; those that somebody asked to leave do not, nor do those that
    waited for other machines in vain (`not_met`). `restarts` more than the first are allowed, but only one after
    memory ran out, as it will again, and half of them where no word was left (`_without_a_word`). The run has
    `deadline` seconds in all since the job was last ended for good: those in which an attempt ran.
    """
    newest = list(takewhile(lambda one: not one.final, reversed(attempts)))
    left = None if deadline is None else deadline - running(attempts, now)
    if left is not None and left <= 0:
        return Verdict(
            reason="Deadline",
            message=f"the run has run for longer than cluster.deadline_seconds, {deadline:g}",
            next="raise cluster.deadline_seconds and submit again; it goes on from its newest checkpoint",
        )
    counted = [one for one in newest if one.reason not in (PREEMPTED, NOT_MET)]
    row = list(takewhile(lambda one: one.step == step, counted))
    count = len(row)
    if count > 1 and all(one.reason == OUT_OF_MEMORY for one in row[:2]):
        return Verdict(
            reason=OUT_OF_MEMORY,
            message=f"twice in a row memory ran out after step {step}",
            next="raise cluster.memory, or lower train.batch_size",
            without_progress=count,
        )
    silent = _without_a_word(row, restarts)
    if silent:
        return Verdict(
            reason=KILLED,
            message=f"{silent} attempts in a row ended without a word after step {step}: most often memory ran out and "
            "all of the container was killed; else its machine was lost, or the store was away when it ended",
            next="raise cluster.memory, or lower train.batch_size; where machines are lost so often, raise "
            "cluster.restarts or save more often",
            without_progress=count,
        )
    if count > restarts:
        ends = ", ".join(one.reason or "no word" for one in reversed(row[:8]))
        return Verdict(
            reason="OutOfAttempts",
            message=f"{count} attempts in a row got no further than step {step} (ended by: {ends})",
            next="see the logs of the last attempts; then submit again, or raise cluster.restarts"
            + (SILENT if any(not one.reason for one in row) else ""),
            without_progress=count,
        )
    return Verdict(min(LONGEST_WAIT, 2.0**count) if count else 0.0, count, left=left)


def not_met(attempts: Attempts, restarts: int, seconds: float) -> Verdict:
    """Say whether the machines of a run may go on waiting for each other, `seconds` at a time.

    They may `restarts` times in a row after the first. An attempt that began starts this count anew, and this count is
    none of `decide`: a run that waited for machines has done nothing wrong.
    """
    count = sum(1 for _ in takewhile(lambda one: one.reason == NOT_MET, reversed(attempts)))
    if count <= restarts:
        return Verdict()
    return Verdict(
        reason="OutOfAttempts",
        message=f"{count} times in a row not all machines of this run came within {seconds:g} s",
        next="see whether all its pods get machines; a queue (cluster.queue) or cluster.gang starts them together",
        without_progress=count,
    )


def running(attempts: Attempts, now: float) -> float:
    """Return how many seconds attempts ran since the job was last ended for good.

    One that died without a word counts to the start of the next one, or to `now`: nobody knows better.
    """
    newest = list(takewhile(lambda one: not one.final, reversed(attempts)))
    starts = [now, *(one.started for one in newest)]
    return sum(_ran(one, following) for one, following in zip(newest, starts, strict=False))


def _ran(one: Attempt, following: float) -> float:
    if one.reason == NOT_MET:
        return one.before
    return one.before + max(0.0, (following if one.ended is None else one.ended) - one.started)


def _without_a_word(row: list[Attempt], restarts: int) -> int:
    """Return how many of the newest attempts left no word, if they are too many to go on; else 0.

    Where the kernel kills a whole container for want of memory, nobody is left to say so. A machine that is lost leaves
    no word either, and is no reason to end a run, so more of them are allowed than of those that say what they want
    for: one more than half of `restarts`, at least two.
    """
    count = sum(1 for _ in takewhile(lambda one: one.ended is None, row))
    return count if count >= max(2, 1 + restarts // 2) else 0


def begun(attempts: Attempts, step: int, now: float, pod: str) -> Attempts:
    """Return `attempts` with one more, which starts now."""
    number = attempts[-1].number + 1 if attempts else 1
    joined = (*attempts, Attempt(number, now, step, pod=pod))
    while len(joined) > MOST:
        first, second = joined[:2]
        joined = (replace(second, before=0.0 if first.final else _ran(first, second.started)), *joined[2:])
    return joined


def ended(attempts: Attempts, number: int, now: float, exit: int, reason: str) -> Attempts:
    """Return `attempts` with how the one with this number ended."""
    return tuple(replace(one, ended=now, exit=exit, reason=reason) if one.number == number else one for one in attempts)


def text(attempts: Attempts) -> bytes:
    """Return the content of the file."""
    return json.dumps({"format": FORMAT, "attempts": [asdict(one) for one in attempts]}, indent=1).encode()


def parse(content: bytes) -> Attempts:
    """Return what the file says. StoreDamagedError: it is none of ours."""
    try:
        found = json.loads(content)
        if found["format"] != FORMAT:
            raise ValueError(f"is of format {found['format']!r}")
        return tuple(_attempt(one) for one in found["attempts"][-MOST:])
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise StoreDamagedError(f"{ATTEMPTS}: {error}", next="delete it; counting begins anew") from error


def _attempt(found: dict[str, Any]) -> Attempt:
    ended, code = found.get("ended"), found.get("exit")
    return Attempt(
        int(found["number"]),
        float(found["started"]),
        int(found["step"]),
        None if ended is None else float(ended),
        None if code is None else int(code),
        str(found.get("reason", ""))[:40],
        str(found.get("pod", ""))[:253],
        float(found.get("before", 0.0)),
    )


def read(store: Store, key: str) -> Attempts:
    """Return the attempts of the run `key`; none if there is no file, or one that says nothing.

    StoreUnavailableError: the store does not answer.
    """
    place = f"{key}/{ATTEMPTS}"
    if store.look(place) is None:
        return ()
    try:
        return parse(store.read(place))
    except StoreUnavailableError:
        raise
    except StoreError:
        return ()


def write(store: Store, key: str, attempts: Attempts) -> None:
    """Write the attempts of the run `key`; only its first process does. StoreError: they cannot be written."""
    store.write(f"{key}/{ATTEMPTS}", text(attempts))
