"""Publishes a run in the background: training hands over names of files and never waits for a store.

What waits is a few names, whatever happens to the store: of the checkpoints that could not be published yet only the
newest and the best still matter. The files themselves wait on the disk.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trmkit.errors import StoreError, StoreUnavailableError
from trmkit.store import manifest as manifests
from trmkit.store.base import Say, Store
from trmkit.store.catalog import Listed, announce
from trmkit.store.layout import CHECKPOINTS, RUN_FILES, SUMMARY, RunDirectory
from trmkit.store.local import sha256
from trmkit.store.manifest import MANIFEST
from trmkit.store.publish import checkpoints, point_to, publish, remove
from trmkit.store.retry import FIRST_PAUSE, GLANCE, LONGEST_PAUSE

FILES_EVERY = 20.0
"""Seconds between two publications of files that change all the time."""


@dataclass(frozen=True)
class Status:
    """How a run is doing."""

    state: str = "training"
    step: int = 0
    total: int = 0
    metric: str = ""
    value: float | None = None
    best_step: int | None = None


Seen = tuple[int, int]
"""When a file was changed, in nanoseconds since 1970, and its size."""


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay in the store, besides the best and the last."""

    newest: int
    every: int | None = None

    def stays(self, step: int) -> bool:
        """Say whether a checkpoint stays for its number alone."""
        return self.every is not None and step > 0 and step % self.every == 0


