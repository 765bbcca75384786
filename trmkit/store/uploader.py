"""Publishes a run in the background: training hands over names of files and never waits for a store.

What waits is a few names, whatever happens to the store: of the checkpoints that could not be published yet only the
newest and the best still matter. The files themselves wait on the disk.
"""

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trmkit.errors import StoreDamagedError, StoreError, StoreUnavailableError
from trmkit.store import manifest as manifests
from trmkit.store import scores
from trmkit.store import summary as summaries
from trmkit.store.base import Say, Store
from trmkit.store.catalog import Listed, announce
from trmkit.store.layout import CHECKPOINTS, RUN_FILES, RunDirectory
from trmkit.store.local import sha256
from trmkit.store.manifest import MANIFEST, Member
from trmkit.store.publish import checkpoints, point_to, publish, read_manifest, remove
from trmkit.store.retry import FIRST_PAUSE, GLANCE, LONGEST_PAUSE
from trmkit.store.summary import Status

FILES_EVERY = 60.0
"""Seconds between two publications of files that change all the time."""
SCORES_EVERY = 15.0
"""Seconds between two looks for scores of somebody who follows the training."""


Seen = tuple[int, int]
"""When a file was changed, in nanoseconds since 1970, and its size."""


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay in the store, besides the best and the last."""

    newest: int
    every: int | None = None
    scored: int | None = None
    """Multiples of this are scored by somebody else, and wait for it; None: nobody scores any."""

    def awaits(self, step: int) -> bool:
        """Say whether a checkpoint is one that somebody else scores."""
        return self.scored is not None and step > 0 and step % self.scored == 0

    def stays(self, step: int) -> bool:
        """Say whether a checkpoint stays for its number alone."""
        return self.every is not None and step > 0 and step % self.every == 0


class Uploader:
    """Publishes the checkpoints and files of one run. Its methods return at once, but for `finish`."""

    def __init__(
        self,
        store: Store,
        key: str,
        directory: RunDirectory,
        keep: Keep,
        about: Mapping[str, str],
        status: Status,
        say: Say,
    ) -> None:
        """Start the thread, which publishes the run under `key`, its files first.

        `about` goes into `run.json`; `say` tells the person when the store goes and comes.
        """
        self._store, self._key, self._directory, self._keep = store, key, directory, keep
        self._about, self._say = about, say
        self._status = status
        self._wake = threading.Condition()
        self._pending: set[int] = set()
        self._current: int | None = None
        self._files_due, self._files_at = True, float("-inf")
        self._seen: dict[str, Seen] = {}
        self._scores_at = float("-inf")
        self._taken: frozenset[int] = frozenset()
        self._closing = False
        self._give_up = threading.Event()
        self._landed: set[int] = set()
        self._landed_at = time.time()
        self._stays = False
        self._failures = 0
        self._refused = False
        self._down_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)
        self._thread.start()

    def checkpoint(self, step: int, status: Status) -> None:
        """Publish the checkpoint of `step`. Older ones that wait are dropped, but for the best and `keep.every`."""
        with self._wake:
            self._status, self._files_due = status, True
            if step in self._landed:
                return
            matter = {old for old in self._pending if self._matters(old)}
            self._pending = matter | self._awaited(self._pending) | {step}
            self._wake.notify()

    def status(self, status: Status) -> None:
        """Publish the files of the run, and how it is doing."""
        with self._wake:
            self._status, self._files_due = status, True
            self._wake.notify()

    def took(self, steps: Collection[int], status: Status) -> None:
        """Know that the scores of these `steps` are taken up, so that `status` names the best of them.

        Until then a checkpoint that is scored stays: it may be the best.
        """
        with self._wake:
            self._taken, self._status = frozenset(steps), status

    def _matters(self, step: int) -> bool:
        return step == self._status.best_step or self._keep.stays(step)

    def _awaited(self, steps: Collection[int]) -> set[int]:
        """Return those of `steps` that somebody has yet to score, or whose scores training has yet to take up."""
        return scores.awaited([step for step in steps if self._keep.awaits(step)], self._taken)

    def holds(self) -> set[int]:
        """Return the steps whose checkpoints may not be deleted from the disk yet."""
        with self._wake:
            return {*self._pending, *([self._current] if self._current is not None else [])}

    def numbers(self) -> dict[str, float]:
        """Return what waits; failed attempts; whether the store takes files; when a checkpoint landed, or the start.

        Times are in seconds since 1970.
        """
        held = self.holds()
        return {
            "pending_bytes": float(sum(self._bytes(step) for step in held)),
            "pending_checkpoints": float(len(held)),
            "failures": float(self._failures),
            "up": float(self._down_since is None),
            "published_time": self._landed_at,
        }

    def finish(self, seconds: float, hurry: Callable[[], bool] = lambda: False, in_a_hurry: float = 0.0) -> None:
        """Publish what waits and end, within `seconds`, or within `in_a_hurry` seconds once `hurry()`.

        StoreError: not everything landed, because the store refuses it; StoreUnavailableError: or for want of time.
        """
        with self._wake:
            self._closing, self._files_due = True, True
            self._wake.notify()
        started, until = time.monotonic(), time.monotonic() + seconds
        while self._thread.is_alive() and time.monotonic() < until:
            self._thread.join(GLANCE)
            if hurry():
                until, hurry = min(until, time.monotonic() + in_a_hurry), lambda: False
        if self._thread.is_alive():
            self._give_up.set()
            with self._wake:
                self._wake.notify()
            self._thread.join(1.0)
        left = sorted(self.holds())
        if left or self._files_due:
            kind = StoreError if self._refused else StoreUnavailableError
            raise kind(
                f"not published in {self._store.url} within {time.monotonic() - started:.0f} s: "
                + (f"checkpoint {', '.join(map(str, left))}" if left else "the files of the run"),
                next=f"everything is in {self._directory.root}; run again to publish it",
            )

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._give_up.is_set():
            job = self._next()
            if job is None:
                return
            try:
                job()
            except Exception as error:  # noqa: BLE001 - nothing that happens to a store may end training
                self._failed(error)
                self._give_up.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            self._worked()

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do; None: there is nothing more, ever."""
        with self._wake:
            while True:
                if self._current is not None:  # it did not land
                    again = self._current > max(self._pending, default=-1) or self._matters(self._current)
                    if again or self._current in self._awaited({*self._pending, self._current}):
                        self._pending.add(self._current)
                    self._current = None
                if self._pending and self._files_at > float("-inf"):
                    step = self._current = max(self._pending)
                    self._pending.remove(step)
                    return lambda: self._publish(step)
                wait = 0.0 if self._closing else self._files_at + FILES_EVERY - time.monotonic()
                if self._files_due and wait <= 0:
                    return self._publish_files
                if self._closing or self._give_up.is_set():
                    return None
                look = self._scores_at + SCORES_EVERY - time.monotonic() if self._keep.scored else float("inf")
                if look <= 0:
                    return self._bring_scores
                pause = min(wait if self._files_due else float("inf"), look)
                self._wake.wait(pause if pause < float("inf") else None)

    def _publish(self, step: int) -> None:
        folder = self._directory.checkpoints / f"step_{step:08d}"
        parent = f"{self._key}/{CHECKPOINTS}"
        if not folder.is_dir():  # somebody deleted it
            with self._wake:
                self._current = None
            return
        content = (folder / MANIFEST).read_bytes()
        published = publish(self._store, parent, folder, content)
        point_to(self._store, f"{parent}/latest.json", json.dumps({"step": step, "name": published.name}).encode())
        with self._wake:
            self._current = None
            self._landed.add(step)
            self._landed_at = time.time()
            self._files_due = True
        try:
            with self._wake:
                best, taken = self._status.best_step, self._taken
            prune(self._store, self._key, self._keep, step, best, taken)
        except StoreError as error:  # what stays takes room, no more
            if not self._stays:
                self._say(f"an older checkpoint could not be removed: {error.message}")
            self._stays = True

    def _bring_scores(self) -> None:
        self._scores_at = time.monotonic()
        scores.bring(self._store, self._key, self._directory.scores)

    def _publish_files(self) -> None:
        with self._wake:
            self._files_due, status = False, self._status
        try:
            publish_files(self._store, self._key, self._directory, status, self._about, self._seen)
        except BaseException:
            with self._wake:
                self._files_due = True
            raise
        self._files_at = time.monotonic()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._refused = isinstance(error, StoreError) and not isinstance(error, StoreUnavailableError)
        if self._down_since is None:
            self._down_since = time.monotonic()
            reason = error.message if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
            self._say(f"not published yet: {reason}; training goes on and it is tried again")

    def _worked(self) -> None:
        if self._down_since is not None:
            self._say(f"the store takes files again after {time.monotonic() - self._down_since:.0f} s")
            self._down_since = None
            self._refused = False

    def _bytes(self, step: int) -> int:
        with suppress(OSError, ValueError):
            return manifests.read(self._directory.checkpoints / f"step_{step:08d}").bytes
        return 0


