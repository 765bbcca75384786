"""Puzzles as a subject: rows of cells with their answers, on a disk."""

from pathlib import Path
from typing import Any

from trainer import data
from trainer import evaluate as evaluation
from trainer.data.manifest import grid_of
from trainer.data.store import read_identifiers, read_split
from trainer.data.stream import Stream, fits_on_device
from trainer.data.windowed import Windowed
from trainer.dist import StopSignal, World
from trainer.examples import Watched
from trainer.features.text import reader_known, reader_of, with_text
from trainer.learner import Learner
from trainer.scope import Part
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


class Puzzles:
    """A built data set of puzzles."""

    def __init__(self, run: RunFile, world: World) -> None:
        """Open the data set, built by the first process if need be."""
        self._folder: Path = data.build_together(run, world)
        splits = {name: read_split(self._folder, name) for name in ("train", "test")}
        splits = with_text(run, self._folder, splits, world)
        self.train, self.test = splits["train"], splits["test"]
        self.metadata, self.reader = self.train.metadata, reader_of(self.train)

    def feed(self, run: RunFile, world: World) -> Stream | Windowed:
        """Return the stream of training rows."""
        on_device = fits_on_device(self.train, world.device, run.train.data_on_device)
        if self.metadata.windows:
            return Windowed(self.train, run, world, on_device=on_device)
        return Stream(self.train, run.seed, run.train.batch_size, world, on_device=on_device)

    def examine(self, state: Learner, directory: RunDirectory, stop: StopSignal) -> dict[str, Any]:
        """Return the scores on a part of the test set; a few of the rows are written for who watches."""
        watched = Watched(directory.samples, grid_of(self._folder), read_identifiers(self._folder))
        return evaluation.evaluate_sample(state, self.test, stop, watched)

    @staticmethod
    def score(run: RunFile, directory: RunDirectory, world: World, which: str, part: Part) -> dict[str, Any]:
        """Score a checkpoint, write what was found, and return it."""
        return evaluation.evaluate(run, directory, world, which, part)

    @staticmethod
    def asked(run: RunFile) -> str:
        """Return a hash of what the scores at the end depend on, besides the checkpoint."""
        return evaluation.what_is_asked(run, reader_known(run))
