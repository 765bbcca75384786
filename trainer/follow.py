"""Scores of checkpoints as training saves them, by somebody else than who trains: `evaluate.mode: job`.

Training saves a checkpoint where it would have evaluated, and goes on. Who follows it scores each, and leaves what it
found as a file in the run's folder `scores`. Training takes these up as they come: they go into its log, and decide
which checkpoint is the best. What comes after training has ended goes into the log from here.

With `storage.remote` the two need not share a disk: checkpoints, scores and the log go through the run's store.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from trainer import checkpoint
from trainer.agency import HEART
from trainer.budget import ledger
from trainer.candidates import load_for_inference
from trainer.checkpoint import Checkpoint
from trainer.claim import writing_log
from trainer.dist import StopSignal, World
from trainer.elsewhere import LOOK_SECONDS as LOOK_AFAR_SECONDS
from trainer.elsewhere import Elsewhere
from trainer.models import TrainableModel
from trainer.models.prepare import prepare
from trainer.origin import refuse_another_reader
from trainer.progress import say
from trainer.scores import Best, Scores
from trainer.state import make_model, total_steps
from trainer.subject import subject_of
from trmkit.errors import CheckpointError, StoreUnavailableError, TrainError
from trmkit.spec.run import RunFile
from trmkit.store import attempts
from trmkit.store.attempts import Attempt
from trmkit.store.layout import RunDirectory

LOOK_SECONDS = 2.0
"""Pause between two looks for checkpoints on a disk."""
GIVEN_UP_SECONDS = 1800.0
"""How long a training that had failed before somebody follows it may take to start again, where it is in no queue."""
NOTHING: tuple[Checkpoint | None, bool] = (None, False)
Wait = Callable[[float], None]
T = TypeVar("T")


@dataclass
class Examinee:
    """A checkpoint that is examined."""

    run: RunFile
    world: World
    step: int
    model: TrainableModel

    @contextmanager
    def averaged(self) -> Iterator[TrainableModel]:
        """Yield the model; its weights are the averaged ones already."""
        yield self.model.eval()


@dataclass
class Watch:
    """What the first process sees of a training that is followed."""

    run: RunFile
    directory: RunDirectory
    stop: StopSignal
    elsewhere: Elsewhere | None = None
    """The run's store; None: training is on this disk."""
    _unusable: set[int] = field(default_factory=set)
    _ended_before: Attempt | None = None
    _since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Open the run's store, if it has one. StoreError: it may not be used."""
        if self.run.storage.remote is not None:
            self.elsewhere = Elsewhere(self.run, self.directory, self.stop.asked)
        self._ended_before = self._ended_for_good()

    @property
    def pause(self) -> float:
        """Seconds between two looks."""
        return LOOK_SECONDS if self.elsewhere is None else LOOK_AFAR_SECONDS

    def saved(self) -> tuple[list[int], list[int]]:
        """Return the steps of the checkpoints that are on this disk, and of those in the store."""
        there = self.elsewhere.look() if self.elsewhere is not None else []
        return checkpoint.steps(self.directory.checkpoints), there

    def next(self, total: int) -> tuple[Checkpoint | None, bool]:
        """Return the oldest checkpoint that is to be scored, and whether training has made its last update."""
        over = self.elsewhere is None or self.elsewhere.is_over(total)  # asked first: nothing comes afterwards
        here, there = self.saved()
        for step in Scores(self.run, self.directory).waiting({*here, *there} - self._unusable):
            found = self._usable(step, here)
            if found is not None:
                return found, False
            self._unusable.add(step)
        return None, over and total in (here if self.elsewhere is None else there)

    def _usable(self, step: int, here: list[int]) -> Checkpoint | None:
        """Return the checkpoint of a step, verified: that of this disk, or else that of the store; None: neither is."""
        places: list[Callable[[], Path | None]] = []
        if step in here:
            places.append(lambda: self.directory.checkpoints / f"step_{step:08d}")
        if self.elsewhere is not None:
            afar = self.elsewhere
            places.append(lambda: afar.bring(step))
        for place in places:
            try:
                path = place()
                if path is not None:
                    return checkpoint.verify(path)
            except CheckpointError as error:
                say(f"not scored: {error.message}")
        return None

    def expect_training(self) -> None:
        """Raise TrainError if training was ended for good since this watch began: nobody would start it again.

        One that had failed before may be about to start anew; after a while, outside of queues, it will not.
        """
        ended = self._ended_for_good()
        waited = self.run.cluster.queue is None and time.monotonic() - self._since > GIVEN_UP_SECONDS
        if ended is not None and ended.exit and (waited or ended != self._ended_before):
            raise TrainError(
                f"the training that is followed ended with exit code {ended.exit}: {ended.reason or 'no word'}",
                next="trmctl why says more of it; submit the run again to go on, and this with it",
            )

    def _ended_for_good(self) -> Attempt | None:
        """Return the attempt that ended the training's job, as the launcher's ledger has it; None: it may go on."""
        try:
            known = attempts.read(*ledger(self.run, self.directory))
        except StoreUnavailableError:  # the next look says so
            return None
        return known[-1] if known and known[-1].final else None

    def finish(self, total: int) -> None:
        """Log what training did not take up before it ended, remember the best checkpoint, publish both.

        Checkpoints that waited for their scores go from the disk, as they would have gone had training scored them.
        """
        if self.elsewhere is not None:
            self.elsewhere.take_final_files()
        best = log_the_rest(self.run, self.directory, total)
        keep = self.run.train.checkpoint
        checkpoint.prune(self.directory.checkpoints, keep.keep, total, every=keep.keep_every)
        if self.elsewhere is not None:
            self.elsewhere.publish(best)


