"""The jobs of a TrmRun among all that were seen, and what is done to each of them alike."""

from collections.abc import Sequence

from trmctl.controller.actions import Pause
from trmctl.controller.seen import Job, Observed, Wanted, job_name
from trmctl.controller.turn import Turn
from trmctl.phase import Phase


def own(seen: Observed) -> Job | None:
    """Return the job that trains, of the name that is wanted and for this TrmRun; None: there is none."""
    name = job_name(seen.run, seen.wanted)
    return next((one for one in seen.jobs if one.name == name and one.trmrun == seen.run.name), None)


def stop(turn: Turn, job: Job) -> None:
    """Have a job save and end for good, unless it does already."""
    if not job.quiet and not job.paused and not job.stopping and job.state.phase != Phase.DELETING:
        turn.do(Pause(job.kind, job.name, job.uid, for_good=True))


def ours(turn: Turn) -> Sequence[Job]:
    """Return all jobs that are there for this TrmRun."""
    return [one for one in turn.seen.jobs if one.trmrun == turn.seen.run.name]


def second(turn: Turn, wanted: Wanted) -> Job | None:
    """Return the job that scores beside the one that trains; None: it is not there, or none is wanted."""
    return next((one for one in ours(turn) if wanted.beside and one.name == wanted.beside), None)


def phase_of(job: Job) -> str:
    """Return a job's phase as that of a run."""
    names = {Phase.DELETING: "Stopping", Phase.UNKNOWN: "Pending", Phase.FAILED: "Backoff", Phase.SUCCEEDED: "Running"}
    return names.get(job.state.phase, str(job.state.phase))
