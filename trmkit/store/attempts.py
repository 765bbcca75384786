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
"""Attempts that are remembered: the first, whose start counts for the deadline, and the newest."""
LONGEST_WAIT = 60.0
"""Seconds."""

PREEMPTED = "Preempted"
OUT_OF_MEMORY = "OutOfMemory"
SILENT = ". What left no word was killed whole, most often for want of memory (cluster.memory), or lost its machine"
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
    """Why not: `OutOfAttempts`, `OutOfMemory` or `Deadline`; empty: go on."""
    message: str = ""
    next: str = ""
    left: float | None = None
    """Seconds until the deadline; None: there is none."""


Attempts = tuple[Attempt, ...]


def decide(attempts: Attempts, step: int, restarts: int, deadline: float | None, now: float) -> Verdict:
    """Say whether a run whose newest checkpoint is of `step` may be started again.

    Those in a row count that began at this very step; those that somebody asked to leave do not. `restarts` more than
    the first are allowed, but only one after memory ran out, as it will again. `deadline` seconds count from the start
    of the first attempt since the job was last ended for good.
    """
    newest = list(takewhile(lambda one: not one.final, reversed(attempts)))
    left = None if deadline is None else deadline - (now - newest[-1].started if newest else 0.0)
    if left is not None and left <= 0:
        return Verdict(
            reason="Deadline",
            message=f"the run has taken longer than cluster.deadline_seconds, {deadline:g}",
            next="raise cluster.deadline_seconds and submit again; it goes on from its newest checkpoint",
        )
    row = [one for one in takewhile(lambda one: one.step == step, newest) if one.reason != PREEMPTED]
    count = len(row)
    if count > 1 and all(one.reason == OUT_OF_MEMORY for one in row[:2]):
        return Verdict(
            reason=OUT_OF_MEMORY,
            message=f"twice in a row memory ran out after step {step}",
            next="raise cluster.memory, or lower train.batch_size",
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


def begun(attempts: Attempts, step: int, now: float, pod: str) -> Attempts:
    """Return `attempts` with one more, which starts now."""
    number = attempts[-1].number + 1 if attempts else 1
    joined = (*attempts, Attempt(number, now, step, pod=pod))
    return joined if len(joined) <= MOST else (joined[0], *joined[-(MOST - 1) :])


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
    except (ValueError, TypeError, LookupError, RecursionError) as error:
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
