"""Jobs whose TrmRun is gone. Pure.

A job does not belong to its TrmRun by an owner reference: whoever removed the definition of TrmRuns would remove every
TrmRun, and Kubernetes every job with it, in the middle of training. So it is the controller that ends such a job, when
its TrmRun has been missed for a while and TrmRuns can still be made.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from trmctl.controller.seen import Job

GRACE = 60.0
"""Seconds for which a TrmRun that was there is missed before its job is ended."""
LONG_GRACE = 3600.0
"""The same of one that was never seen, or not since all of them went at once, as with their definition."""
SEVERAL = 2


@dataclass(frozen=True)
class Orphan:
    """A job that a TrmRun was for which is not there."""

    namespace: str
    job: Job


def orphans(jobs: Sequence[Orphan], there: Collection[tuple[str, str]]) -> list[Orphan]:
    """Return the jobs whose TrmRun is not among those that are `there`, by namespace and name."""
    return [one for one in jobs if one.job.trmrun and (one.namespace, one.job.trmrun) not in there]


def all_at_once(before: Collection[tuple[str, str]], now: Collection[tuple[str, str]]) -> bool:
    """Say whether several TrmRuns were there at the last look, and none of them is now.

    That is how it looks when their definition was removed and made anew in between: `kubectl replace --force`.
    """
    return len(before) >= SEVERAL and not set(before) & set(now)


def missed(
    found: Sequence[Orphan], before: Mapping[str, float], known: Collection[tuple[str, str]], now: float
) -> tuple[dict[str, float], list[Orphan]]:
    """Return since when each orphan, by uid, is one, and those that have been for longer than their grace.

    `known` are the TrmRuns that were seen, by namespace and name, since their definition is there.
    """
    since = {one.job.uid: before.get(one.job.uid, now) for one in found}

    def grace(one: Orphan) -> float:
        return GRACE if (one.namespace, one.job.trmrun) in known else LONG_GRACE

    return since, [one for one in found if now - since[one.job.uid] >= grace(one)]
