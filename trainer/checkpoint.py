"""Checkpoints: whole or absent, verified before they are parsed, without pickle.

A checkpoint is a folder `step_<8 digits>` with safetensors and JSON files and a `manifest.json` that holds the size and
SHA-256 of each. It is written beside its final place and renamed when every byte is on the disk. No tensor format
notices a flipped bit, so the manifest is checked before anything is parsed.
"""

import json
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
from trmkit.store.local import sha256, sync, write_whole

FORMAT = 1
MANIFEST = "manifest.json"
BEST = "best.json"
_STEP = re.compile(r"step_(\d{8,})")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

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
        with world.together():
            if world.first:
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir(parents=True)
        with world.together():
            for name, content in {**own, **(shared if world.first else {})}.items():
                _write(draft / name, content)
        with world.together():
            if world.first:
                _publish(draft, final, step)
    except BaseException as error:
        if world.first:
            shutil.rmtree(draft, ignore_errors=True)
        if not isinstance(error, OSError | SafetensorError):
            raise
        raise CheckpointError(
            f"{final}: cannot be written ({error}); older checkpoints are as they were",
            next="make room, then run again; to use another disk, move the folder of the run there first",
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
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    draft.rename(final)
    sync(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


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


def write_best(root: Path, best: dict[str, Any]) -> None:
    """Remember the best checkpoint so far: `{step, metric, value}`."""
    write_whole(root / BEST, json.dumps(best))


def read_best(root: Path) -> dict[str, Any] | None:
    """Return `{step, metric, value}` of the best checkpoint, None if none is known or it is gone."""
    try:
        best = json.loads((root / BEST).read_bytes())
        step = int(best["step"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return best if (root / f"step_{step:08d}").is_dir() else None


def prune(root: Path, keep: int, current: int) -> None:
    """Keep the best checkpoint and the newest `keep` up to step `current`; delete the others.

    Those beyond `current` were refused when this run resumed, or belong to a past that is being repeated.
    """
    best = read_best(root)
    past = [step for step in steps(root) if step <= current]
    kept = {*past[-keep:], *([best["step"]] if best and best["step"] <= current else [])}
    _remove_leftovers(root)
    for step in set(steps(root)) - kept:  # renamed first: a kill half-way leaves no half checkpoint under its name
        (root / f"step_{step:08d}").rename(root / f".step_{step:08d}.pruned.tmp")
    _remove_leftovers(root)


def _remove_leftovers(root: Path) -> None:
    for leftover in root.glob(".step_*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
