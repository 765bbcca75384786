"""Checkpoints: whole or absent, verified before they are parsed, without pickle.

A checkpoint is a folder `step_<8 digits>` with safetensors and JSON files and a `manifest.json` that holds the size and
SHA-256 of each. It is written beside its final place and renamed when every byte is on the disk. No tensor format
notices a flipped bit, so the manifest is checked before anything is parsed.
"""

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer.dist import World
from trmkit import __version__
from trmkit.errors import CheckpointError

FORMAT = 1
MANIFEST = "manifest.json"
BEST = "best.json"
_STEP = re.compile(r"step_(\d{8,})")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CHUNK = 1 << 20

Files = dict[str, dict[str, Tensor] | dict[str, Any]]
"""File name -> its content: `*.safetensors` hold tensors by name, `*.json` anything JSON can say."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint."""

    path: Path
    step: int
    files: frozenset[str]

    def tensors(self, name: str, device: str = "cpu") -> dict[str, Tensor]:
        """Return the tensors of a `*.safetensors` file. CheckpointError: it is not there or cannot be parsed."""
        try:
            return load_file(self._member(name), device=device)
        except SafetensorError as error:
            raise _damaged(self.path, f"{name} cannot be parsed ({error})") from error

    def json(self, name: str) -> Any:
        """Return what a `*.json` file holds. CheckpointError: it is not there or cannot be parsed."""
        try:
            return json.loads(self._member(name).read_bytes())
        except (ValueError, RecursionError) as error:
            raise _damaged(self.path, f"{name} cannot be parsed ({error})") from error

    def _member(self, name: str) -> Path:
        if name not in self.files:
            raise CheckpointError(f"{self.path}: has no {name}", next="use a checkpoint of this kind of run")
        return self.path / name


def save(root: Path, step: int, shared: Files, own: Files, world: World) -> Path:
    """Write the checkpoint of `step`; every process calls it. Returns its folder.

    The first process writes `shared`; every process writes its `own`, whose names must differ between processes.
    CheckpointError: the disk is full or cannot be written; nothing is left behind, older checkpoints stay.
    """
    final = root / f"step_{step:08d}"
    draft = root / f".{final.name}.tmp"
    try:
        if world.first:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        world.wait()
        for name, content in {**own, **(shared if world.first else {})}.items():
            _write(draft / name, content)
        world.wait()
        if world.first:
            _publish(draft, final, step)
        world.wait()
    except (OSError, SafetensorError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise CheckpointError(
            f"{final}: cannot be written ({error}); older checkpoints are as they were",
            next="make room, or give storage.path another place, then run again",
        ) from error
    return final


def _write(path: Path, content: dict[str, Any]) -> None:
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in content.items()}, path)
    else:
        path.write_text(json.dumps(content))
    sync(path)


def _publish(draft: Path, final: Path, step: int) -> None:
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in sorted(draft.iterdir())}
    _write(draft / MANIFEST, {"format": FORMAT, "step": step, "version": __version__, "files": files})
    sync(draft)
    replaced = final.parent / f".{final.name}.old.tmp"
    if final.exists():
        final.rename(replaced)
    draft.rename(final)
    sync(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def verify(path: Path) -> Checkpoint:
    """Return the checkpoint in `path` after checking every byte against its manifest. CheckpointError: it differs."""
    manifest = _read_manifest(path)
    for name, expected in manifest["files"].items():
        member = path / name
        if member.is_symlink() or not member.is_file():
            raise _damaged(path, f"{name} is missing")
        if member.stat().st_size != expected["bytes"]:
            raise _damaged(path, f"{name} has {member.stat().st_size} bytes instead of {expected['bytes']}")
        if sha256(member) != expected["sha256"]:
            raise _damaged(path, f"{name} has another SHA-256 than its manifest")
    return Checkpoint(path, manifest["step"], frozenset(manifest["files"]))


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise _damaged(path, "there is no manifest") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, f"the manifest cannot be read ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _damaged(path, f"the manifest is not of format {FORMAT}")
    files = manifest.get("files")
    known = isinstance(files, dict) and isinstance(manifest.get("step"), int)
    if not known or not all(_well_formed(name, entry) for name, entry in (files or {}).items()):
        raise _damaged(path, "the manifest lists something that is not a file of a checkpoint")
    match = _STEP.fullmatch(path.name)
    if match and int(match[1]) != manifest["step"]:
        raise _damaged(path, f"the manifest belongs to step {manifest['step']}")
    return manifest


def _well_formed(name: str, entry: Any) -> bool:
    if not _PLAIN_NAME.fullmatch(name) or not isinstance(entry, dict):
        return False
    return isinstance(entry.get("bytes"), int) and isinstance(entry.get("sha256"), str)


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: {what}", next="it is not used; restore it from a copy, or delete it")


def steps(root: Path) -> list[int]:
    """Return the steps of the checkpoints in `root`, oldest first; nothing is verified."""
    if not root.is_dir():
        return []
    return sorted(int(match[1]) for path in root.iterdir() if (match := _STEP.fullmatch(path.name)))


def newest(root: Path, refused: list[str] | None = None) -> Checkpoint | None:
    """Return the newest checkpoint that verifies, None if there is none; reasons for the others go to `refused`."""
    for step in reversed(steps(root)):
        try:
            return verify(root / f"step_{step:08d}")
        except CheckpointError as error:
            if refused is not None:
                refused.append(error.message)
    return None


def write_best(root: Path, step: int, metric: str, value: float) -> None:
    """Remember the best checkpoint so far."""
    draft = root / f".{BEST}.tmp"
    _write(draft, {"step": step, "metric": metric, "value": value})
    draft.rename(root / BEST)
    sync(root)


def read_best(root: Path) -> dict[str, Any] | None:
    """Return `{step, metric, value}` of the best checkpoint, None if none is known."""
    try:
        best = json.loads((root / BEST).read_bytes())
    except (OSError, ValueError):
        return None
    return best if isinstance(best, dict) and isinstance(best.get("step"), int) else None


def prune(root: Path, keep: int) -> None:
    """Delete checkpoints other than the newest `keep` and the best, and what a killed save left behind."""
    best = read_best(root)
    for step in steps(root)[:-keep]:
        if best is None or step != best["step"]:
            shutil.rmtree(root / f"step_{step:08d}", ignore_errors=True)
    for leftover in root.glob(".step_*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
