"""The training loop: build, resume, update, log, evaluate, save."""

import time
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from trainer import checkpoint, data
from trainer.agency import HEART
from trainer.claim import claim
from trainer.data.store import Split, read_split
from trainer.data.stream import Stream, fits_on_device
from trainer.dist import Stopped, StopSignal, World
from trainer.evaluate import evaluate_sample
from trainer.fits import refuse_table_without_room
from trainer.known import note_data
from trainer.metrics import MetricsLog, open_log
from trainer.models.prepare import prepare
from trainer.nodes import Machines, meet, spread_newest
from trainer.progress import TrainingProgress, say
from trainer.remote import Remote, about, open_remote
from trainer.start import start_from_another
from trainer.state import TrainState, Update, make_model, total_steps
from trmkit.errors import CheckpointError, StoreError, StoreUnavailableError, TrainError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.summary import Status


def train(run: RunFile, directory: RunDirectory, world: World) -> int:
    """Train `run` to its last update and return that update's number; goes on from the newest checkpoint.

    Raises `Stopped` when a signal asked for it, after saving; TrainError when the loss is not finite.
    """
    with world.together():
        if world.first:
            refuse_table_without_room(run, world)
    train_split, test_split = open_data(run, world)
    with StopSignal().listening() as stop, claim(run, directory, world):
        remote = bring_newest(run, directory, world, stop)
        machines = meet(directory, world)
        spread_newest(machines, directory.checkpoints, run.train.checkpoint.keep)
        note_data(run, directory, world)
        state = build_state(run, train_split, world)
        if not resume(state, directory):
            start_from_another(state, directory)
        with Session(state, directory, stop, remote, machines) as session:
            while True:
                stop.check(world)
                session.evaluate_if_due(test_split)
                session.save_if_due()
                if state.step >= state.total:
                    break
                session.note(state.update())
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


def open_data(run: RunFile, world: World) -> tuple[Split, Split]:
    """Return the training and the test split of `run`, built by the first process if need be."""
    folder = data.build_together(run, world)
    return read_split(folder, "train"), read_split(folder, "test")


