"""What the controller knows when it decides: a TrmRun, its jobs, how far they are. Data, and nothing of a cluster."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trmctl.phase import Phase, State
from trmkit.spec.trmrun import TrmRunSpec
from trmkit.store.attempts import Attempt

Status = dict[str, Any]
"""A TrmRun's `status`, with the names of `trmkit.spec.trmrun_status`."""


@dataclass(frozen=True)
class Run:
    """A TrmRun as it was read."""

    name: str
    namespace: str
    uid: str
    generation: int
    version: str
    """Its `resourceVersion`: a status is only written over this one."""
    status: Mapping[str, Any]
    leaving: bool = False
    """Whether it is being deleted."""


@dataclass(frozen=True)
class Wanted:
    """What a TrmRun asks for."""

    spec: TrmRunSpec
    kind: str
    """Kind of the job: PyTorchJob, TrainJob or Workflow."""
    job: str
    """Name of the job."""
    run_id: str
    store: str
    """Address of the run in its store; empty: it has none."""
    hash: str
    """Hash of what was asked for, as `asked`."""
    beside: str = ""
    """Name of the job that scores the checkpoints; empty: there is to be none."""


@dataclass(frozen=True)
class Start:
    """The newest start of a job's processes, by the pod of its first rank."""

    uid: str
    pod: str
    at: float
    """Seconds since 1970."""
    ended: float | None = None
    exit: int | None = None
    reason: str = ""
    leaving: bool = False
    """Whether somebody has told the pod to leave."""


@dataclass(frozen=True)
class Job:
    """A job that is there."""

    kind: str
    name: str
    uid: str
    state: State
    trmrun: str = ""
    """Name of the TrmRun it is for; empty: of none."""
    trmrun_uid: str = ""
    orphan: bool = False
    """Whether the TrmRun that it is for is gone."""
    hash: str = ""
    """Of what was asked for when it was made."""
    final: bool = False
    """Whether it only scores and reports."""
    beside: bool = False
    """Whether it scores the checkpoints of another one."""
    paused: bool = False
    """Whether we have told it to save and wait, and nobody has taken that back."""
    marked: bool = False
    """Whether anything of such a pause is on it: a note, or a queue that does not let it in."""
    stopping: bool = False
    """Whether, being a workflow, it was told to end."""
    pods: int = 0
    """Pods that are there and not over, those that leave too."""
    exit: int | None = None
    """Exit code of the process that a failure began with; None: not known."""
    start: Start | None = None

    @property
    def live(self) -> bool:
        """Whether it has, or may get, pods that train."""
        return not self.state.finished

    @property
    def quiet(self) -> bool:
        """Whether it is there and does nothing: over, or suspended, and no pod is left that saves."""
        return self.state.finished or (self.state.phase == Phase.PAUSED and not self.pods)


@dataclass(frozen=True)
class Progress:
    """How far a run is, by its pods and its store."""

    readable: bool = False
    """Whether the store answered."""
    problem: str = ""
    """Why not."""
    state: str = ""
    """What the store has as its state, as `training` or `scored`."""
    step: int = 0
    total: int = 0
    metric: str = ""
    value: float | None = None
    best_step: int | None = None
    checkpoint: int | None = None
    """Update of the newest checkpoint that is whole in the store."""
    checkpoint_uri: str = ""
    checkpoint_at: float | None = None
    last_step_at: float | None = None
    """When a pod last made a step, as it has just said itself; None: none answers."""
    ledger: Sequence[Attempt] = ()
    """The launcher's own attempts, the oldest first."""
    training: bool = False
    """Whether it said that it trains, and does not evaluate, save or publish, which take as long as they take."""
    scored: int | None = None
    """Update of the newest score that `best_step` is the best of; None: not known."""


@dataclass(frozen=True)
class Observed:
    """Everything that a decision may be based on."""

    run: Run
    wanted: Wanted | None
    problem: str = ""
    """Why the spec cannot be used, where it cannot."""
    blame: str = "InvalidSpec"
    """The reason that goes with it."""
    suspend: bool = False
    """`spec.suspend`, which holds whatever else of the spec is wrong."""
    deadline: str | None = None
    """`spec.deadline`, so too; None: there is none."""
    asked: str = ""
    """Hashes of `spec.keep` and of the rest of the spec, with a dash between them."""
    jobs: Sequence[Job] = ()
    """Those that are for this TrmRun, and what has the name of the one wanted."""
    leftover: int = 0
    """Pods of an earlier job of that name which still save and leave."""
    stuck: str = ""
    """Which of them should have left long ago, and what to do about it."""
    progress: Progress = Progress()
    why: Sequence[str] = ()
    """What `trmctl why` would say, the most telling first."""
    half: str = ""
    """How much of the gang has no machine, where only some of it has."""
    newer: int = 0
    """Runs of the same name that are over since, and keep their jobs."""


def is_another(run: Run, wanted: Wanted) -> bool:
    """Say whether a TrmRun asks for another run than the one it is."""
    known = (run.status.get("run") or {}).get("id")
    return known is not None and bool(known != wanted.run_id)


def job_name(run: Run, wanted: Wanted | None) -> str:
    """Return the name of a TrmRun's job: of the one wanted, or that which is there, where another run is asked for."""
    if wanted is not None and not is_another(run, wanted):
        return wanted.job
    return str((run.status.get("job") or {}).get("name", ""))


def asked(spec: Mapping[str, Any]) -> str:
    """Return 16 hex digits that name what a TrmRun's `spec`, as it is written, asks of its job.

    It is of the run file as given, not of what is rendered: another version of the controller, or other defaults of
    the namespace, are no reason to stop a job that trains.
    """
    limit = (spec.get("attempts") or {}).get("limit")
    return _hash([spec.get("run"), bool(spec.get("pipeline")), limit])


def of_spec(spec: Mapping[str, Any]) -> str:
    """Return hashes of `keep` and of the rest of a TrmRun's `spec`, with a dash between them."""
    return f"{_hash(spec.get('keep'))}-{_hash({key: value for key, value in spec.items() if key != 'keep'})}"


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
