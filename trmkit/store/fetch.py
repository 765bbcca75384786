"""Bring files from a store: in parallel, going on where an interrupted fetch stopped, verified before they get a name.

A file arrives in pieces in a draft beside its place. A list beside the draft says which pieces are there.
"""

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trmkit.errors import StoreConflictError, StoreDamagedError, StoreError
from trmkit.store.base import Entry, Store, checked
from trmkit.store.local import only_one, sync
from trmkit.store.manifest import MANIFEST, Manifest, Member, check, check_file
from trmkit.store.publish import Published, damaged, read_manifest
from trmkit.store.retry import persist

T = TypeVar("T")

PIECE = 8 << 20
WORKERS = 8


@dataclass
class Fetch:
    """How files are brought: for how long each piece is tried, and who hears of bytes that arrived."""

    store: Store
    seconds: float
    arrived: Callable[[int], None] = lambda _: None
    total: Callable[[int], None] = lambda _: None
    give_up: Callable[[], bool] = lambda: False
    """Ends the waiting for a store that does not answer."""
    _failed: bool = False

    def folder(self, published: Published, target: Path, *, called: str = MANIFEST) -> Path:
        """Bring a published folder to `target`, which is whole or absent. Returns `target`.

        StoreDamagedError: what is in the store is not what its manifest says. Other StoreErrors: it cannot be read.
        """
        manifest = self._persist(lambda: read_manifest(self.store, published, called=called))
        self._refuse_other_sizes(published, manifest.files)
        with only_one(target.parent / "fetch"):
            return self._folder(published, manifest, target, called)

    def _folder(self, published: Published, manifest: Manifest, target: Path, called: str) -> Path:
        self.total(manifest.bytes)
        if is_there(target, manifest.files):
            self.arrived(manifest.bytes)
            return target
        draft = target.parent / f".{published.name}.fetch.tmp"
        draft.mkdir(parents=True, exist_ok=True)
        free_space(draft, manifest.bytes - sum(path.stat().st_size for path in draft.rglob("*") if path.is_file()))
        self.files(published.key, manifest.files, draft)
        self._manifest(published, draft, called)
        for path in [*(path for path in draft.rglob("*") if path.is_dir()), draft]:
            sync(path)
        if target.exists():
            shutil.rmtree(target)
        draft.rename(target)
        sync(target.parent)
        return target

    def _refuse_other_sizes(self, published: Published, files: Mapping[str, Member]) -> None:
        """StoreDamagedError, before anything is brought: a file is not there, or not as large as it should be."""
        sizes = self._persist(lambda: {entry.key: entry.size for entry in self.store.keys(f"{published.key}/")})
        for name, member in files.items():
            size = sizes.get(f"{published.key}/{name}")
            if size != member.bytes:
                reason = "is missing" if size is None else f"has {size:,} bytes instead of {member.bytes:,}"
                raise damaged(f"{self.store.url}/{published.key}/{name}", reason)

    def files(self, key: str, files: Mapping[str, Member], folder: Path) -> None:
        """Bring the files below `key` into `folder`, each under its name once its SHA-256 is right."""
        drafts = [_Draft(folder / name, name, member, checked(f"{key}/{name}")) for name, member in files.items()]
        self._failed = False
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="fetch") as pool:
            try:
                jobs = [pool.submit(self._begin, pool, draft) for draft in drafts]
                for draft, job in zip(drafts, jobs, strict=True):
                    self._finish(pool, draft, job.result())
            except BaseException:
                self._failed = True
                pool.shutdown(cancel_futures=True)
                raise
            finally:
                for draft in drafts:
                    draft.close()

    def _manifest(self, published: Published, draft: Path, called: str) -> None:
        content = self._persist(lambda: self.store.read(f"{published.key}/{called}"))
        (draft / called).write_bytes(content)
        sync(draft / called)

    def _begin(self, pool: ThreadPoolExecutor, draft: "_Draft") -> "list[Future[None]]":
        """Begin a file; return its pieces on their way."""
        if draft.done():
            self.arrived(draft.expected.bytes)
            return []
        entry = self._persist(lambda: self.store.look(draft.key))
        if entry is None or entry.size != draft.expected.bytes:
            reason = "is missing" if entry is None else f"has {entry.size:,} bytes instead of {draft.expected.bytes:,}"
            raise damaged(f"{self.store.url}/{draft.key}", reason)
        there = draft.open()
        self.arrived(sum(draft.length(piece) for piece in there))
        return [pool.submit(self._piece, entry, draft, piece) for piece in draft.pieces() if piece not in there]

    def _piece(self, entry: Entry, draft: "_Draft", piece: int) -> None:
        start, length = piece * PIECE, draft.length(piece)
        try:
            content = self._persist(lambda: self.store.read_range(entry, start, length))
        except StoreConflictError as error:
            raise damaged(f"{self.store.url}/{entry.key}", "changed while it was read") from error
        draft.put(piece, content)
        self.arrived(length)

    def _persist(self, action: Callable[[], T]) -> T:
        return persist(action, self.seconds, give_up=lambda: self._failed or self.give_up())

    def _finish(self, pool: ThreadPoolExecutor, draft: "_Draft", pieces: "list[Future[None]]") -> None:
        """Wait for the pieces. Should they not fit with those of an earlier time, those may be bad: all come anew."""
        while True:
            for piece in pieces:
                piece.result()
            try:
                draft.finish()
            except ValueError as error:
                if not draft.resumed:
                    raise damaged(f"{self.store.url}/{draft.key}", str(error)) from error
                pieces = pool.submit(self._begin, pool, draft).result()
                continue
            return


