"""Built data sets in a store: taken from there instead of built again, published for others, and a cache with a limit.

In the store a data set lives at `_data/<its folder's name>-<first 12 digits of the SHA-256 of its manifest>/`, and is
whole where `published.json` is, which lists every file with its SHA-256.
"""

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.data.manifest import NAME, Source, read_manifest
from trmkit.errors import StoreDamagedError, StoreUnavailableError
from trmkit.spec.storage import StorageSection
from trmkit.store import manifest as manifests
from trmkit.store.base import Say, Store
from trmkit.store.fetch import Fetch
from trmkit.store.garbage import DATA_MANIFEST
from trmkit.store.layout import DATA
from trmkit.store.local import sha256
from trmkit.store.open import open_store
from trmkit.store.publish import Published, publish
from trmkit.store.retry import persist

IN_USE = 3600.0
"""Seconds since its last use in which a data set is not removed for room: a start may be about to open it."""

ROOM = "room"
"""What the lock is called that is held while data sets are chosen to be removed."""


class SharedData:
    """The data sets in the store of a run."""

    def __init__(self, store: Store, options: StorageSection, say: Say) -> None:
        self._store, self._say = store, say
        self._seconds, self._publishes = 60 * options.patience_minutes, options.publish_data

    def take(self, target: Path, source: Source, is_current: Callable[[Path, Source], bool]) -> bool:
        """Bring the data set to `target` if the store has it, made from the source files that are here, if any are.

        Of several processes one brings it, the others wait. What is damaged is said and not used.
        StoreError: the store cannot be asked.
        """
        found = [one for one in self._published(target.name) if self._fits(one, source)]
        for one in found:
            with only_one(target):
                if is_current(target, source):
                    return True
                try:
                    Fetch(self._store, self._seconds).folder(one, target, called=DATA_MANIFEST)
                except StoreDamagedError as error:
                    self._say(f"not used: {error.message}")
                    continue
            self._say(f"brought the data set from {self._store.url}/{one.key}")
            return True
        return False

    def give(self, folder: Path) -> None:
        """Publish the data set in `folder` if the run file says so and it is not there. StoreError: it cannot be."""
        if not self._publishes or self._published(folder.name):
            return
        files = {name: member for name, member in manifests.members(folder).items() if name != DATA_MANIFEST}
        known = read_manifest(folder) or {}
        about: dict[str, Any] = {name: known[name] for name in known if name in ("source", "section", "counts")}
        content = manifests.write(0, files, about).encode()
        one = persist(
            lambda: publish(self._store, DATA, folder, content, called=DATA_MANIFEST),
            self._seconds,
            waiting=self._say_waiting,
        )
        self._say(f"published the data set in {self._store.url}/{one.key}")

    def _published(self, name: str) -> list[Published]:
        def ask() -> list[Published]:
            keys = [entry.key.split("/") for entry in self._store.keys(f"{DATA}/{name}-")]
            return [Published(DATA, key[1]) for key in keys if len(key) == 3 and key[2] == DATA_MANIFEST]

        return persist(ask, self._seconds, waiting=self._say_waiting)

    def _fits(self, one: Published, source: Source) -> bool:
        """Say whether a published data set was made from the files that are on this machine, as far as any are."""
        now = {name: sha256(path) for name, path in source.files.items() if path.is_file()}
        if not now:
            return True
        try:
            made: Any = json.loads(persist(lambda: self._store.read(f"{one.key}/{NAME}"), self._seconds))
        except ValueError:
            return False
        return isinstance(made, dict) and made.get("inputs") == now

    def _say_waiting(self, error: StoreUnavailableError) -> None:
        self._say(f"waiting for the store: {error.message}")


def open_shared(options: StorageSection, say: Say) -> SharedData | None:
    """Return the data sets in the store of a run; None: it has no store."""
    return None if options.remote is None else SharedData(open_store(options), options, say)


@contextmanager
def only_one(target: Path) -> Iterator[None]:
    """Have one process of this machine at a time work on `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def used(folder: Path) -> bool:
    """Remember that a data set is used now: what was not used for longest is removed first. False: it is gone."""
    manifest = folder / NAME
    if not os.access(manifest, os.W_OK) or not os.access(folder.parent, os.W_OK):
        return manifest.is_file()  # nothing can be removed from here either
    with only_one(folder.parent / ROOM):
        try:
            os.utime(manifest, ns=(time.time_ns(), manifest.stat().st_mtime_ns))
        except FileNotFoundError:
            return False
    return True


def set_aside(folder: Path) -> Path | None:
    """Move a data set where nobody looks for it, to be removed from there; None: another process was faster."""
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        aside.rmdir()
        return None
    except OSError:
        aside.rmdir()
        raise
    return aside


def make_room(root: Path, limit: float, current: Path) -> list[Path]:
    """Remove data sets in `root` as `over_limit` says; return those that this process removed.

    Processes choose one after the other, and none chooses while another says that it uses a set (`used`).
    """
    with only_one(root / ROOM):
        chosen = over_limit(root, limit, current)
        aside = {folder: place for folder in chosen if (place := set_aside(folder)) is not None}
    for place in aside.values():
        shutil.rmtree(place, ignore_errors=True)
    return list(aside)


def over_limit(root: Path, limit: float, current: Path) -> list[Path]:
    """Return the data sets in `root` to remove so that the rest takes at most `limit` bytes, unused for longest first.

    Those used within the last hour stay, and `current` stays. One that goes away meanwhile does not count.
    """
    found = []
    for folder in root.glob("*-????????????"):
        try:
            when = (folder / NAME).stat().st_atime
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        except OSError:  # a builder replaces it, or it is no data set
            continue
        found.append((when, size, folder))
    total, chosen = sum(size for _, size, _ in found), []
    for when, size, folder in sorted(found):
        if total <= limit:
            break
        if folder != current and time.time() - when > IN_USE:
            chosen.append(folder)
            total -= size
    return chosen