def prune(store: Store, key: str, keep: Keep, newest: int, best: int | None, taken: Collection[int]) -> None:
    """Delete the checkpoints up to step `newest` that need not stay, where the scores of the steps `taken` are known.

    A best checkpoint stays as long as one of the newest says it is the best. So the old best one goes only after the
    new best has landed, and checkpoints newer than it.
    """
    found = [one for one in checkpoints(store, f"{key}/{CHECKPOINTS}") if one.step <= newest]
    steps = sorted({one.step for one in found}, reverse=True)
    kept = {*steps[: keep.newest], best, *scores.awaited([step for step in steps if keep.awaits(step)], taken)}
    for one in found:
        if one.step in steps[: keep.newest]:
            with suppress(StoreDamagedError):
                kept.add(best_step(read_manifest(store, one).about))
    for one in found:
        if one.step not in kept and not keep.stays(one.step):
            remove(store, one)


def publish_files(
    store: Store,
    key: str,
    directory: RunDirectory,
    status: Status,
    about: Mapping[str, str],
    seen: dict[str, Seen] | None = None,
) -> None:
    """Publish the files of a run that changed, `run.json` before and after them, then the run's line in the index.

    A file that looks as it did when it was noted in `seen` is not read again.
    """
    now = {name: look for name in RUN_FILES if (look := _look(directory.root / name)) is not None}
    seen = {} if seen is None else seen
    changed = [name for name, look in now.items() if seen.get(name) != look]
    with tempfile.TemporaryDirectory(prefix=".publish.", suffix=".tmp", dir=directory.root) as copies:
        new = {}
        for name in changed:
            copy = Path(copies) / name  # so that what is hashed is what is sent, though the file grows
            shutil.copyfile(directory.root / name, copy)
            new[name] = Member(copy.stat().st_size, sha256(copy))
        if new:
            summaries.update(store, key, summaries.will_be(new))
        for name in new:
            if not store.holds(f"{key}/{name}", Path(copies) / name):
                store.upload(f"{key}/{name}", Path(copies) / name)
    summaries.update(store, key, summaries.are(new, status, about))
    seen.update({name: now[name] for name in new})
    name, _, run_id = key.partition("/")
    announce(store, Listed(name, run_id, status.state, status.step, status.total, status.metric, status.value, 0.0))


def best_step(about: Mapping[str, Any]) -> int | None:
    """Return the step of the best checkpoint, as a checkpoint's manifest names it; None: it names none."""
    best = about.get("best")
    step = best.get("step") if isinstance(best, dict) else None
    return step if type(step) is int else None


def _look(path: Path) -> Seen | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size