class _Draft:
    """A file that is arriving."""

    def __init__(self, path: Path, name: str, expected: Member, key: str) -> None:
        self.path, self.name, self.expected, self.key = path, name, expected, key
        self._draft = path.with_name(f".{path.name}.{expected.sha256[:16]}.part")
        self._list = self._draft.with_suffix(".pieces")
        self._lock = threading.Lock()
        self._file = -1
        self.resumed = False
        """Whether pieces were there from an earlier time."""

    def pieces(self) -> range:
        return range(-(-self.expected.bytes // PIECE))

    def length(self, piece: int) -> int:
        return min(PIECE, self.expected.bytes - piece * PIECE)

    def done(self) -> bool:
        """Say whether the file is there and right."""
        try:
            check_file(self.path, self.name, self.expected)
        except ValueError:
            return False
        return True

    def open(self) -> set[int]:
        """Open the draft; return the pieces that are in it from an earlier time."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = self._list.read_text() if self._list.is_file() and self._draft.is_file() else ""
        there = {int(line) for line in text.splitlines() if line.isdigit()} & set(self.pieces())
        self._file = os.open(self._draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        os.ftruncate(self._file, self.expected.bytes)
        self.resumed = bool(there)
        return there

    def put(self, piece: int, content: bytes) -> None:
        """Write a piece, then that it is there."""
        with self._lock:
            if self._file >= 0:
                written = 0
                while written < len(content):
                    written += os.pwrite(self._file, content[written:], piece * PIECE + written)
                with self._list.open("a") as listed:
                    listed.write(f"{piece}\n")

    def close(self) -> None:
        """Take no more pieces."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def finish(self) -> None:
        """Check the draft and give it its name. ValueError: it is wrong; it is thrown away, to be brought anew."""
        if self._file < 0:
            return
        os.fsync(self._file)
        self.close()
        try:
            check_file(self._draft, self.name, self.expected)
        except ValueError:
            self._draft.unlink(missing_ok=True)
            raise
        finally:
            self._list.unlink(missing_ok=True)
        self._draft.replace(self.path)


def is_there(folder: Path, files: Mapping[str, Member]) -> bool:
    """Say whether a folder on this machine has all these files, byte for byte."""
    try:
        check(folder, files)
    except ValueError:
        return False
    return True


def newest_whole(fetch: Fetch, found: list[Published], folder: Path, refused: list[str]) -> Published | None:
    """Bring the first of `found` that verifies to `folder`/`step_<8 digits>`; why not the others goes to `refused`."""
    for published in found:
        try:
            fetch.folder(published, folder / f"step_{published.step:08d}")
        except StoreDamagedError as error:
            refused.append(error.message)
            with suppress(OSError):
                shutil.rmtree(folder / f".{published.name}.fetch.tmp")
            continue
        return published
    return None


def free_space(folder: Path, wanted: int) -> None:
    """StoreError: the disk under `folder` has no room for `wanted` bytes."""
    place = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    free = shutil.disk_usage(place).free
    if free < wanted:
        raise StoreError(
            f"{folder}: {wanted:,} bytes are to arrive and {free:,} are free", next="make room, or give another folder"
        )
