"""What a run learns from and is examined in. Puzzles and text differ here, and nowhere else in the trainer."""

from importlib import import_module
from typing import Any, Protocol, cast

from trainer.data.feed import Feed
from trainer.data.store import Metadata
from trainer.dist import StopSignal, World
from trainer.learner import Learner
from trainer.scope import Part
from trmkit.spec.curriculum import CurriculumData
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

SUBJECTS = {
    "puzzles": "trainer.puzzle_subject:Puzzles",
    "text": "trainer.text_subject:Text",
}


class Subject(Protocol):
    """The data set of a run, opened."""

    metadata: Metadata
    """Of the training rows."""
    reader: str
    """Identity of the reader of the rows' text; empty: they have none."""

    def feed(self, run: RunFile, world: World) -> Feed:
        """Return the source of training rows."""

    def examine(self, state: Learner, directory: RunDirectory, stop: StopSignal) -> dict[str, Any]:
        """Return the scores of the averaged weights on a part of the test set, as a line of log has them.

        `exact_accuracy` and `accuracy` are among them. Every process calls it; raises `Stopped`.
        """


class SubjectType(Protocol):
    """How a subject is opened, and how a run is scored in it at the end."""

    def __call__(self, run: RunFile, world: World) -> Subject:
        """Open the data set, built by the first process if need be. DataError: it cannot be."""

    def score(self, run: RunFile, directory: RunDirectory, world: World, which: str, part: Part) -> dict[str, Any]:
        """Score the `last` or the `best` checkpoint, write what was found, and return it; see `trainer.evaluate`."""

    def asked(self, run: RunFile) -> str:
        """Return a hash of what the scores at the end depend on, besides the checkpoint."""


def subject_of(run: RunFile) -> SubjectType:
    """Return the subject of `run`."""
    name = "text" if isinstance(run.data, CurriculumData) else "puzzles"
    module, kind = SUBJECTS[name].split(":")
    return cast(SubjectType, getattr(import_module(module), kind))
