"""What is left in a store of work that never finished: it takes room, and nobody reads it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trmkit.store.base import Entry, Store, Unfinished
from trmkit.store.layout import CHECKPOINTS, DATA, INDEX, PROBES, STEP
from trmkit.store.manifest import MANIFEST

DATA_MANIFEST = "published.json"


@dataclass(frozen=True)
class Garbage:
    """Something to be removed."""

    kind: Literal["unfinished upload", "unfinished checkpoint", "unfinished data set", "old index entry", "probe"]
    key: str
    keys: tuple[str, ...]
    """Objects to delete; none for an upload, which is aborted."""
    bytes: int
    changed: float
    upload: Unfinished | None = None


def find(store: Store, prefix: str, seconds: float) -> list[Garbage]:
    """Return what is garbage below `prefix` ("" is everything) and has not changed for `seconds`.

    A folder without a manifest may be one that is being published, so give a publication time to end.
    """
    before = time.time() - seconds
    found = [
        Garbage("unfinished upload", upload.key, (), 0, upload.begun, upload) for upload in store.unfinished(prefix)
    ]
    folders: dict[str, list[Entry]] = {}
    for entry in store.keys(prefix):
        folder = owner(entry.key)
        if folder is not None:
            folders.setdefault(folder, []).append(entry)
    for folder, entries in folders.items():
        found += _in_folder(folder, entries)
    return [garbage for garbage in found if garbage.changed <= before]


def owner(key: str) -> str | None:
    """Return the folder by which an object stands or falls; None: it stands for itself."""
    parts = key.split("/")
    if parts[0] == PROBES:
        return PROBES
    if parts[0] in (INDEX, DATA):
        return "/".join(parts[:3] if parts[0] == INDEX else parts[:2])
    if len(parts) >= 5 and parts[2] == CHECKPOINTS and STEP.fullmatch(parts[3]):
        return "/".join(parts[:4])
    return None


def _in_folder(folder: str, entries: list[Entry]) -> Iterator[Garbage]:
    top = folder.split("/")[0]
    if top == PROBES:
        yield from (Garbage("probe", e.key, (e.key,), e.size, e.modified) for e in entries)
        return
    if top == INDEX:
        newest = max(entries, key=lambda entry: (entry.modified, entry.key))
        old = [entry for entry in entries if entry is not newest]
        yield from (Garbage("old index entry", e.key, (e.key,), e.size, e.modified) for e in old)
        return
    whole = f"{folder}/{DATA_MANIFEST if top == DATA else MANIFEST}"
    keys = tuple(entry.key for entry in entries)
    if whole not in keys:
        kind: Literal["unfinished data set", "unfinished checkpoint"]
        kind = "unfinished data set" if top == DATA else "unfinished checkpoint"
        yield Garbage(kind, folder, keys, sum(e.size for e in entries), max(e.modified for e in entries))


def remove(store: Store, found: list[Garbage]) -> None:
    """Remove garbage."""
    for garbage in found:
        if garbage.upload is not None:
            store.abort(garbage.upload)
        store.delete(garbage.keys)
