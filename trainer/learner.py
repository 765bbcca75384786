"""Who is examined: a run in training, or one of its checkpoints."""

from contextlib import AbstractContextManager
from typing import Protocol

from trainer.dist import World
from trainer.models import TrainableModel
from trmkit.spec.run import RunFile


class Learner(Protocol):
    """A model at some update of a run."""

    @property
    def run(self) -> RunFile:
        """The run."""

    @property
    def world(self) -> World:
        """The processes that examine it."""

    @property
    def step(self) -> int:
        """Updates made so far."""

    def averaged(self) -> AbstractContextManager[TrainableModel]:
        """Yield the model with averaged weights, if there is an average, to be scored within a `with` block."""
