"""`TrmRun` (`trm.dev/v1alpha1`): a run file as an object of a cluster, with what its controller is to do about it.

Keys of the run file are as they are everywhere; those around it are written as Kubernetes writes its own.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from trmkit.errors import SpecError
from trmkit.spec.base import Fraction, NonNegativeInt, PositiveInt, Section
from trmkit.spec.problems import problems
from trmkit.spec.run import RunFile
from trmkit.spec.yaml_read import Node

API_VERSION, KIND = "trm.dev/v1alpha1", "TrmRun"
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
"""Of a TrmRun: an object's name that may be the value of a label, too."""
SHOWN = 20
"""Problems that an object says of itself."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DURATION = r"^([0-9]{1,6}[smhd])+$"


def _duration(text: str) -> str:
    if re.fullmatch(DURATION, text) is None:
        raise ValueError(f"expected a time such as 90s, 1h30m or 3d, found {text!r}")
    return text


Duration = Annotated[str, AfterValidator(_duration), Field(json_schema_extra={"pattern": DURATION})]
"""A time such as `90s`, `1h30m` or `3d`."""


def seconds(duration: str) -> float:
    """Return a `Duration` in seconds."""
    return float(sum(int(count) * UNITS[unit] for count, unit in re.findall(r"([0-9]+)([smhd])", duration)))


class Attempts(Section):
    """How often a run is started again, and after how long."""

    limit: NonNegativeInt | None = None
    """Starts in a row, after the first, that may get no further than the one before; null: `run.cluster.restarts`."""

    backoff: Duration = "10s"
    """Pause before a job that failed is made again; twice as long each time that it got no further."""

    longestBackoff: Duration = "10m"
    """Longest such pause."""

    @model_validator(mode="after")
    def _grows(self) -> "Attempts":
        if seconds(self.longestBackoff) < seconds(self.backoff):
            raise ValueError(f"longestBackoff {self.longestBackoff} is shorter than backoff {self.backoff}")
        return self


class StopWhen(Section):
    """When training has done enough: its newest weights are then scored and reported, and the run has succeeded."""

    metric: Literal["exact_accuracy", "accuracy"] = "exact_accuracy"
    """The score that counts; it is the run's own, `run.evaluate.best_metric`."""

    target: Fraction | None = None
    """Score that is enough; null: none is."""

    patience: PositiveInt | None = None
    """Evaluations in a row without a better score that are enough; null: any number may pass."""

    @model_validator(mode="after")
    def _says_when(self) -> "StopWhen":
        if self.target is None and self.patience is None:
            raise ValueError("give target, patience, or both")
        return self


class Keep(Section):
    """What stays in the cluster of a run that is over. The TrmRun itself stays, and so does all that is stored."""

    age: Duration | None = None
    """How long its job and pods stay; null: `run.cluster.ttl_seconds`."""

    count: NonNegativeInt | None = None
    """How many runs of this `run.name` that are over keep their jobs, the latest; null: all of them."""


class TrmRunSpec(Section):
    """The `spec` of a TrmRun."""

    run: RunFile
    """The run file."""

    suspend: bool = False
    """Whether the run is to save, give back its machines, and wait."""

    pipeline: bool = False
    """Whether it runs as an Argo pipeline, a pod for each stage, instead of as one job."""

    attempts: Attempts = Field(default={}, validate_default=True)
    """How often it is started again, and after how long."""

    deadline: Duration | None = None
    """Longest time from when its first job is to be made to its end; waiting and failing count, pauses do not;
    null: none."""

    stopWhen: StopWhen | None = None
    """When training has done enough before its last step; null: never."""

    keep: Keep = Field(default={}, validate_default=True)
    """What stays in the cluster when it is over."""

    @model_validator(mode="after")
    def _there_is_time(self) -> "TrmRunSpec":
        if self.deadline is not None and not seconds(self.deadline):
            raise ValueError("deadline: no time at all; leave it out for none")
        return self

    @model_validator(mode="after")
    def _scores_are_there(self) -> "TrmRunSpec":
        stop, evaluate = self.stopWhen, self.run.evaluate
        if stop is None:
            return self
        if stop.metric != evaluate.best_metric:
            raise ValueError(f"stopWhen.metric: {stop.metric} is not run.evaluate.best_metric {evaluate.best_metric}")
        if evaluate.every_steps is None:
            raise ValueError("stopWhen: the run is scored only at its end; set run.evaluate.every_steps")
        if self.pipeline:
            raise ValueError("stopWhen: a pipeline decides itself what comes after training; leave one of the two out")
        return self


class TrmRun(Section):
    """A TrmRun as a file has it: what its schema says, and nothing about how it went."""

    apiVersion: Literal["trm.dev/v1alpha1"]
    """Group and version of its definition."""

    kind: Literal["TrmRun"]
    """What it is."""

    metadata: dict[str, Any] = {}
    """Its name and namespace, and what Kubernetes and others keep with it."""

    spec: TrmRunSpec
    """The run file, and what is to be done about it."""

    status: dict[str, Any] = {}
    """What its controller has seen; nobody else writes it."""

    @model_validator(mode="after")
    def _name_is_a_label(self) -> "TrmRun":
        name = self.metadata.get("name")
        if name is not None and not (isinstance(name, str) and NAME.fullmatch(name)):
            raise ValueError(
                f"metadata.name: {name!r} is not lower-case letters, digits, dashes and dots, at most 63, with a letter"
                " or digit at both ends"
            )
        return self


def read(body: Mapping[str, Any]) -> TrmRunSpec:
    """Return the spec of a TrmRun as an API server gives it. SpecError: all that is wrong, each with its path."""
    found = {"apiVersion": API_VERSION, "kind": KIND, "spec": body.get("spec")}
    try:
        return TrmRun.model_validate(found).spec
    except ValidationError as error:
        count, wrong = problems(error, node(found), SHOWN, TrmRun)
    lines = [line.removeprefix(": ") for line in wrong] + ([f"and {count - len(wrong)} more"] if count > SHOWN else [])
    raise SpecError("\n".join(lines), next="correct the TrmRun, and apply it again")


def node(value: Any) -> Node:
    """Return plain data as what problems are found in; it is written nowhere, so that nothing has a place."""
    if isinstance(value, Mapping):
        return Node({str(key): node(below) for key, below in value.items()}, "")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Node([node(one) for one in value], "")
    return Node(value, "")
