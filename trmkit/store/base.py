"""What a store can do. There are two: a folder and a bucket. Keys are relative paths with `/`."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from trmkit.errors import StoreConflictError, StoreError, StoreUnavailableError

PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=,+-]*")
LONGEST_KEY = 512
SMALL = 4 << 20
"""Most bytes of a file that is read as a whole: manifests, run files."""


class Entry(NamedTuple):
    """An object in a store."""

    key: str
    size: int
    """Bytes."""
    etag: str
    """Changes with the content."""
    modified: float
    """Seconds since 1970."""
    md5: str = ""
    """MD5 of the content, or of the MD5s of its parts and their number, where `look` can know it."""


@dataclass(frozen=True)
class Unfinished:
    """An upload that was begun and not completed; it takes room and nobody sees it."""

    key: str
    token: str
    begun: float


class Store(Protocol):
    """A place for files. Every method may raise StoreError; StoreUnavailableError where asking again makes sense."""

    url: str

    def keys(self, prefix: str) -> Iterator[Entry]:
        """Return every object whose key starts with `prefix`, in order."""

    def folders(self, prefix: str) -> list[str]:
        """Return the names directly below the folder `prefix` that have objects below them, in order."""

    def look(self, key: str) -> Entry | None:
        """Return what is known of an object without reading it; None if it is not there."""

    def read(self, key: str, limit: int = SMALL) -> bytes:
        """Return a small object. StoreError: it is not there, or larger than `limit` bytes."""

    def read_range(self, entry: Entry, start: int, length: int) -> bytes:
        """Return a part of the object as it was when looked at. StoreConflictError: it has changed since."""

    def write(self, key: str, content: bytes, *, only_new: bool = False, only_if: str | None = None) -> None:
        """Write a small object. StoreConflictError: `only_new` and it is there; or its etag is not `only_if`."""

    def upload(self, key: str, file: Path) -> None:
        """Write a file as an object, whole or not at all, and look whether it arrived."""

    def holds(self, key: str, file: Path) -> bool:
        """Say whether the object is there and, as far as can be told without reading it, is this file."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects in this order; those that are not there are no error."""

    def unfinished(self, prefix: str) -> list[Unfinished]:
        """Return the uploads below `prefix` that were begun and not completed."""

    def abort(self, upload: Unfinished) -> None:
        """Free what an unfinished upload holds."""


def write_over(store: Store, key: str, content: bytes, seen: Entry | None) -> bool:
    """Write a small object unless another writer was faster; say whether it was written. StoreError: it does not land.

    It takes the place of what was `seen` there, None for nothing. A store that refuses conditions is written to without
    any: nothing here depends on them but whose content stays.
    """
    try:
        if seen is None:
            store.write(key, content, only_new=True)
        else:
            store.write(key, content, only_if=seen.etag)
    except StoreConflictError:
        return False
    except StoreUnavailableError:
        raise
    except StoreError:  # a store that does not know conditional writes
        store.write(key, content)
    return True


def checked(key: str) -> str:
    """Return `key` if it is a plain relative path. StoreError: it is absolute, has `..` in it, or odd characters."""
    if len(key) > LONGEST_KEY or not all(PART.fullmatch(part) for part in key.split("/")):
        raise StoreError(f"{key[:80]!r} is not a name of a file in a store", next="see who made it; it is not used")
    return key


Say = Callable[[str], None]
"""Tells the person something."""