def follow(run: RunFile, directory: RunDirectory, world: World, *, wait: Wait = time.sleep) -> None:
    """Score every checkpoint that is due as it appears, until that of the last update is there; all processes call it.

    Raises `Stopped`. TrainError: training has ended for good, and not well.
    """
    subject = subject_of(run)(run, world)
    scores, total = Scores(run, directory), total_steps(run, subject.metadata)
    model = make_model(run, subject.metadata, world.device)
    prepare(model, run.train)
    with StopSignal().listening() as stop:
        watch = open_watch(run, directory, world, stop)
        while True:
            found, over = look(watch, world, stop, lambda one: one.next(total), NOTHING)
            if found is not None:
                if not loaded(model, found, run, subject.reader, world):
                    continue
                line = subject.examine(Examinee(run, world, found.step, model), directory, stop)
                with world.together():
                    if watch is not None:
                        scores.leave(found.step, line)
                        if watch.elsewhere is not None:
                            watch.elsewhere.leave()
                        say(f"step {found.step}: test exact accuracy {line['exact_accuracy']:.4f}")
            elif over:
                break
            else:
                with world.together():
                    if watch is not None:
                        watch.expect_training()
                wait(watch.pause if watch is not None else LOOK_SECONDS)
        with writing_log(directory, world, stop, wait):
            look(watch, world, stop, lambda one: one.finish(total), None)


def loaded(model: TrainableModel, found: Checkpoint, run: RunFile, reader: str, world: World) -> bool:
    """Load the averaged weights of `found` on every process; say and return that it went while they were read."""
    gone = False
    try:
        refuse_another_reader(run, reader, found)
        load_for_inference(model, found)
    except FileNotFoundError:  # training keeps only the newest of those that wait
        gone = True
    if world.largest(int(gone)):
        if world.first:
            say(f"step {found.step}: not scored, training has deleted it")
        return False
    return True


def await_training(run: RunFile, directory: RunDirectory, world: World, *, wait: Wait = time.sleep) -> None:
    """Wait until training has left its first checkpoint; every process calls it. Raises `Stopped`.

    Until then its data set and its texts may be in the making, and need not be made here, too. TrainError: training
    has ended for good, and not well.
    """
    with StopSignal().listening() as stop:
        watch = open_watch(run, directory, world, stop)
        while not look(watch, world, stop, lambda one: any(one.saved()), False):
            with world.together():
                if watch is not None:
                    watch.expect_training()
            wait(watch.pause if watch is not None else LOOK_SECONDS)


def open_watch(run: RunFile, directory: RunDirectory, world: World, stop: StopSignal) -> Watch | None:
    """Return what the first process sees; None on the others. StoreError, on all: the store may not be used."""
    with world.together():
        return Watch(run, directory, stop) if world.first else None


def look(watch: Watch | None, world: World, stop: StopSignal, ask: Callable[[Watch], T], nothing: T) -> T:
    """Return what the first process sees, on all of them. Raises `Stopped`."""
    HEART.rest()  # a store takes as long as it takes
    stop.check(world)
    seen = nothing
    with world.together():
        if watch is not None:
            try:
                seen = ask(watch)
            except StoreUnavailableError:
                if not stop.asked():
                    raise
    stop.check(world)
    answer: T = world.gather_objects(seen)[0]
    return answer


def log_the_rest(run: RunFile, directory: RunDirectory, total: int) -> Best | None:
    """Log what training did not take up before it ended, and remember the best checkpoint; return it."""
    scores = Scores(run, directory)
    known = checkpoint.read_best(directory.checkpoints)
    best = scores.best(known, range(total + 1))
    with directory.metrics.open("a") as log:
        for step, found in scores.take(total):
            so_far = scores.best(known, range(step + 1))
            line = {"kind": "eval", "step": step, **found, "best": so_far and so_far["value"], "time": time.time()}
            log.write(json.dumps(line) + "\n")
    if best is not None and (directory.checkpoints / f"step_{best['step']:08d}").is_dir():
        checkpoint.write_best(directory.checkpoints, best)
    return best
