"""Built data sets in a store: taken from there instead of built again, published for others, and a cache with a limit.

In the store a data set lives at `_data/<its folder's name>-<first 12 digits of the SHA-256 of its manifest>/`, and is
whole where `published.json` is, which lists every file with its SHA-256.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.data.manifest import NAME, Source, read_manifest
from trmkit.errors import StoreDamagedError, StoreError, StoreUnavailableError
from trmkit.spec.storage import StorageSection
from trmkit.store import manifest as manifests
from trmkit.store.base import Entry, Say, Store
from trmkit.store.fetch import Fetch
from trmkit.store.garbage import DATA_MANIFEST
from trmkit.store.layout import DATA
from trmkit.store.local import only_one, sha256
from trmkit.store.open import open_store
from trmkit.store.publish import Published, publish, published_name
from trmkit.store.publish import read_manifest as read_published
from trmkit.store.retry import persist

IN_USE = 3600.0
"""Seconds since its last use in which a data set is not removed for room: a start may be about to open it."""

ROOM = "room"
"""What the lock is called that is held while data sets are chosen to be removed."""


@dataclass(frozen=True)
class InStore:
    """A data set in a store that says it is whole; nothing is verified yet."""

    where: Published
    sizes: dict[str, int]
    """Name of every file that is there -> its bytes."""
    when: float
    """When it was published, in seconds since 1970."""


class SharedData:
    """The data sets in the store of a run."""

    def __init__(self, store: Store, options: StorageSection, say: Say) -> None:
        self._store, self._say = store, say
        self._seconds, self._publishes = 60 * options.patience_minutes, options.publish_data
        self._damaged: set[Published] = set()

    def take(self, target: Path, source: Source, is_current: Callable[[Path, Source], bool]) -> bool:
        """Bring the data set to `target` if the store has it, made from the source files that are here, if any are.

        Of several that fit, the one published last is taken. Of several processes one brings it, the others wait. What
        is damaged is said and not used. StoreError: the store cannot be asked.
        """
        here = {name: sha256(path) for name, path in source.files.items() if path.is_file()}
        for found in self._published(target.name):
            one = found.where
            if here and self._inputs(one) != here:
                continue
            with only_one(target):
                if is_current(target, source):
                    return True
                try:
                    Fetch(self._store, self._seconds).folder(one, target, called=DATA_MANIFEST)
                except StoreDamagedError as error:
                    self._say(f"not used: {error.message}")
                    self._damaged.add(one)
                    continue
            self._say(f"brought the data set from {self._store.url}/{one.key}")
            return True
        return False

    def give(self, folder: Path) -> None:
        """Publish the data set in `folder` if the run file says so, unless a whole one like it is there.

        One is like it that was made from the same files. What `take` found damaged is not whole. StoreError: it cannot
        be published.
        """
        known = read_manifest(folder)
        if not self._publishes or known is None:
            return
        for found in self._published(folder.name):
            if self._inputs(found.where) == known["inputs"] and self._is_whole(found):
                return
        files = {name: member for name, member in manifests.members(folder).items() if name != DATA_MANIFEST}
        about: dict[str, Any] = {name: known[name] for name in known if name in ("source", "section", "counts")}
        content = manifests.write(0, files, about).encode()
        one = persist(lambda: self._publish(folder, content), self._seconds, waiting=self._say_waiting)
        self._say(f"published the data set in {self._store.url}/{one.key}")

    def _publish(self, folder: Path, content: bytes) -> Published:
        """Publish the folder; a damaged `published.json` of the same content gives way to a right one."""
        key = f"{DATA}/{published_name(folder.name, content)}/{DATA_MANIFEST}"
        if self._store.look(key) is not None and self._store.read(key) != content:
            self._store.delete([key])
        return publish(self._store, DATA, folder, content, called=DATA_MANIFEST)

    def _published(self, name: str) -> list[InStore]:
        """Return the data sets of this name, the one published last first."""

        def ask() -> list[InStore]:
            files: dict[str, dict[str, Entry]] = {}
            for entry in self._store.keys(f"{DATA}/{name}-"):
                _, folder, *file = entry.key.split("/", 2)
                files.setdefault(folder, {})["".join(file)] = entry
            return [
                InStore(
                    Published(DATA, folder),
                    {file: entry.size for file, entry in inside.items()},
                    inside[DATA_MANIFEST].modified,
                )
                for folder, inside in files.items()
                if DATA_MANIFEST in inside
            ]

        found = persist(ask, self._seconds, waiting=self._say_waiting)
        return sorted(found, key=lambda one: (-one.when, one.where.name))

    def _inputs(self, one: Published) -> Any:
        """Return the SHA-256 of every file that a published data set was made from; None: it does not say."""
        try:
            made: Any = json.loads(persist(lambda: self._store.read(f"{one.key}/{NAME}"), self._seconds))
        except StoreUnavailableError:
            raise
        except (StoreError, ValueError):  # its manifest.json is not there, too large, or damaged
            return None
        return made.get("inputs") if isinstance(made, dict) else None

    def _is_whole(self, found: InStore) -> bool:
        """Say whether every file that its `published.json` lists is there, as far as sizes tell."""
        if found.where in self._damaged:
            return False
        try:
            listed = persist(lambda: read_published(self._store, found.where, called=DATA_MANIFEST), self._seconds)
        except StoreDamagedError:
            return False
        return all(found.sizes.get(name) == member.bytes for name, member in listed.files.items())

    def _say_waiting(self, error: StoreUnavailableError) -> None:
        self._say(f"waiting for the store: {error.message}")


def open_shared(options: StorageSection, say: Say) -> SharedData | None:
    """Return the data sets in the store of a run; None: it has no store."""
    return None if options.remote is None else SharedData(open_store(options), options, say)


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
