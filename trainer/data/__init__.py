"""Data sets: made once from a section of the run file, then only read.

A data set lives in `<root>/<source>-<hash of its section>` and is whole or absent there.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.data.manifest import FORMAT, Source, read_manifest, sizes_are_right, write_manifest
from trainer.data.shared import SharedData, make_room, open_shared, set_aside, used
from trainer.data.store import sync
from trainer.progress import say
from trmkit.errors import DataError
from trmkit.spec.base import section_hash
from trmkit.spec.data import DataSection, FolderData
from trmkit.spec.run import RunFile
from trmkit.store.local import sha256
from trmkit.store.local import sync as sync_entry

if TYPE_CHECKING:  # building alone needs no torch
    from trainer.dist import World

SOURCES = {
    "sudoku": "trainer.data.sudoku:source",
    "sudoku-generated": "trainer.data.sudoku_generated:source",
    "maze": "trainer.data.maze:source",
    "maze-generated": "trainer.data.maze_generated:source",
    "arc": "trainer.data.arc:source",
    "mixed": "trainer.data.mixed:source",
    "curriculum": "trainer.data.curriculum:source",
}
"""Name in the run file -> function from the section to a `Source`. `folder` is not made, it is there."""

UNBUILT = {
    "curriculum": {
        "alg_tokens",
        "mix_band_tokens",
        "lexical_frac_phase1",
        "persistent_alg_frac",
        "needle_frac",
        "difficulty_schedule",
    }
}
"""Keys of a section that change how training mixes its rows, and nothing that is built: such runs share a data set."""

ABANDONED_AFTER = 2 * 86_400
"""Seconds after which the temporary folder of a build that was killed is removed."""


def build_for(run: RunFile) -> Path:
    """Return the folder of the data set of `run`, taken from its store or built; see `build`."""
    shared = open_shared(run.storage, say)
    folder = build(run.data, Path(run.storage.data), shared)
    if run.storage.data_cache_gib is not None and not isinstance(run.data, FolderData):
        for unused in make_room(folder.parent, run.storage.data_cache_gib * 2**30, folder):
            say(f"removed {unused}: the built data sets took more than {run.storage.data_cache_gib} GiB")
    return folder


def build(section: DataSection, root: Path, shared: SharedData | None = None) -> Path:
    """Return the folder of the data set that `section` describes; make it below `root` unless it is there.

    It is made in a temporary folder beside it and renamed when the disk has all of it, so builders that run at the
    same time, or are killed, do no harm. It is made again when a local file it was made from has changed.
    DataError: the source cannot be read, or holds something wrong.
    """
    if isinstance(section, FolderData):
        from trainer.data.folder import check

        return check(Path(section.path))
    source = source_of(section)
    target = place_of(section, root)
    if not (is_current(target, source) and used(target)):
        root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(root)
        if shared is not None and shared.take(target, source, is_current):
            return target
        _make(section, source, target)
    if shared is not None:
        shared.give(target)
    return target


def _make(section: DataSection, source: Source, target: Path) -> None:
    root = target.parent
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=root))
    try:
        start = time.monotonic()
        built = source.write(folder)
        key = target.name.removeprefix(f"{section.source}-")
        write_manifest(folder, section.source, section.model_dump(mode="json"), key, built, time.monotonic() - start)
        folder.chmod(0o755)
        sync(folder)
        _put_in_place(folder, target, source)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def source_of(section: DataSection) -> Source:
    """Return how to build the data set of `section`, which is no folder."""
    module, function = SOURCES[section.source].split(":")
    source: Source = getattr(import_module(module), function)(section)
    return source


def place_of(section: DataSection, root: Path) -> Path:
    """Return the folder in which the data set of `section` is, or will be."""
    if isinstance(section, FolderData):
        return Path(section.path)
    return root / f"{section.source}-{section_hash(section, version=FORMAT, without=UNBUILT.get(section.source, ()))}"


def build_together(run: RunFile, world: "World") -> Path:
    """Build on the first process, then on the first one of every other machine; return the folder on all of them.

    Where machines share the folder, or the first one has published the data set, the others find it. DataError: the
    source cannot be read somewhere, or gave another data set there.
    """
    folder = None
    for turn in (world.first, world.local_rank == 0 and not world.first):
        with world.together():
            if turn:
                folder = build_for(run)
    with world.together():
        made = {one for one in world.gather_objects(None if folder is None else _what_was_made(folder)) if one}
        if len(made) > 1:
            raise DataError(
                "the machines of this run have built different data sets from the same section",
                next="give all of them the same source files and the same image",
            )
    shared: Path = world.gather_objects(folder)[0]
    return shared


def _what_was_made(folder: Path) -> str:
    """Return a data set's manifest without the time it took; empty for a folder that has none."""
    manifest = read_manifest(folder)
    return "" if manifest is None else json.dumps({k: v for k, v in manifest.items() if k != "seconds"}, sort_keys=True)


def fingerprint(folder: Path) -> str:
    """Return 12 hex digits that name what is in a data set: its manifest, or of a folder without one all its arrays."""
    known = _what_was_made(folder)
    if not known:
        known = json.dumps({str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*.npy"))})
    return hashlib.sha256(known.encode()).hexdigest()[:12]


def is_current(folder: Path, source: Source) -> bool:
    """Say whether `folder` is a whole data set made from `source`'s files as they are now.

    Where none of the files is left (or none was on this machine), the data set stays good.
    """
    manifest = read_manifest(folder)
    try:
        if manifest is None or not sizes_are_right(folder, manifest):
            return False
    except FileNotFoundError:  # another process takes it away
        return False
    now = {name: sha256(path) for name, path in source.files.items() if path.is_file()}
    return not now or now == manifest["inputs"]


def _put_in_place(folder: Path, target: Path, source: Source) -> None:
    for _ in range(10):
        if is_current(target, source):  # another builder was faster, and wrote the same
            return
        try:
            if target.exists() and (old := set_aside(target)) is not None:
                shutil.rmtree(old, ignore_errors=True)  # its files changed; who has it open keeps what was in it
            os.rename(folder, target)
        except OSError as error:  # another builder did one of the two in between
            reason = error
            continue
        sync_entry(target.parent)
        return
    raise DataError(f"{target}: cannot be put in place ({reason})", next="see who else writes there, and if you may")


def _remove_abandoned(root: Path) -> None:
    for folder in root.glob(".*-????????????.*.tmp"):
        try:
            if time.time() - folder.stat().st_mtime > ABANDONED_AFTER:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue
