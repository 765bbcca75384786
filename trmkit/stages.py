"""The stages of a run, and what each needs: one definition for a laptop, a job's pods and a pipeline's steps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # commands that only start a stage need no run file
    from trmkit.spec.run import RunFile


@dataclass(frozen=True)
class Stage:
    """One stage of a run."""

    name: str
    """As in `python -m trainer NAME RUN.yaml`."""
    after: tuple[str, ...]
    """Stages that must be done before."""
    everywhere: bool = False
    """Whether all processes of the run take part."""
    accelerated: bool = False
    """Whether it uses GPUs."""
    is_job: bool = False
    """Whether a pipeline hands it in as a job of its own, with all pods of the run."""


STAGES = (
    Stage("build", after=()),
    Stage("features", after=("build",), everywhere=True, accelerated=True, is_job=True),
    Stage("train", after=("build", "features"), everywhere=True, accelerated=True, is_job=True),
    Stage("evaluate", after=("train",), everywhere=True, accelerated=True),
    Stage("report", after=("evaluate",)),
)
FOLLOW = Stage("follow", after=("build", "features"), accelerated=True)
"""What goes on beside `train` of a run whose checkpoints are scored by somebody else, and ends after it."""
NAMES = tuple(stage.name for stage in STAGES)


def stages_of(run: "RunFile") -> tuple[Stage, ...]:
    """Return the stages that `run` has: reading texts is one only of a run that reads any, and keeps them."""
    reads = run.features is not None and not run.features.online
    return tuple(stage for stage in STAGES if stage.name != "features" or reads)
