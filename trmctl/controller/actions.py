"""What the controller may do. `reconcile` returns these, in the order in which they are to be done."""

from dataclasses import dataclass

from trmctl.controller.seen import Status


@dataclass(frozen=True)
class SetStatus:
    """Write the status, if the TrmRun is still as it was read; else nothing that follows may be done."""

    status: Status


@dataclass(frozen=True)
class Make:
    """Make the run's job, with its ConfigMap and the job beside it, where they are not there."""

    final: bool = False
    """Only the stages after training."""
    belongings: bool = False
    """Only what belongs to the job, which is there."""


@dataclass(frozen=True)
class Adopt:
    """Put the TrmRun's name on a job that was made without it, or for an earlier TrmRun of this name."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Pause:
    """Have a job's pods save and leave."""

    kind: str
    name: str
    uid: str
    for_good: bool = False
    """Whether it will not go on: a workflow is then told to end."""


@dataclass(frozen=True)
class Resume:
    """Have a paused job go on."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Delete:
    """Remove a job, if it is still this one; what it has stored stays."""

    kind: str
    name: str
    uid: str
    why: str


@dataclass(frozen=True)
class Say:
    """Put an event on the TrmRun, once for each `mark`."""

    warning: bool
    reason: str
    message: str
    mark: str


Action = SetStatus | Make | Adopt | Pause | Resume | Delete | Say
