"""Text as a subject: generated tasks and language, read by a language model."""

from pathlib import Path
from typing import Any

from trainer import data, text_scores
from trainer.data.store import read_metadata
from trainer.data.text_feed import TextFeed
from trainer.dist import StopSignal, World
from trainer.learner import Learner
from trainer.scope import Part
from trmkit.spec.base import section_hash
from trmkit.spec.curriculum import CurriculumData
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


class Text:
    """A built curriculum."""

    reader = ""

    def __init__(self, run: RunFile, world: World) -> None:
        """Open the data set, built by the first process if need be."""
        self._folder: Path = data.build_together(run, world)
        self.metadata = read_metadata(self._folder)
        text_scores.refuse_short_context(run, self._folder)

    def feed(self, run: RunFile, world: World) -> TextFeed:
        """Return the source of training rows."""
        assert isinstance(run.data, CurriculumData)
        return TextFeed(self._folder, run.data, run.seed, run.train.batch_size, world, run.train.data_workers)

    def examine(self, state: Learner, directory: RunDirectory, stop: StopSignal) -> dict[str, Any]:
        """Return the scores on a part of the held-out items; a few of them are written for who watches."""
        return text_scores.sample(state, self._folder, directory, lambda: stop.check(state.world))

    @staticmethod
    def score(run: RunFile, directory: RunDirectory, world: World, which: str, part: Part) -> dict[str, Any]:
        """Score a checkpoint, write what was found, and return it."""
        return text_scores.evaluate(run, directory, world, which, part)

    @staticmethod
    def asked(run: RunFile) -> str:
        """Return a hash of what the scores at the end depend on, besides the checkpoint."""
        return section_hash(run.evaluate, run.data, version=run.seed)[:12]
