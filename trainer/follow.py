"""Scores of checkpoints as training saves them, by somebody else than who trains: `evaluate.mode: job`.

Training saves a checkpoint where it would have evaluated, and goes on. Who follows it scores each, and leaves what it
found as a file in the run's folder `scores`. Training takes these up as they come: they go into its log, and decide
which checkpoint is the best. What comes after training has ended goes into the log from here.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trainer import checkpoint
from trainer.agency import HEART
from trainer.candidates import load_for_inference
from trainer.dist import StopSignal, World
from trainer.metrics import read_lines, single
from trainer.models import TrainableModel
from trainer.models.prepare import prepare
from trainer.origin import refuse_another_reader
from trainer.progress import say
from trainer.state import make_model, total_steps
from trainer.subject import subject_of
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

MOST_WAITING = 8
"""Checkpoints that are kept because they are not scored yet. Of more, the oldest go, and are never scored."""
LOOK_SECONDS = 2.0
"""Pause between two looks for checkpoints."""
Best = dict[str, Any]


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


class Scores:
    """What was found of each checkpoint of a run."""

    def __init__(self, run: RunFile, directory: RunDirectory) -> None:
        """Look at a run; what its log already has is not new."""
        self._run, self._directory = run, directory
        self._logged = {line["step"] for line in read_lines(directory.metrics) if line["kind"] == "eval"}

    def leave(self, step: int, found: dict[str, Any]) -> None:
        """Leave what was found of the checkpoint of `step`, whole or not at all."""
        self._directory.scores.mkdir(parents=True, exist_ok=True)
        write_whole(self._directory.scores / f"{step}.json", json.dumps(found))

    def steps(self) -> set[int]:
        """Return the updates whose checkpoints are scored."""
        folder = self._directory.scores
        return {int(file.stem) for file in folder.glob("*.json") if file.stem.isdigit()} if folder.is_dir() else set()

    def take(self, until: int) -> list[tuple[int, dict[str, Any]]]:
        """Return what is new, of updates up to `until`, oldest first; the next call does not return it again."""
        new = sorted(step for step in self.steps() - self._logged if step <= until)
        self._logged.update(new)
        return [(step, json.loads((self._directory.scores / f"{step}.json").read_bytes())) for step in new]

    def waiting(self, saved: list[int]) -> list[int]:
        """Return those of the `saved` steps that are to be scored yet, oldest first."""
        return sorted({step for step in saved if is_due(self._run, step)} - self.steps())

    def better(self, best: Best | None, step: int, found: dict[str, Any]) -> Best:
        """Return the best checkpoint, once that of `step` is known."""
        metric = self._run.evaluate.best_metric
        value = single(found)[metric]
        if best is None or best["metric"] != metric or value > best["value"]:
            return {"step": step, "metric": metric, "value": value}
        return best


def is_due(run: RunFile, step: int) -> bool:
    """Say whether the checkpoint of an update is one that is scored while the run trains."""
    return bool(run.evaluate.every_steps) and step % (run.evaluate.every_steps or 1) == 0


def follow(
    run: RunFile,
    directory: RunDirectory,
    world: World,
    *,
    fetch: Callable[[], None] = lambda: None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Score every checkpoint that is due as it appears, until that of the last update is there; all processes call it.

    `fetch` brings new checkpoints to this disk, where training is elsewhere. Raises `Stopped`.
    """
    subject = subject_of(run)(run, world)
    scores, total = Scores(run, directory), total_steps(run, subject.metadata)
    model = make_model(run, subject.metadata, world.device)
    prepare(model, run.train)
    with StopSignal().listening() as stop:
        while True:
            stop.check(world)
            fetch()
            step, over = _next(run, directory, scores, world, total)
            if step is not None:
                found = checkpoint.verify(directory.checkpoints / f"step_{step:08d}")
                refuse_another_reader(run, subject.reader, found)
                load_for_inference(model, found)
                line = subject.examine(Examinee(run, world, step, model), directory, stop)
                with world.together():
                    if world.first:
                        scores.leave(step, line)
                        say(f"step {step}: test exact accuracy {line['exact_accuracy']:.4f}")
            elif over:
                break
            else:
                HEART.beat()
                wait(LOOK_SECONDS)
    with world.together():
        if world.first:
            finish(run, directory, total)


def _next(run: RunFile, directory: RunDirectory, scores: Scores, world: World, total: int) -> tuple[int | None, bool]:
    """Return the oldest checkpoint that is to be scored, and whether training has made its last update."""
    here = checkpoint.steps(directory.checkpoints) if world.first else []
    waiting = scores.waiting(here) if world.first else []
    step, over = world.gather_objects((waiting[0] if waiting else None, total in here))[0]
    return step, over


def finish(run: RunFile, directory: RunDirectory, total: int) -> None:
    """Log what training did not take up before it ended, and remember the best checkpoint."""
    scores, best = Scores(run, directory), checkpoint.read_best(directory.checkpoints)
    with directory.metrics.open("a") as log:
        for step, found in scores.take(total):
            best = scores.better(best, step, found)
            line = {"kind": "eval", "step": step, **found, "best": best["value"], "time": time.time()}
            log.write(json.dumps(line) + "\n")
    if best is not None and (directory.checkpoints / f"step_{best['step']:08d}").is_dir():
        checkpoint.write_best(directory.checkpoints, best)
