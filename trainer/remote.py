"""The run's other home: what training, evaluation and report take from the store, and what they leave there.

Only the first process talks to the store. A run without `storage.remote` has none of this.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from trainer import checkpoint
from trainer.dist import World
from trainer.progress import say
from trainer.scores import Scores
from trmkit.errors import CheckpointError, StoreUnavailableError
from trmkit.spec.run import RunFile
from trmkit.store import scores
from trmkit.store import summary as summaries
from trmkit.store.base import Store
from trmkit.store.fetch import Fetch, newest_whole
from trmkit.store.layout import CHECKPOINTS, RUN_FILES, RunDirectory, store_key
from trmkit.store.local import sha256
from trmkit.store.open import open_store
from trmkit.store.probe import probe
from trmkit.store.publish import Published, checkpoints
from trmkit.store.retry import persist
from trmkit.store.summary import Status, Summary
from trmkit.store.take import take_files
from trmkit.store.uploader import Keep, Uploader, publish_files

T = TypeVar("T")


class Remote:
    """The store of one run, seen from the first process."""

    def __init__(self, run: RunFile, directory: RunDirectory, stopped: Callable[[], bool] = lambda: False) -> None:
        """Open the store; nothing is sent yet. Waiting ends when `stopped()`. StoreError: it may not be used."""
        self._run, self._directory, self._stopped = run, directory, stopped
        self._key = store_key(run, directory)
        self._store: Store = open_store(run.storage)
        self._seconds = 60 * run.storage.patience_minutes
        self._fetch = Fetch(self._store, self._seconds, give_up=stopped)
        self._published_at = float("-inf")
        self._uploader: Uploader | None = None

    def prepare(self) -> None:
        """See whether the store can be written, then bring the newest whole checkpoint if it is ahead of this disk.

        StoreError: the store cannot be used, or does not answer for `storage.patience_minutes`.
        """
        for finding in self._persist(lambda: probe(self._store)):
            say(finding)
        here = checkpoint.newest(self._directory.checkpoints)
        refused: list[str] = []
        ahead = [one for one in self._published() if here is None or one.step > here.step]
        if ahead and self._bring(ahead, refused) is None and here is None:
            raise CheckpointError(
                f"no checkpoint of this run in {self._store.url} is whole:\n    " + "\n    ".join(refused),
                next=f"delete {self._store.url}/{self._key} to start from the beginning",
            )
        self._bring_files()
        if self._run.evaluate.mode == "job":
            self._persist(lambda: scores.bring(self._store, self._key, self._directory.scores))

    def bring(self, which: str, count: int = 1) -> None:
        """Bring what is to be scored: the `count` newest checkpoints, and the best one if `which` is `best`.

        Those that are here, whole, are not brought again. What is not whole is said and not used.
        """
        found = self._published()
        refused: list[str] = []
        steps = sorted({one.step for one in found}, reverse=True)
        here = checkpoint.newest(self._directory.checkpoints)
        if here is None or (steps and steps[0] > here.step):
            here = self._bring(found, refused) or here
        for step in steps[1:count]:
            self._bring(_of_step(found, step), refused)
        if here is not None and which == "best":
            self._bring_best(here, found, refused)
        self._bring_files()

    def _bring_best(self, newest: checkpoint.Checkpoint, found: list[Published], refused: list[str]) -> None:
        """Bring the best checkpoint: the one the newest names, or a better one whose score came after that one."""
        best = newest.about.get("best")
        if self._run.evaluate.mode == "job":
            self._persist(lambda: scores.bring(self._store, self._key, self._directory.scores))
            known = Scores(self._run, self._directory)
            best = known.best(best, {one.step for one in found})
        if best is not None:
            self._bring(_of_step(found, best["step"]), refused)
            checkpoint.write_best(self._directory.checkpoints, best)

    def begin(self, status: Status) -> None:
        """Publish in the background from now on; the newest checkpoint here goes first, should it not be there."""
        kept, origin = kept_of(self._run), about(self._run, self._directory)
        self._uploader = Uploader(self._store, self._key, self._directory, kept, origin, status, say)
        if status.step:
            self._uploader.checkpoint(status.step, status)

    def saved(self, status: Status) -> None:
        """Publish the checkpoint just saved, if it is time for one, or it is one that has to stay."""
        minutes, kept = self._run.train.checkpoint.upload_every_minutes, kept_of(self._run)
        due = minutes is not None and time.monotonic() - self._published_at >= 60 * minutes
        stays = status.best_step == status.step or kept.stays(status.step) or kept.awaits(status.step)
        if self._uploader is None:
            return
        if status.step and (due or stays or status.state != "training"):
            self._published_at = time.monotonic()
            self._uploader.checkpoint(status.step, status)
        else:
            self._uploader.status(status)

    def status(self, status: Status) -> None:
        """Publish the files, and how the run is doing, when it is time."""
        if self._uploader is not None:
            self._uploader.status(status)

    def took(self, steps: Collection[int], status: Status) -> None:
        """Know that the scores of these `steps` are taken up, and that `status` names the best of them."""
        if self._uploader is not None:
            self._uploader.took(steps, status)

    def held(self) -> set[int]:
        """Return the steps that may not be deleted yet."""
        return self._uploader.holds() if self._uploader is not None else set()

    def numbers(self) -> dict[str, float]:
        """Return what waits to be published, for the log."""
        return self._uploader.numbers() if self._uploader is not None else {}

    def finish(self, *, shortly: bool) -> None:
        """Wait until everything is published, as long as the run file says at an end, or when it was stopped.

        StoreError: it is not published.
        """
        if self._uploader is not None:
            short = self._run.storage.stop_seconds
            self._uploader.finish(short if shortly else self._seconds, self._stopped, short)

    def publish_results(self, *, scored: bool) -> None:
        """Publish the files of the run now; with its score if the whole test set was `scored`. The step never falls."""
        known = (self._persist(lambda: summaries.read(self._store, self._key)) or Summary()).status
        status = _with_score(known, self._run, self._directory) if scored else known
        origin = about(self._run, self._directory)
        self._persist(lambda: publish_files(self._store, self._key, self._directory, status, origin))

    def _bring(self, candidates: list[Published], refused: list[str]) -> checkpoint.Checkpoint | None:
        """Bring the first of `candidates` that is whole; say which are not, and where it comes from."""
        before = len(refused)
        known = set(checkpoint.steps(self._directory.checkpoints))
        brought = newest_whole(self._fetch, candidates, self._directory.checkpoints, refused)
        for reason in refused[before:]:
            say(f"not used: {reason}")
        if brought is None:
            return None
        if brought.step not in known:
            say(f"brought step {brought.step} from {self._store.url}/{brought.key}")
        return checkpoint.verify(self._directory.checkpoints / f"step_{brought.step:08d}")

    def _bring_files(self) -> None:
        """Bring the files of the run that are not here."""
        missing = [name for name in RUN_FILES if not (self._directory.root / name).exists()]
        for line in take_files(self._fetch, self._key, self._directory.root, missing)[1:]:
            say(line)

    def _published(self) -> list[Published]:
        return self._persist(lambda: checkpoints(self._store, f"{self._key}/{CHECKPOINTS}"))

    def _persist(self, action: Callable[[], T]) -> T:
        return persist(action, self._seconds, give_up=self._stopped, waiting=_say_waiting)


def open_remote(
    run: RunFile, directory: RunDirectory, world: World, stopped: Callable[[], bool] = lambda: False
) -> Remote | None:
    """Return the run's store on the first process if it has one. StoreError: it may not be used."""
    return Remote(run, directory, stopped) if run.storage.remote is not None and world.first else None


