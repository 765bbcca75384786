"""The `status` of a TrmRun: what its controller has seen and done. It says nothing that is not found out again."""

from typing import Annotated, Literal

from pydantic import Field

from trmkit.spec.base import NonNegativeInt, Section, Sequence

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time as Kubernetes writes it: `2026-01-31T12:00:00Z`."""

Phase = Literal[
    "Refused", "Pending", "Queued", "Starting", "Running", "Restarting", "Backoff", "Stopping", "Paused", "Succeeded",
    "Failed",
]  # fmt: skip
LONGEST_HISTORY = 200
"""Attempts that may be kept, the latest: as many as it takes to see that no more are allowed."""


class Condition(Section):
    """One thing that is true of the run, false, or not known."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """What it is about: Accepted, Scheduled, Progressing, Suspended, StoreReadable, Succeeded or Failed."""

    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""

    reason: str | None = None
    """Why, in one word for programs."""

    message: str | None = None
    """Why, in a sentence for people."""

    lastTransitionTime: Time | None = None
    """When `status` last became another."""

    observedGeneration: NonNegativeInt | None = None
    """`metadata.generation` of the TrmRun that this was said of."""


class RunReference(Section):
    """What the run is called where it keeps what it makes."""

    name: str | None = None
    """The run file's `name`."""

    id: str | None = None
    """Id of the run, which names what it computes."""

    store: str | None = None
    """Address of the run in its store; null: it has none."""


class JobReference(Section):
    """The job of the run."""

    apiVersion: str | None = None
    """Its API."""

    kind: str | None = None
    """PyTorchJob, TrainJob or Workflow."""

    name: str | None = None
    """Its name."""

    uid: str | None = None
    """Its uid, which tells it from another one that had its name."""


class Metric(Section):
    """The best score so far."""

    name: str | None = None
    """Which score."""

    value: float | None = None
    """The score."""

    step: NonNegativeInt | None = None
    """The update after which it was measured."""


class CheckpointReference(Section):
    """The newest checkpoint that was found whole."""

    uri: str | None = None
    """Where it is."""

    step: NonNegativeInt | None = None
    """The update after which it was saved."""

    time: Time | None = None
    """When it was saved."""


class Attempt(Section):
    """One start of the run, and how it ended."""

    number: NonNegativeInt | None = None
    """Which start it was, counted from 1."""

    started: Time | None = None
    """When it began."""

    ended: Time | None = None
    """When it ended; null: it has not."""

    reason: str | None = None
    """Why it ended, in one word."""

    exitCode: int | None = None
    """Exit code of the container that decided."""

    step: NonNegativeInt | None = None
    """The update from which it went on."""

    pod: str | None = None
    """The pod of its first rank."""

    uid: str | None = None
    """What tells that pod from another one that had its name."""

    job: str | None = None
    """What tells the job from another one that had its name."""


class Stopped(Section):
    """Why training ended before its last step."""

    reason: str | None = None
    """What `stopWhen` saw, in one word."""

    step: NonNegativeInt | None = None
    """The update after which it was seen."""

    value: float | None = None
    """The score that was seen."""


class TrmRunStatus(Section):
    """What the controller has seen of the run and done for it."""

    phase: Phase | None = None
    """Where the run is, in one word."""

    reason: str | None = None
    """Why it is there, in one word for programs."""

    message: str | None = None
    """What `trmctl why` would say of it."""

    observedGeneration: NonNegativeInt | None = None
    """`metadata.generation` of the TrmRun that all this is about; an older one: the controller has yet to look."""

    conditions: Annotated[
        Sequence[Condition],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = ()
    """What is true of the run, and since when."""

    run: RunReference | None = None
    """What the run is called where it keeps what it makes."""

    job: JobReference | None = None
    """The job of the run; null: there is none at this time."""

    step: NonNegativeInt | None = None
    """Updates made so far."""

    totalSteps: NonNegativeInt | None = None
    """Updates in all."""

    progress: str | None = None
    """How much of them is done, as `37 %`."""

    eta: Time | None = None
    """When training will be done if it goes on as it does."""

    lastStepTime: Time | None = None
    """When the last update was made that is known of."""

    metric: Metric | None = None
    """The best score so far."""

    checkpoint: CheckpointReference | None = None
    """The newest checkpoint that was found whole; the run goes on from there."""

    attempts: Annotated[Sequence[Attempt], Field(max_length=LONGEST_HISTORY)] = ()
    """The latest starts of the run, the oldest first."""

    attemptsWithoutProgress: NonNegativeInt | None = None
    """Starts in a row that got no further than the one before."""

    restarts: NonNegativeInt | None = None
    """Starts after the first, in all, that were seen."""

    startTime: Time | None = None
    """When its first job was made."""

    completionTime: Time | None = None
    """When it was over."""

    pausedSince: Time | None = None
    """When the pause began that it is in; null: it is in none."""

    pausedSeconds: NonNegativeInt | None = None
    """Length of all pauses that are over."""

    nextAttemptTime: Time | None = None
    """When it will be started again."""

    stopped: Stopped | None = None
    """Why training ended before its last step; null: it did not."""

    asked: str | None = None
    """Hashes of what the spec asked for when it was last seen: of `keep`, and of all else."""

    discarded: str | None = None
    """Uid of a job about which all is decided, and which is being removed to be made anew."""
