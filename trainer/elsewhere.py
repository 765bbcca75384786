"""A run that trains on another machine, as who follows it sees it: through the run's store."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from trainer import checkpoint
from trainer.progress import say
from trainer.remote import about, kept_of
from trmkit.errors import StoreError, StoreUnavailableError
from trmkit.spec.run import RunFile
from trmkit.store import scores
from trmkit.store import summary as summaries
from trmkit.store.fetch import Fetch, newest_whole
from trmkit.store.layout import CHECKPOINTS, RunDirectory, store_key
from trmkit.store.open import open_store
from trmkit.store.publish import Published, checkpoints
from trmkit.store.retry import persist
from trmkit.store.summary import Summary
from trmkit.store.take import take_files
from trmkit.store.uploader import prune, publish_files

T = TypeVar("T")
LOOK_SECONDS = 10.0
"""Pause between two looks into a store."""


class Elsewhere:
    """The store of a run that is followed, seen from the first process.

    All that is asked of the store may raise StoreError: it did not answer for `storage.patience_minutes`, or refuses.
    """

    def __init__(self, run: RunFile, directory: RunDirectory, stopped: Callable[[], bool]) -> None:
        """Open the store; waiting for it ends when `stopped()`. StoreError: it may not be used."""
        self._run, self._directory, self._stopped = run, directory, stopped
        self._key = store_key(run, directory)
        self._store = open_store(run.storage)
        self._seconds = 60 * run.storage.patience_minutes
        self._fetch = Fetch(self._store, self._seconds, give_up=stopped)
        self._found: list[Published] = []

    def look(self) -> list[int]:
        """Have all scores here and there; return the steps of the checkpoints that are in the store."""
        self._persist(lambda: scores.exchange(self._store, self._key, self._directory.scores))
        self._found = self._persist(lambda: checkpoints(self._store, f"{self._key}/{CHECKPOINTS}"))
        return [one.step for one in self._found]

    def is_over(self, total: int) -> bool:
        """Say whether the run has published all of a training of `total` updates: its last files come at the end."""
        status = self._summary().status
        return status.state in ("trained", "scored") and status.step >= total

    def bring(self, step: int) -> Path | None:
        """Bring the checkpoint of `step` beside the run's own; None: none of it that is in the store is whole."""
        refused: list[str] = []
        found = newest_whole(
            self._fetch, [one for one in self._found if one.step == step], self._directory.followed, refused
        )
        for reason in refused:
            say(f"not scored: {reason}")
        return None if found is None else self._directory.followed / f"step_{step:08d}"

    def leave(self) -> None:
        """Put what was found here into the store, and delete the checkpoints that were brought and are scored."""
        self._persist(lambda: scores.exchange(self._store, self._key, self._directory.scores))
        scored = scores.here_of(self._directory.scores)
        for step in checkpoint.steps(self._directory.followed):
            if step in scored:
                shutil.rmtree(self._directory.followed / f"step_{step:08d}", ignore_errors=True)

    def take_final_files(self) -> None:
        """Bring the files of the run as they are now that it has ended. StoreError: its log is not what it should be.

        Who adds to a log must add to the newest one.
        """
        for line in take_files(self._fetch, self._key, self._directory.root):
            say(line)
            if line.startswith("not brought") and "metrics.jsonl" in line:
                raise StoreUnavailableError(f"{self._store.url}/{self._key}: {line}", next="the same command goes on")

    def publish(self, best: dict[str, Any] | None) -> None:
        """Publish the run's files, now that all scores are in its log, and delete the checkpoints that waited."""
        status = self._summary().status
        if best is not None:
            status = replace(status, best_step=best["step"])
            if status.state != "scored":  # then the value is that of the whole test set
                status = replace(status, metric=best["metric"], value=best["value"])
        origin = about(self._run, self._directory)
        self._persist(lambda: publish_files(self._store, self._key, self._directory, status, origin))
        taken = scores.here_of(self._directory.scores)
        try:
            prune(self._store, self._key, kept_of(self._run), status.step, status.best_step, taken)
        except StoreError as error:  # what stays takes room, no more
            say(f"older checkpoints could not be removed: {error.message}")

    def _summary(self) -> Summary:
        return self._persist(lambda: summaries.read(self._store, self._key)) or Summary()

    def _persist(self, action: Callable[[], T]) -> T:
        return persist(action, self._seconds, give_up=self._stopped)
