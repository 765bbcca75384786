"""Vectors in a store: below `_features/`, under the names they have on a disk. A shard's name proves its content.

Shards go first, then the keys of a data set's rows, and last the name of their reader: where there is one of these,
there is everything it needs.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from trainer.features.cache import READER, SHARD, Place
from trmkit.errors import StoreDamagedError, StoreUnavailableError
from trmkit.spec.storage import StorageSection
from trmkit.store.base import Entry, Say, Store
from trmkit.store.fetch import PIECE, WORKERS
from trmkit.store.layout import FEATURES
from trmkit.store.local import write_whole
from trmkit.store.open import open_store
from trmkit.store.retry import persist

T = TypeVar("T")


class SharedFeatures:
    """The vectors in the store of a run."""

    def __init__(self, store: Store, options: StorageSection, say: Say) -> None:
        self._store, self._say = store, say
        self._seconds, self._publishes = 60 * options.patience_minutes, options.publish_data

    def take(self, place: Place) -> None:
        """Bring what the store has of `place` and is not here, and whom it names as the reader to take.

        StoreError: it cannot be asked, or is damaged.
        """
        rows = place.rows.relative_to(place.folder).as_posix()
        prefix = _prefix(place)
        there = {entry.key.removeprefix(prefix): entry for entry in self._ask(lambda: [*self._store.keys(prefix)])}
        shards = [name for name in there if SHARD.fullmatch(name)]
        named = f"{rows}/{READER}"
        keys = [name for name in there if name.startswith(f"{rows}/") and name != named]
        for names in (shards, keys):
            missing = [name for name in names if not (place.folder / name).is_file()]
            with ThreadPoolExecutor(WORKERS, thread_name_prefix="features") as pool:
                for _ in pool.map(lambda name: self._bring(there[name], place.folder / name), missing):
                    pass
            if missing and names is shards:
                self._say(f"brought {len(missing)} shards of features from {self._store.url}/{prefix}")
        if named in there:
            self._bring(there[named], place.folder / named)

    def give_shard(self, place: Place, path: Path) -> None:
        """Publish a shard, if the run file says so. StoreError: it cannot be published."""
        if self._publishes:
            self._send(_prefix(place) + path.name, path)

    def give(self, place: Place, reader: str) -> None:
        """Publish shards, and keys of this `reader`, that are here and not there, if the run file says so.

        StoreError: they cannot be published.
        """
        if not self._publishes:
            return
        prefix = _prefix(place)
        sizes = {entry.key: entry.size for entry in self._ask(lambda: [*self._store.keys(prefix)])}
        last = (*place.keys_of(reader).values(), place.rows / READER)
        keys = [path.relative_to(place.folder).as_posix() for path in last]
        shards = [name for name in place.shards() if sizes.get(prefix + name) != (place.folder / name).stat().st_size]
        sent = [*shards, *(name for name in keys if not self._holds(prefix + name, place.folder / name))]
        for name in sent:
            self._send(prefix + name, place.folder / name)
        if sent:
            self._say(f"published {len(sent)} files of features in {self._store.url}/{prefix}")

    def _holds(self, key: str, path: Path) -> bool:
        return self._ask(lambda: self._store.holds(key, path))

    def _send(self, key: str, path: Path) -> None:
        self._ask(lambda: self._store.upload(key, path))

    def _read(self, entry: Entry, start: int) -> bytes:
        return self._ask(lambda: self._store.read_range(entry, start, min(PIECE, entry.size - start)))

    def _bring(self, entry: Entry, target: Path) -> None:
        content = b"".join(self._read(entry, start) for start in range(0, entry.size, PIECE))
        match = SHARD.fullmatch(target.name)
        if match and hashlib.sha256(content).hexdigest()[:16] != match[1]:
            raise StoreDamagedError(
                f"{self._store.url}/{entry.key}: is damaged: its content is not the one it is named after",
                next="delete it there; python -m trainer features RUN.yaml reads what it had anew and publishes it",
            )
        write_whole(target, content)

    def _ask(self, action: Callable[[], T]) -> T:
        return persist(action, self._seconds, waiting=self._say_waiting)

    def _say_waiting(self, error: StoreUnavailableError) -> None:
        self._say(f"waiting for the store: {error.message}")


def _prefix(place: Place) -> str:
    return f"{FEATURES}/{place.folder.name}/"


def open_shared(options: StorageSection, say: Say) -> SharedFeatures | None:
    """Return the vectors in the store of a run; None: it has no store."""
    return None if options.remote is None else SharedFeatures(open_store(options), options, say)
