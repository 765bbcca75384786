"""The stages of a run, and what each needs: one definition for a laptop, a job's pods and a pipeline's steps."""

from dataclasses import dataclass


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


STAGES = (
    Stage("build", after=()),
    Stage("train", after=("build",), everywhere=True, accelerated=True),
    Stage("evaluate", after=("train",), everywhere=True, accelerated=True),
    Stage("report", after=("evaluate",)),
)
NAMES = tuple(stage.name for stage in STAGES)
