"""The training loop: build, resume, update, log, evaluate, save."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from trainer import checkpoint
from trainer.agency import HEART
from trainer.claim import claim, writing_log
from trainer.depth import row_flops
from trainer.dist import Stopped, StopSignal, World
from trainer.exporter import SILENT, Exporter
from trainer.fits import refuse_table_without_room
from trainer.generators import draw_apart
from trainer.known import note_data
from trainer.meter import Meter
from trainer.metrics import MetricsLog, attempt_number, open_log, single
from trainer.models.prepare import lacking, may_compile, prepare
from trainer.nodes import Machines, meet, spread_newest
from trainer.progress import TrainingProgress, say
from trainer.remote import Remote, about, open_remote
from trainer.scores import Scores, is_due
from trainer.sharding import shard
from trainer.start import start_from_another
from trainer.state import TrainState, make_model, make_twin, total_steps
from trainer.subject import Subject, subject_of
from trmkit.errors import CheckpointError, StoreError, StoreUnavailableError, TrainError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.summary import Status


def train(run: RunFile, directory: RunDirectory, world: World, exporter: Exporter = SILENT) -> int:
    """Train `run` to its last update and return that update's number; goes on from the newest checkpoint.

    Raises `Stopped` when a signal asked for it, after saving; TrainError when the loss is not finite.
    """
    with world.together():
        if world.first:
            refuse_table_without_room(run, world)
    subject = subject_of(run)(run, world)
    with StopSignal().listening() as stop, claim(run, directory, world):
        remote = bring_newest(run, directory, world, stop)
        machines = meet(directory, world)
        spread_newest(machines, directory.checkpoints, run.train.checkpoint.keep)
        note_data(run, directory, world)
        state = build_state(run, subject, world)
        if not resume(state, directory):
            start_from_another(state, directory)
        with (
            writing_log(directory, world, stop),
            Session(state, subject, directory, stop, remote, machines, exporter) as session,
        ):
            while True:
                stop.check(world)
                session.evaluate_if_due()
                session.save_if_due()
                if state.step >= state.total:
                    break
                session.update()
            session.save()
        return state.step


def bring_newest(run: RunFile, directory: RunDirectory, world: World, stop: StopSignal) -> Remote | None:
    """Open the run's store, if it has one, and bring the newest checkpoint when it is ahead of this disk.

    Returns the store on the first process. StoreError, on all: it cannot be used.
    """
    with world.together():
        remote = open_remote(run, directory, world, stop.asked)
        if remote is not None:
            try:
                remote.prepare()
            except StoreUnavailableError:
                if not stop.asked():
                    raise
    stop.check(world)
    return remote


def build_state(run: RunFile, subject: Subject, world: World) -> TrainState:
    """Return the state before the first update."""
    data = subject.metadata
    model = make_model(run, data, world.device)
    prepare(model, run.train)
    if run.train.compile == "auto" and may_compile(run.train, world.device) and world.first:
        missing = lacking(world.device)
        say(f"blocks are not compiled: {missing} is missing" if missing else "blocks are compiled")
    if run.train.parallel == "fsdp" and world.size > 1:
        shard(model, world)
    draw_apart(run.seed, world.rank)
    twin = partial(make_twin, run, data, world.device)
    state = TrainState(run, model, subject.feed(run, world), world, total_steps(run, data), twin, subject.reader)
    if world.first:
        state.count = partial(row_flops, run, data)
    return state


def resume(state: TrainState, directory: RunDirectory) -> bool:
    """Go on from the newest checkpoint that is whole, if there is one; say so, and say what was dropped."""
    refused: list[str] = []
    found = checkpoint.newest(directory.checkpoints, refused)
    notes = [f"not used: {reason}" for reason in refused]
    if found is not None:
        notes += [f"resumed from step {found.step}", *state.restore(found)]
        if state.best and state.world.first:  # the checkpoint knows, should the run have ended before the file did
            checkpoint.write_best(directory.checkpoints, state.best)
    elif refused:
        raise CheckpointError(
            "no checkpoint of this run is whole:\n    " + "\n    ".join(refused),
            next=f"restore one, or delete {directory.checkpoints} to start from the beginning",
        )
    if state.world.first:
        for note in notes:
            say(note)
    return found is not None


class Session:
    """One stretch of training, from a start to the end or to the next interruption: what happens between updates."""

    def __init__(
        self,
        state: TrainState,
        subject: Subject,
        directory: RunDirectory,
        stop: StopSignal,
        remote: Remote | None,
        machines: Machines | None = None,
        exporter: Exporter = SILENT,
    ) -> None:
        self.state, self.directory, self.stop, self.remote, self.machines = state, directory, stop, remote, machines
        self.subject, self.exporter = subject, exporter
        self.scores: dict[str, float] = {}
        self.followed = Scores(state.run, directory, state.step) if state.run.evaluate.mode == "job" else None
        self.saved = state.step
        self.saved_at = time.monotonic()
        self.meter: Meter
        self.log: MetricsLog = MetricsLog(exporter)
        self.progress = TrainingProgress(state.total, state.step, visible=state.world.first)

    def __enter__(self) -> "Session":
        world, run = self.state.world, self.state.run
        HEART.rest(self.state.step)  # the first update may compile, and takes as long as it takes
        with world.together():
            self.log = open_log(run, self.directory, self.state.step, self.exporter, first=world.first)
        self.progress.__enter__()
        self._recall_the_best()
        if self.remote is not None:
            self.remote.begin(self._status("training", self.saved))
            self.exporter.follow("store", self.remote.numbers)
        self._begin()
        return self

    def _recall_the_best(self) -> None:
        """Know the best by scores that an earlier attempt took, and did not save, before it is named or deleted."""
        state = self.state
        if self.followed is None or not state.world.first:
            return
        best = state.best = self.followed.best(state.best, range(state.step + 1))
        if best is not None and (self.directory.checkpoints / f"step_{best['step']:08d}").is_dir():
            checkpoint.write_best(self.directory.checkpoints, best)

    def _begin(self) -> None:
        """Log that a stretch of training begins."""
        state = self.state
        self.exporter.set("trm_train_step", state.step)
        self.exporter.set("trm_train_total_steps", state.total)
        self.exporter.set("trm_checkpoint_timestamp_seconds", time.time())
        self.exporter.state("training")
        if state.step < state.total:
            weights = sum(p.numel() for p in state.model.parameters())
            line = {"attempt": attempt_number(self.directory), "parameters": weights, "processes": state.world.size}
            self.log.write("run", state.step, line)
        self._take_scores()
        self.meter = Meter(state)
        state.clock.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if isinstance(error, Stopped):
                self.save()
                done = f"saved at step {self.saved}" if self.saved else "before the first update: nothing to save"
                self.progress.say(f"{error}; {done}")
        finally:
            HEART.rest()
            self.state.feed.close()
            self.progress.__exit__(None, None, None)
            self.log.close()
            if error is None:
                self.exporter.write("train", self.state.step, self.meter.rest())
            self._publish_the_rest(error)

    def _publish_the_rest(self, error: BaseException | None) -> None:
        """Wait for the store: as long as the run file says at the end, but shortly when something ended the run."""
        if self.remote is None:
            return
        self.exporter.state("publishing")
        state = "trained" if error is None else "stopped" if isinstance(error, Stopped) else "failed"
        self.remote.saved(self._status(state, self.saved))
        try:
            self.remote.finish(shortly=error is not None)
        except StoreError as unpublished:
            if error is None and not self.stop.asked():
                raise
            say(str(unpublished))
        if error is None and self.stop.asked():  # it came while the last files were on their way
            raise Stopped(self.stop.signum)

    def _status(self, state: str, step: int) -> Status:
        best = self.state.best or {}
        known = {"metric": best.get("metric", ""), "value": best.get("value"), "best_step": best.get("step")}
        return Status(state, step, self.state.total, **known)

    def update(self) -> None:
        """Make an update, count it, log when due. TrainError: it was not finite."""
        state, log = self.state, self.state.run.train.log
        due = (state.step + 1) % log.every_steps == 0 or state.step + 1 == state.total
        update = state.update(look=due and (state.world.first or state.shared))
        HEART.beat(state.step)
        self.exporter.beat()
        self.meter.add(update)
        if due or state.world.device.type == "cpu":
            self._refuse_what_is_not_finite()
        if due:
            self._note()

    def _note(self) -> None:
        """Log what the updates since the last line came to."""
        step, numbers = self.state.step, self.meter.read()
        self.log.write("train", step, numbers)
        self._take_scores()
        self.exporter.set("trm_checkpoint_interval_seconds", self._interval(numbers["step_seconds"]))
        if self.remote is not None:
            self.log.note_store(step, self.remote.numbers())
            self.remote.status(self._status("training", step))
        self.progress.show(step, numbers)

    def _interval(self, step_seconds: float) -> float:
        """Return the seconds that are expected between two checkpoints; 0: only the last one is saved."""
        when = self.state.run.train.checkpoint
        found = [60 * when.every_minutes] if when.every_minutes is not None else []
        found += [when.every_steps * step_seconds] if when.every_steps else []
        return min(found, default=0.0)

    def evaluate_if_due(self) -> None:
        """Score the averaged weights on a part of the test set; keep the checkpoint if it is the best so far.

        Where somebody follows the training, only save what is to be scored.
        """
        state, options = self.state, self.state.run.evaluate
        if not state.step or not is_due(state.run, state.step) or state.step == state.evaluated:
            return
        if self.followed is not None:
            self.save()
            return
        self._refuse_what_is_not_finite()
        started = time.monotonic()
        HEART.rest()  # the model may be compiled again for this
        with self._doing("evaluating", "evaluation"):
            found = self.subject.examine(state, self.directory, self.stop)
        self.meter.pause(time.monotonic() - started)
        state.evaluated, self.scores = state.step, single(found)
        self.progress.say(f"step {state.step}: test exact accuracy {found['exact_accuracy']:.4f}")
        best, value = state.best, self.scores[options.best_metric]
        better = best is None or best["metric"] != options.best_metric or value > best["value"]
        if best is None or better:
            best = state.best = {"step": state.step, "metric": options.best_metric, "value": value}
        self.log.write("eval", state.step, {**found, "best": best["value"]})
        if better:
            self.save()
            if state.world.first:
                checkpoint.write_best(self.directory.checkpoints, best)

    def _take_scores(self) -> set[int]:
        """Log what who follows has found since, and keep the best in mind; return the steps he has yet to score."""
        if self.followed is None or not self.state.world.first:
            return set()
        root = self.directory.checkpoints
        for step, found in self.followed.take(self.state.step):
            best = self.state.best = self.followed.better(self.state.best, step, found)
            self.log.write("eval", step, {**found, "best": best["value"]})
            self.progress.say(f"step {step}: test exact accuracy {found['exact_accuracy']:.4f}")
            if best["step"] == step:
                checkpoint.write_best(root, best)
        if self.remote is not None:
            self.remote.took(self.followed.taken, self._status("training", self.state.step))
        return self.followed.awaited(checkpoint.steps(root))

    @contextmanager
    def _doing(self, state: str, phase: str) -> Iterator[None]:
        """Tell what is done in a `with` block, and count its time as `phase`."""
        self.exporter.state(state)
        with self.state.clock.phase(phase):
            yield
        self.exporter.state("training")

    def save_if_due(self) -> None:
        """Save when enough updates were made or enough minutes have passed; all processes decide alike."""
        when = self.state.run.train.checkpoint
        by_steps = bool(when.every_steps) and self.state.step % (when.every_steps or 1) == 0
        by_time = when.every_minutes is not None and time.monotonic() - self.saved_at >= 60 * when.every_minutes
        if by_steps or (when.every_minutes is not None and self.state.world.largest(int(by_time))):
            self.save()

    def save(self) -> None:
        """Save the state unless this very state is saved already. TrainError: it is not finite."""
        if self.state.step == self.saved:
            return
        self._refuse_what_is_not_finite()
        started = time.monotonic()
        self.state.seconds = self.meter.seconds()
        with self._doing("saving", "checkpoint"):
            folder = self._write_checkpoint()
        self.saved, self.saved_at = self.state.step, time.monotonic()
        self.meter.pause(self.saved_at - started)
        if self.state.world.first:
            size = sum(file.stat().st_size for file in folder.iterdir())
            taken = {"duration_seconds": self.saved_at - started, "bytes": size, "saved": 1}
            self.log.write("checkpoint", self.state.step, taken)

    def _write_checkpoint(self) -> Path:
        root, world, waiting = self.directory.checkpoints, self.state.world, self._take_scores()
        try:
            origin, state = self._origin(), self.state.capture()
            folder = checkpoint.save(root, self.state.step, *state, world, origin, self.machines)
        except CheckpointError:
            self.log.write("checkpoint_failed", self.state.step, {"failures": 1})
            raise
        keep, held = self.state.run.train.checkpoint, self.remote.held() if self.remote is not None else set()
        held |= waiting
        if world.first:
            checkpoint.prune(root, keep.keep, self.state.step, every=keep.keep_every, held=held)
        if self.remote is not None:
            self.remote.saved(self._status("training", self.state.step))
        return folder

    def _origin(self) -> dict[str, Any]:
        """Return what a checkpoint says of where it comes from."""
        scores = self.scores if self.state.evaluated == self.state.step else {}
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return {**about(self.state.run, self.directory), "created": created, "best": self.state.best, "scores": scores}

    def _refuse_what_is_not_finite(self) -> None:
        bad = self.state.world.largest(int(self.state.bad_step))
        if bad:
            last = f"the last good checkpoint is of step {self.saved}" if self.saved else "no checkpoint was made yet"
            self.log.write("stopped", self.state.step, {"nonfinite": 1, "not_finite_at": bad})
            raise TrainError(
                f"the gradient of update {bad} is not finite; training stopped and {last}",
                next="go on with `trmctl run --resume` and a lower train.lr, or a train.grad_clip",
            )
