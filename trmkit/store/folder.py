"""A folder as a store: a mounted share, or a disk. Files are whole or absent; symbolic links are not followed."""

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from trmkit.errors import StoreConflictError, StoreError, StoreUnavailableError
from trmkit.store.base import SMALL, Entry, Unfinished, checked
from trmkit.store.layout import DATA, FEATURES, INDEX, PROBES
from trmkit.store.local import sha256, sync

SUFFIX = ".tmp"
DRAFT = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")
"""How the drafts are called that are written here."""
OURS = re.compile(rf"({INDEX}|{DATA}|{FEATURES}|{PROBES}|[a-z][-a-z0-9]*/[0-9a-f]{{8}})/")
"""Where in a folder runs and data sets are; the rest of it may be other people's."""
PERMANENT = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


class FolderStore:
    """Objects are files below `root`, under their keys."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def keys(self, prefix: str) -> Iterator[Entry]:
        """See `Store`."""
        start = self.root / prefix if prefix.endswith("/") or not prefix else (self.root / prefix).parent
        found = []

        def failed(error: OSError) -> None:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise self._failed(prefix, "listed", error) from error

        for folder, folders, files in os.walk(start, onerror=failed):
            folders[:] = [name for name in folders if not (Path(folder) / name).is_symlink()]
            for name in files:
                path = Path(folder) / name
                key = path.relative_to(self.root).as_posix()
                if key.startswith(prefix) and not name.startswith(".") and not path.is_symlink():
                    found.append((key, path))
        for key, path in sorted(found):
            try:
                yield _entry(key, path.stat())
            except FileNotFoundError:
                continue

    def folders(self, prefix: str) -> list[str]:
        """See `Store`."""
        try:
            with os.scandir(self.root / prefix) as inside:
                return sorted(e.name for e in inside if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._failed(prefix, "read", error) from error

    def look(self, key: str) -> Entry | None:
        """See `Store`."""
        try:
            with self._open(key) as file:
                return _entry(key, os.fstat(file.fileno()))
        except FileNotFoundError:
            return None

    def read(self, key: str, limit: int = SMALL) -> bytes:
        """See `Store`."""
        try:
            with self._open(key) as file:
                content = file.read(limit + 1)
        except FileNotFoundError:
            raise StoreError(f"{self.url}/{key}: is not there", next="check the address") from None
        if len(content) > limit:
            raise StoreError(f"{self.url}/{key}: has more than {limit:,} bytes", next="it is not used; see who made it")
        return content

    def read_range(self, entry: Entry, start: int, length: int) -> bytes:
        """See `Store`."""
        try:
            with self._open(entry.key) as file:
                if _entry(entry.key, os.fstat(file.fileno())).etag != entry.etag:
                    raise StoreConflictError(f"{self.url}/{entry.key}: changed while it was read")
                return os.pread(file.fileno(), length, start)
        except FileNotFoundError:
            raise StoreConflictError(f"{self.url}/{entry.key}: was removed while it was read") from None
        except OSError as error:
            raise self._failed(entry.key, "read", error) from error

    def write(self, key: str, content: bytes, *, only_new: bool = False, only_if: str | None = None) -> None:
        """See `Store`."""
        with self._draft(key) as (draft, target):
            draft.write_bytes(content)
            sync(draft)
            if only_new:
                try:
                    os.link(draft, target)
                except FileExistsError:
                    raise StoreConflictError(f"{self.url}/{key}: is there already") from None
                sync(target.parent)
                return
            if only_if is None:
                _put(draft, target)
                return
            with (self.root / ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                now = self.look(key)
                if now is None or now.etag != only_if:
                    raise StoreConflictError(f"{self.url}/{key}: was changed by another writer")
                _put(draft, target)

    def upload(self, key: str, file: Path) -> None:
        """See `Store`."""
        with self._draft(key) as (draft, target):
            shutil.copyfile(file, draft)
            sync(draft)
            _put(draft, target)
        if not self.holds(key, file):
            raise StoreUnavailableError(f"{self.url}/{key}: did not arrive whole")

    def holds(self, key: str, file: Path) -> bool:
        """See `Store`."""
        there = self.look(key)
        if there is None or there.size != file.stat().st_size:
            return False
        return sha256(self._path(key)) == sha256(file)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store`."""
        for key in keys:
            path = self._path(key)
            try:
                path.unlink(missing_ok=True)
                for folder in path.parents:
                    if folder == self.root:
                        break
                    folder.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                    raise self._failed(key, "deleted", error) from error

    def unfinished(self, prefix: str) -> list[Unfinished]:
        """See `Store`."""
        found = []
        for path in sorted((self.root / prefix).rglob(f".*{SUFFIX}")):
            key = path.relative_to(self.root).as_posix()
            if not DRAFT.fullmatch(path.name) or not OURS.match(key) or path.is_dir():
                continue  # somebody else's
            with suppress(FileNotFoundError):
                found.append(Unfinished(key, "", path.lstat().st_mtime))
        return found

    def abort(self, upload: Unfinished) -> None:
        """See `Store`."""
        (self.root / upload.key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = self.root / checked(key)
        for folder in path.relative_to(self.root).parents:
            if (self.root / folder).is_symlink() and folder != Path("."):
                raise StoreError(f"{self.url}/{key}: lies behind a symbolic link", next="it is not used")
        return path

    def _open(self, key: str) -> IO[bytes]:
        try:
            return os.fdopen(os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW), "rb")
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise StoreError(f"{self.url}/{key}: is a symbolic link", next="it is not used") from error
            raise self._failed(key, "read", error) from error

    @contextmanager
    def _draft(self, key: str) -> Iterator[tuple[Path, Path]]:
        target = self._path(key)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=SUFFIX)
            os.close(handle)
            draft = Path(name)
            try:
                draft.chmod(0o644)
                yield draft, target
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(key, "written", error) from error

    def _failed(self, key: str, what: str, error: OSError) -> StoreError:
        kind = StoreError if error.errno in PERMANENT else StoreUnavailableError
        return kind(
            f"{self.url}/{key}: cannot be {what}: {error.strerror}", next="check the path, its permissions and its disk"
        )


def _entry(key: str, status: os.stat_result) -> Entry:
    return Entry(key, status.st_size, f"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}", status.st_mtime)


def _put(draft: Path, target: Path) -> None:
    os.replace(draft, target)
    sync(target.parent)