class Uploader:
    """Publishes the checkpoints and files of one run. Its methods return at once, but for `finish`."""

    def __init__(
        self, store: Store, directory: RunDirectory, keep: Keep, about: dict[str, Any], status: Status, say: Say
    ) -> None:
        """Start the thread. `about` goes into `run.json`; `say` tells the person when the store goes and comes."""
        self._store, self._directory, self._keep, self._about, self._say = store, directory, keep, about, say
        self._status = status
        self._wake = threading.Condition()
        self._pending: set[int] = set()
        self._current: int | None = None
        self._files_due, self._files_at = False, 0.0
        self._seen: dict[str, Seen] = {}
        self._closing = False
        self._give_up = threading.Event()
        self._landed: set[int] = set()
        self._landed_at: float | None = None
        self._failures = 0
        self._down_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)
        self._thread.start()

    def checkpoint(self, step: int, status: Status) -> None:
        """Publish the checkpoint of `step`. Older ones that wait are dropped, but for the best and `keep.every`."""
        with self._wake:
            self._status, self._files_due = status, True
            if step in self._landed:
                return
            self._pending = {old for old in self._pending if self._matters(old)} | {step}
            self._wake.notify()

    def status(self, status: Status) -> None:
        """Publish the files of the run, and how it is doing."""
        with self._wake:
            self._status, self._files_due = status, True
            self._wake.notify()

    def _matters(self, step: int) -> bool:
        return step == self._status.best_step or self._keep.stays(step)

    def holds(self) -> set[int]:
        """Return the steps whose checkpoints may not be deleted from the disk yet."""
        with self._wake:
            return {*self._pending, *([self._current] if self._current is not None else [])}

    def numbers(self) -> dict[str, float]:
        """Return what waits, in bytes; the age in seconds of the last checkpoint that landed; and failed attempts."""
        waiting = sum(self._bytes(step) for step in self.holds())
        age = {} if self._landed_at is None else {"checkpoint_age_seconds": time.time() - self._landed_at}
        return {"pending_bytes": float(waiting), "failures": float(self._failures), **age}

    def finish(self, seconds: float, hurry: Callable[[], bool] = lambda: False, in_a_hurry: float = 0.0) -> None:
        """Publish what waits and end, within `seconds`, or within `in_a_hurry` seconds once `hurry()`.

        StoreError: not everything landed.
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
            raise StoreError(
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
                    if self._current > max(self._pending, default=-1) or self._matters(self._current):
                        self._pending.add(self._current)
                    self._current = None
                if self._pending:
                    step = self._current = max(self._pending)
                    self._pending.remove(step)
                    return lambda: self._publish(step)
                wait = 0.0 if self._closing else self._files_at + FILES_EVERY - time.monotonic()
                if self._files_due and wait <= 0:
                    return self._publish_files
                if self._closing or self._give_up.is_set():
                    return None
                self._wake.wait(wait if self._files_due else None)

    def _publish(self, step: int) -> None:
        folder = self._directory.checkpoints / f"step_{step:08d}"
        parent = f"{self._directory.key}/{CHECKPOINTS}"
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
        self._prune(step)

    def _prune(self, newest: int) -> None:
        """Delete what need not stay, and what is of a future that this run has not reached (it was refused)."""
        found = checkpoints(self._store, f"{self._directory.key}/{CHECKPOINTS}")
        past = [one for one in found if one.step <= newest]
        steps = sorted({one.step for one in past}, reverse=True)
        kept = {*steps[: self._keep.newest], self._status.best_step}
        for one in past:
            if one.step not in kept and not self._keep.stays(one.step):
                remove(self._store, one)

    def _publish_files(self) -> None:
        with self._wake:
            self._files_due, status = False, self._status
        try:
            publish_files(self._store, self._directory, status, self._about, self._seen)
        except BaseException:
            with self._wake:
                self._files_due = True
            raise
        self._files_at = time.monotonic()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._down_since is None:
            self._down_since = time.monotonic()
            reason = error.message if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
            self._say(f"not published yet: {reason}; training goes on and it is tried again")

    def _worked(self) -> None:
        if self._down_since is not None:
            self._say(f"the store takes files again after {time.monotonic() - self._down_since:.0f} s")
            self._down_since = None

    def _bytes(self, step: int) -> int:
        with suppress(OSError, ValueError):
            return manifests.read(self._directory.checkpoints / f"step_{step:08d}").bytes
        return 0


def publish_files(
    store: Store, directory: RunDirectory, status: Status, about: dict[str, Any], seen: dict[str, Seen] | None = None
) -> None:
    """Publish the files of a run that change, then `run.json` with their SHA-256, then the run's line in the index.

    A file that looks as it did when it was noted in `seen` is not read again.
    """
    known = read_summary(store, directory.key) or {}
    files = dict(known.get("files", {})) if isinstance(known.get("files"), dict) else {}
    seen = {} if seen is None else seen
    for name in RUN_FILES:
        path = directory.root / name
        if not path.is_file():
            continue
        now = (path.stat().st_mtime_ns, path.stat().st_size)
        if name in files and seen.get(name) == now:
            continue
        copy = _copied(path)
        try:
            entry = {"bytes": copy.stat().st_size, "sha256": sha256(copy)}
            if files.get(name) != entry or not store.holds(f"{directory.key}/{name}", copy):
                store.upload(f"{directory.key}/{name}", copy)
            files[name], seen[name] = entry, now
        finally:
            copy.unlink(missing_ok=True)
    summary = {"format": 1, "run": directory.key, **about, **asdict(status), "updated": time.time(), "files": files}
    store.write(f"{directory.key}/{SUMMARY}", json.dumps(summary, indent=1).encode())
    name, _, run_id = directory.key.partition("/")
    total, step = max(status.total, 0), max(status.step, 0)
    announce(store, Listed(name, run_id, status.state, step, total, status.metric, status.value, time.time()))


def read_summary(store: Store, key: str) -> dict[str, Any] | None:
    """Return what `run.json` of the run `key` says; None: there is none, or it is not one."""
    if store.look(f"{key}/{SUMMARY}") is None:
        return None
    try:
        found = json.loads(store.read(f"{key}/{SUMMARY}"))
    except (StoreUnavailableError, OSError):
        raise
    except (StoreError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("format") == 1 else None


def _copied(path: Path) -> Path:
    """Return a copy of a file that grows, so that what is hashed is what is sent."""
    copy = path.with_name(f".{path.name}.upload.tmp")
    copy.write_bytes(path.read_bytes())
    return copy