def build_state(run: RunFile, split: Split, world: World) -> TrainState:
    """Return the state before the first update."""
    model = make_model(run, split.metadata, world.device)
    prepare(model, run.train)
    on_device = fits_on_device(split, world.device, run.train.data_on_device)
    stream = Stream(split, run.seed, run.train.batch_size, world, on_device=on_device)
    return TrainState(run, model, stream, world, total_steps(run, split.metadata))


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
        directory: RunDirectory,
        stop: StopSignal,
        remote: Remote | None,
        machines: Machines | None = None,
    ) -> None:
        self.state, self.directory, self.stop, self.remote, self.machines = state, directory, stop, remote, machines
        self.scores: dict[str, float] = {}
        self.saved = state.step
        self.saved_at = time.monotonic()
        self.meter = Meter(state)
        self.log: MetricsLog = MetricsLog([])
        self.progress = TrainingProgress(state.total, state.step, visible=state.world.first)

    def __enter__(self) -> "Session":
        world, run = self.state.world, self.state.run
        HEART.rest(self.state.step)  # the first update may compile, and takes as long as it takes
        with world.together():
            self.log = open_log(
                run, self.directory, self.state.step, self.state.total, first=world.first,
                local_first=world.local_rank == 0,
            )  # fmt: skip
        self.progress.__enter__()
        if self.remote is not None:
            self.remote.begin(self._status("training", self.saved))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if isinstance(error, Stopped):
                self.save()
                done = f"saved at step {self.saved}" if self.saved else "before the first update: nothing to save"
                self.progress.say(f"{error}; {done}")
        finally:
            HEART.rest()
            self.progress.__exit__(None, None, None)
            self.log.close()
            self._publish_the_rest(error)

    def _publish_the_rest(self, error: BaseException | None) -> None:
        """Wait for the store: as long as the run file says at the end, but shortly when something ended the run."""
        if self.remote is None:
            return
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

    def note(self, update: Update) -> None:
        """Count an update, log when due. TrainError: it was not finite."""
        run, step = self.state.run, self.state.step
        HEART.beat(step)
        self.meter.add(update)
        due = step % run.train.log.every_steps == 0 or step == self.state.total
        if due or self.state.world.device.type == "cpu":
            self._refuse_what_is_not_finite()
        if due:
            numbers = self.meter.read()
            self.log.write("train", step, numbers)
            if self.remote is not None:
                self.log.write("store", step, self.remote.numbers())
                self.remote.status(self._status("training", step))
            self.progress.show(step, numbers)

    def evaluate_if_due(self, split: Split) -> None:
        """Score the averaged weights on a part of the test set; keep the checkpoint if it is the best so far."""
        state, options = self.state, self.state.run.evaluate
        if not options.every_steps or state.step % options.every_steps or state.step == state.evaluated:
            return
        self._refuse_what_is_not_finite()
        started = time.monotonic()
        HEART.rest()  # the model may be compiled again for this
        numbers = evaluate_sample(state, split, self.stop)
        self.meter.pause(time.monotonic() - started)
        state.evaluated, self.scores = state.step, numbers
        self.log.write("eval", state.step, numbers)
        self.progress.say(f"step {state.step}: test exact accuracy {numbers['exact_accuracy']:.4f}")
        best, value = state.best, numbers[options.best_metric]
        if best is None or best["metric"] != options.best_metric or value > best["value"]:
            state.best = {"step": state.step, "metric": options.best_metric, "value": value}
            self.save()
            if state.world.first:
                checkpoint.write_best(self.directory.checkpoints, state.best)

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
        root, world = self.directory.checkpoints, self.state.world
        checkpoint.save(root, self.state.step, *self.state.capture(), world, self._origin(), self.machines)
        keep, held = self.state.run.train.checkpoint, self.remote.held() if self.remote is not None else set()
        if world.first:
            checkpoint.prune(root, keep.keep, self.state.step, every=keep.keep_every, held=held)
        if self.remote is not None:
            self.remote.saved(self._status("training", self.state.step))
        self.saved, self.saved_at = self.state.step, time.monotonic()
        self.meter.pause(self.saved_at - started)

    def _origin(self) -> dict[str, Any]:
        """Return what a checkpoint says of where it comes from."""
        scores = self.scores if self.state.evaluated == self.state.step else {}
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return {**about(self.state.run, self.directory), "created": created, "best": self.state.best, "scores": scores}

    def _refuse_what_is_not_finite(self) -> None:
        bad = self.state.world.largest(int(self.state.bad_step))
        if bad:
            last = f"the last good checkpoint is of step {self.saved}" if self.saved else "no checkpoint was made yet"
            self.log.write("stopped", self.state.step, {"not_finite_at": bad})
            raise TrainError(
                f"the gradient of update {bad} is not finite; training stopped and {last}",
                next="go on with `trmctl run --resume` and a lower train.lr, or a train.grad_clip",
            )


class Meter:
    """Adds up what updates report, on the device, until a line of log is due."""

    def __init__(self, state: TrainState) -> None:
        self._state = state
        self._before = state.seconds
        self._started = time.monotonic()
        self._paused = 0.0
        self._clear()

    def _clear(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._updates, self._lr, self._since = 0, 0.0, self.seconds()

    def add(self, update: Update) -> None:
        """Add one update."""
        for name, value in {**update.metrics, "grad_norm": update.grad_norm}.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._updates += 1
        self._lr = update.lr

    def pause(self, seconds: float) -> None:
        """Leave out `seconds` that did not go into training."""
        self._paused += seconds

    def seconds(self) -> float:
        """Return the seconds of training so far, over all interruptions, without evaluations and saves."""
        return self._before + time.monotonic() - self._started - self._paused

    def read(self) -> dict[str, float]:
        """Return the means over all processes since the last call; this waits for the device."""
        world, batch = self._state.world, self._state.run.train.batch_size
        precision = torch.float32 if world.device.type == "mps" else torch.float64
        norm = float(self._sums.pop("grad_norm")) / self._updates
        sums = world.sum(torch.stack([value.to(precision) for value in self._sums.values()])).tolist()
        totals = dict(zip(self._sums, sums, strict=True))
        finished = totals.pop("count")
        any_finished = finished > 0  # else there is nothing to say of rows that became final
        rows = batch * self._updates * self._state.model.calls_per_update
        known = {name: value for name, value in totals.items() if any_finished or name.endswith("_loss")}
        means = {name: value / (rows if name.endswith("_loss") else finished) for name, value in known.items()}
        seconds = self.seconds() - self._since
        numbers = {
            **means,
            "grad_norm": norm,
            "lr": self._lr,
            "rows_per_second": rows / seconds,
            "step_seconds": seconds / self._updates,
            "seconds": self.seconds(),
        }
        self._clear()
        return numbers
