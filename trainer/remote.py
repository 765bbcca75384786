"""The run's other home: what training, evaluation and report take from the store, and what they leave there.

Only the first process talks to the store. A run without `storage.remote` has none of this.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from trainer import checkpoint
from trainer.dist import World
from trainer.progress import say
from trmkit.errors import CheckpointError, StoreUnavailableError
from trmkit.spec.run import RunFile
from trmkit.store.base import Store
from trmkit.store.fetch import Fetch, newest_whole
from trmkit.store.layout import CHECKPOINTS, RUN_FILES, RunDirectory
from trmkit.store.local import sha256
from trmkit.store.manifest import Member
from trmkit.store.open import open_store
from trmkit.store.probe import probe
from trmkit.store.publish import Published, checkpoints
from trmkit.store.retry import persist
from trmkit.store.uploader import Keep, Status, Uploader, publish_files, read_summary

T = TypeVar("T")


class Remote:
    """The store of one run, seen from the first process."""

    def __init__(self, run: RunFile, directory: RunDirectory, stopped: Callable[[], bool] = lambda: False) -> None:
        """Open the store; nothing is sent yet. Waiting ends when `stopped()`. StoreError: it may not be used."""
        self._run, self._directory, self._stopped = run, directory, stopped
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
        ahead = [one for one in self._published() if here is None or one.step > here.step]
        if not ahead:
            return
        refused: list[str] = []
        brought = newest_whole(self._fetch, ahead, self._directory.checkpoints, refused)
        for reason in refused:
            say(f"not used: {reason}")
        if brought is not None:
            say(f"brought step {brought.step} from {self._store.url}/{brought.key}")
            self.bring_files()
        elif here is None:
            raise CheckpointError(
                f"no checkpoint of this run in {self._store.url} is whole:\n    " + "\n    ".join(refused),
                next=f"delete {self._store.url}/{self._directory.key} to start from the beginning",
            )

    def bring(self, which: str) -> None:
        """Bring the `last` or the `best` checkpoint and the run's files, unless a checkpoint is here already."""
        if checkpoint.steps(self._directory.checkpoints) and not (which == "best" and self._best_is_missing()):
            return
        found = self._published()
        refused: list[str] = []
        brought = newest_whole(self._fetch, found, self._directory.checkpoints, refused)
        if brought is None:
            return
        self.bring_files()
        best = checkpoint.verify(self._directory.checkpoints / f"step_{brought.step:08d}").about.get("best")
        if isinstance(best, dict) and isinstance(best.get("step"), int):
            if which == "best":
                newest_whole(self._fetch, _of_step(found, best["step"]), self._directory.checkpoints, refused)
            checkpoint.write_best(self._directory.checkpoints, best)

    def bring_files(self) -> None:
        """Bring the files of the run that are not here, verified; those that change right now are left out."""
        summary = self._persist(lambda: read_summary(self._store, self._directory.key)) or {}
        listed = summary.get("files")
        for name, entry in listed.items() if isinstance(listed, dict) else ():
            if name not in RUN_FILES or (self._directory.root / name).exists():
                continue
            with suppress(KeyError, TypeError, CheckpointError):
                member = Member(int(entry["bytes"]), str(entry["sha256"]))
                self._fetch.files(self._directory.key, {name: member}, self._directory.root)

    def begin(self, status: Status) -> None:
        """Publish in the background from now on; the newest checkpoint here goes first, should it not be there."""
        keep = self._run.train.checkpoint
        self._uploader = Uploader(
            self._store, self._directory, Keep(keep.keep, keep.keep_every), about(self._directory), status, say
        )
        if status.step:
            self._uploader.checkpoint(status.step, status)

    def saved(self, status: Status) -> None:
        """Publish the checkpoint just saved, if it is time for one, it is the best, or the last."""
        minutes = self._run.train.checkpoint.upload_every_minutes
        due = minutes is not None and time.monotonic() - self._published_at >= 60 * minutes
        if self._uploader is None:
            return
        if status.step and (due or status.best_step == status.step or status.state != "training"):
            self._published_at = time.monotonic()
            self._uploader.checkpoint(status.step, status)
        else:
            self._uploader.status(status)

    def status(self, status: Status) -> None:
        """Publish the files, and how the run is doing, when it is time."""
        if self._uploader is not None:
            self._uploader.status(status)

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

    def publish_results(self, state: str) -> None:
        """Publish the files of the run now, with its final score if there is one."""
        summary = self._persist(lambda: read_summary(self._store, self._directory.key)) or {}
        known = {name: summary[name] for name in ("step", "total", "metric", "value", "best_step") if name in summary}
        status = Status(**(known | _final_score(self._run, self._directory) | {"state": state}))
        self._persist(lambda: publish_files(self._store, self._directory, status, about(self._directory)))

    def _published(self) -> list[Published]:
        parent = f"{self._directory.key}/{CHECKPOINTS}"
        return self._persist(lambda: checkpoints(self._store, parent))

    def _persist(self, action: Callable[[], T]) -> T:
        return persist(action, self._seconds, give_up=self._stopped, waiting=_say_waiting)

    def _best_is_missing(self) -> bool:
        return checkpoint.read_best(self._directory.checkpoints) is None


def open_remote(
    run: RunFile, directory: RunDirectory, world: World, stopped: Callable[[], bool] = lambda: False
) -> Remote | None:
    """Return the run's store on the first process if it has one. StoreError: it may not be used."""
    return Remote(run, directory, stopped) if run.storage.remote is not None and world.first else None


@contextmanager
def remote_results(run: RunFile, directory: RunDirectory, world: World, which: str) -> Iterator[None]:
    """Have what a `with` block needs from the run's store, if it has one, and publish what the block leaves."""
    with world.together():
        remote = open_remote(run, directory, world)
        if remote is not None:
            remote.bring(which)
    yield
    with world.together():
        if remote is not None:
            remote.publish_results("scored")


def about(directory: RunDirectory) -> dict[str, Any]:
    """Return where what is published comes from: version, commit, image, and the SHA-256 of the run file."""
    try:
        environment = json.loads(directory.environment.read_bytes())
    except (OSError, ValueError):
        environment = {}
    known = {name: environment[name] for name in ("version", "commit", "image") if environment.get(name)}
    config = {"config_sha256": sha256(directory.run_file)} if directory.run_file.is_file() else {}
    return {"run": directory.key, **known, **config}


def _final_score(run: RunFile, directory: RunDirectory) -> dict[str, Any]:
    try:
        scored = json.loads(directory.evaluation.read_bytes())
        metric = run.evaluate.best_metric
        return {
            "step": int(scored["step"]),
            "total": int(scored["total"]),
            "metric": metric,
            "value": float(scored["sets"]["test"][metric]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _of_step(found: list[Published], step: int) -> list[Published]:
    return [one for one in found if one.step == step]


def _say_waiting(error: StoreUnavailableError) -> None:
    say(f"waiting for the store: {error.message}")
