"""Several machines that share no folder: the first process keeps the run, and the others send it what they save.

Whether they share one is found out by looking for a file that the first process has just made. Where they do, nothing
here does anything. Where they do not, files travel over the CPU's group, in pieces, so that no process holds more of a
checkpoint in memory than its own part of it.
"""

import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
import torch.distributed as dist

from trainer import checkpoint
from trainer.dist import PATIENCE, World
from trmkit.store.layout import RunDirectory
from trmkit.store.local import sync
from trmkit.store.manifest import MANIFEST

PIECE = 4 << 20
"""Bytes that travel at once."""


@dataclass(frozen=True)
class Machines:
    """Who sees the folder of the first process, and who stands for a machine that does not."""

    world: World
    far: tuple[int, ...] = ()
    """Ranks that do not see it."""
    carriers: tuple[int, ...] = ()
    """The first process, and the first one of every machine that does not see its folder; none if all see it."""
    group: Any = None
    """Group of the carriers."""

    @property
    def is_far(self) -> bool:
        """Whether this process does not see the folder of the first."""
        return self.world.rank in self.far

    def collect(self, files: Mapping[str, bytes], folder: Path) -> None:
        """Write the `files` of processes that are far into the first one's `folder`; every process calls it.

        OSError, on the first process: they cannot be written.
        """
        if not self.far:
            return
        listed = self.world.gather_objects({name: len(content) for name, content in files.items()})
        with self.world.together():
            if self.is_far:
                for content in files.values():
                    for piece in _pieces(len(content)):
                        dist.send(_tensor(content[piece]), 0, group=self.world.control)
            elif self.world.first:
                self._receive([(rank, name, size) for rank in self.far for name, size in listed[rank].items()], folder)

    def _receive(self, expected: list[tuple[int, str, int]], folder: Path) -> None:
        """Take what is expected to its end even when the disk is full: the senders would wait for ever."""
        failed: OSError | None = None
        for rank, name, size in expected:
            with _Sink(folder / name) as sink:
                for piece in _pieces(size):
                    content = torch.empty(piece.stop - piece.start, dtype=torch.uint8)
                    dist.recv(content, rank, group=self.world.control)
                    sink.write(content)
            failed = failed or sink.failed
        if failed is not None:
            raise failed

    def spread(self, source: int, folder: Path) -> None:
        """Have the checkpoint `folder` of the process `source` on every machine; every process calls it.

        A machine that has the very same one keeps it. OSError: it cannot be read or written somewhere.
        """
        with self.world.together():
            if self.world.rank in self.carriers:
                self._carry(source, folder)

    def _carry(self, source: int, folder: Path) -> None:
        gives = self.world.rank == source
        files = sorted(path for path in folder.iterdir() if path.is_file()) if gives else []
        word: list[Any] = [(_manifest(folder), [(path.name, path.stat().st_size) for path in files])]
        dist.broadcast_object_list(word, source, group=self.group)
        manifest, listed = word[0]
        wanted = not gives and _manifest(folder) != manifest
        draft, failed = folder.parent / f".{folder.name}.brought.tmp", None
        if wanted:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        for name, size in listed:
            with _Sink(draft / name if wanted else None) as sink, _opened(folder / name if gives else None) as file:
                for piece in _pieces(size):
                    length = piece.stop - piece.start
                    content = _tensor(file.read(length)) if file is not None else torch.empty(length, dtype=torch.uint8)
                    dist.broadcast(content, source, group=self.group)
                    sink.write(content)
            failed = failed or sink.failed
        if failed is not None:
            shutil.rmtree(draft, ignore_errors=True)
            raise failed
        if wanted:
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
            sync(folder.parent)


class _Sink:
    """A file that takes pieces, or nothing that does; once it cannot be written, the rest goes nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._file = path, None if path is None else _try_open(path)
        self.failed: OSError | None = self._file if isinstance(self._file, OSError) else None

    def __enter__(self) -> "_Sink":
        return self

    def write(self, content: torch.Tensor) -> None:
        if self.failed is None and self._file is not None and not isinstance(self._file, OSError):
            try:
                self._file.write(content.numpy().data)
            except OSError as error:
                self.failed = error

    def __exit__(self, *_: object) -> None:
        if self._file is None or isinstance(self._file, OSError):
            return
        try:
            self._file.close()
            if self._path is not None and self.failed is None:
                sync(self._path)
        except OSError as error:
            self.failed = self.failed or error


def _try_open(path: Path) -> IO[bytes] | OSError:
    try:
        return path.open("wb")
    except OSError as error:
        return error


class _opened:  # noqa: N801 - a `with` word
    """A file to read in a `with` block, or None."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else path.open("rb")

    def __enter__(self) -> IO[bytes] | None:
        return self._file

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _pieces(size: int) -> Iterator[slice]:
    for start in range(0, size, PIECE):
        yield slice(start, min(start + PIECE, size))


def _tensor(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _manifest(folder: Path) -> bytes:
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError:
        return b""


def meet(directory: RunDirectory, world: World) -> Machines:
    """Find out who sees the folder of the first process; every process calls it."""
    if world.size == 1:
        return Machines(world)
    name = f".seen-{secrets.token_hex(8)}"
    with world.together():
        if world.first:
            directory.root.mkdir(parents=True, exist_ok=True)
            (directory.root / name).touch()
    name = world.gather_objects(name)[0]
    seen = world.gather_objects(((directory.root / name).is_file(), world.local_rank == 0))
    with world.together():
        if world.first:
            (directory.root / name).unlink(missing_ok=True)
    far = tuple(rank for rank, (sees, _) in enumerate(seen) if not sees)
    if not far:
        return Machines(world)
    carriers = (0, *(rank for rank in far if seen[rank][1]))
    return Machines(world, far, carriers, dist.new_group(list(carriers), PATIENCE, "gloo"))


def spread_newest(machines: Machines, root: Path, keep: int) -> None:
    """Have the newest whole checkpoint of any machine on all of them; every process calls it.

    Which machine is first may change from start to start, and the newest is where the first one was. Machines that
    are far keep `keep` checkpoints.
    """
    world = machines.world
    if not machines.far:
        return
    with world.together():
        found = checkpoint.newest(root) if world.rank in machines.carriers else None
    known = world.gather_objects(-1 if found is None else found.step)
    step = max(known)
    if step < 0:
        return
    machines.spread(known.index(step), root / f"step_{step:08d}")
    with world.together():
        if machines.is_far and world.rank in machines.carriers:
            checkpoint.prune(root, keep, step)