@contextmanager
def remote_results(run: RunFile, directory: RunDirectory, world: World, which: str) -> Iterator[None]:
    """Have what a `with` block scores from the run's store, if it has one, and publish what the block leaves."""
    with world.together():
        remote = open_remote(run, directory, world)
        if remote is not None:
            remote.bring(which, run.evaluate.ensemble or 1)
    before = _changed(directory.evaluation)
    yield
    with world.together():
        if remote is not None:
            remote.publish_results(scored=_changed(directory.evaluation) != before)


def kept_of(run: RunFile) -> Keep:
    """Return which checkpoints of a run stay in its store."""
    keep = run.train.checkpoint
    return Keep(keep.keep, keep.keep_every, run.evaluate.every_steps if run.evaluate.mode == "job" else None)


def about(run: RunFile, directory: RunDirectory) -> dict[str, str]:
    """Return where what is published comes from: version, commit, image, and the SHA-256 of the run file."""
    try:
        environment = json.loads(directory.environment.read_bytes())
    except (OSError, ValueError):
        environment = {}
    known = {name: str(environment[name]) for name in ("version", "commit", "image") if environment.get(name)}
    config = {"config_sha256": sha256(directory.run_file)} if directory.run_file.is_file() else {}
    return {"run": store_key(run, directory), **known, **config}


def _of_step(found: list[Published], step: int) -> list[Published]:
    return [one for one in found if one.step == step]


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


def _with_score(known: Status, run: RunFile, directory: RunDirectory) -> Status:
    try:
        scored: Any = json.loads(directory.evaluation.read_bytes())
        metric = run.evaluate.best_metric
        value = float(scored["sets"]["test"][metric])
        step, total = max(known.step, int(scored["step"])), max(known.total, int(scored["total"]))
    except (OSError, ValueError, KeyError, TypeError):
        return known
    return replace(known, state="scored", step=step, total=total, metric=metric, value=value)


def _say_waiting(error: StoreUnavailableError) -> None:
    say(f"waiting for the store: {error.message}")
