"""Checkpoints: whole or absent, verified before they are parsed, without pickle.

A checkpoint is a folder `step_<8 digits>` with safetensors and JSON files and a `manifest.json` that holds the size and
SHA-256 of each. It is written beside its final place and renamed when every byte is on the disk. No tensor format
notices a flipped bit, so the manifest is checked before anything is parsed.
"""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from safetensors.torch import save as encode_tensors
from torch import Tensor

from trainer.dist import World
from trmkit import __version__
from trmkit.errors import CheckpointError
from trmkit.store import manifest as manifests
from trmkit.store.layout import STEP
from trmkit.store.local import sync, write_whole
from trmkit.store.manifest import MANIFEST

if TYPE_CHECKING:
    from trainer.nodes import Machines

BEST = "best.json"
LARGEST_HEADER = 16 << 20
"""Bytes of the header of a safetensors file, which lists its tensors; ours have a few thousand."""
LARGEST_JSON = 256 << 20
"""Bytes of a JSON file: the state of the generators and the place in the data."""

Files = dict[str, dict[str, Tensor] | dict[str, Any]]
"""File name -> its content: `*.safetensors` hold tensors by name, `*.json` anything JSON can say."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint."""

    path: Path
    step: int
    files: frozenset[str]
    about: Mapping[str, Any] = field(default_factory=dict)
    """What else its manifest says: version, run, image, scores."""

    def tensors(self, name: str, device: str = "cpu") -> dict[str, Tensor]:
        """Return the tensors of a `*.safetensors` file. CheckpointError: it is not there or cannot be parsed."""
        path = self._member(name)
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if header > LARGEST_HEADER:
            raise _damaged(self.path, f"{name} has a header of {header:,} bytes")
        try:
            return load_file(path, device=device)
        except (SafetensorError, ValueError, TypeError, KeyError, OverflowError, RuntimeError) as error:
            raise _damaged(self.path, f"{name} cannot be parsed ({error})") from error

    def json(self, name: str) -> Any:
        """Return what a `*.json` file holds. CheckpointError: it is not there or cannot be parsed."""
        path = self._member(name)
        if path.stat().st_size > LARGEST_JSON:
            raise _damaged(self.path, f"{name} has {path.stat().st_size:,} bytes")
        try:
            return json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise _damaged(self.path, f"{name} cannot be parsed ({error})") from error

    def _member(self, name: str) -> Path:
        if name not in self.files:
            raise CheckpointError(f"{self.path}: has no {name}", next="use a checkpoint of this kind of run")
        return self.path / name


def save(
    root: Path,
    step: int,
    shared: Files,
    own: Files,
    world: World,
    about: Mapping[str, Any] | None = None,
    machines: "Machines | None" = None,
) -> Path:
    """Write the checkpoint of `step`; every process calls it. Returns its folder.

    The first process writes `shared`; every process writes its `own`, whose names must differ between processes, or
    sends it, where `machines` say that it does not see the folder. `about` goes into the manifest, to say where the
    checkpoint comes from.
    CheckpointError: the disk is full or cannot be written; nothing is left behind, older checkpoints stay.
    """
    final = root / f"step_{step:08d}"
    draft = root / f".{final.name}.tmp"
    try:
        with world.together():
            if world.first:
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir(parents=True)
        far = machines is not None and machines.is_far
        with world.together():
            for name, content in {**({} if far else own), **(shared if world.first else {})}.items():
                _write(draft / name, content)
        if machines is not None:
            machines.collect({name: _encode(content) for name, content in own.items()} if far else {}, draft)
        with world.together():
            if world.first:
                _publish(draft, final, step, about or {})
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


def _encode(content: dict[str, Any]) -> bytes:
    """Return what `_write` writes."""
    tensors = {name: tensor.contiguous() for name, tensor in content.items() if isinstance(tensor, Tensor)}
    return encode_tensors(tensors) if tensors else json.dumps(content).encode()


def _publish(draft: Path, final: Path, step: int, about: Mapping[str, Any]) -> None:
    text = manifests.write(step, manifests.members(draft), {"version": __version__, **about})
    (draft / MANIFEST).write_text(text)
    sync(draft / MANIFEST)
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
    try:
        manifest = manifests.read(path)
        manifests.check(path, manifest.files)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    match = STEP.fullmatch(path.name)
    if match and int(match[1]) != manifest.step:
        raise _damaged(path, f"the manifest belongs to step {manifest.step}")
    return Checkpoint(path, manifest.step, frozenset(manifest.files), manifest.about)


@contextmanager
def understood(found: Checkpoint) -> Iterator[None]:
    """Turn whatever goes wrong in a `with` block that reads `found` into CheckpointError: it says what it must not."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise _damaged(
            found.path, f"holds what no checkpoint of ours holds ({type(error).__name__}: {error})"
        ) from error


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: {what}", next="it is not used; restore it from a copy, or delete it")


def steps(root: Path) -> list[int]:
    """Return the steps of the checkpoints in `root`, oldest first; nothing is verified."""
    if not root.is_dir():
        return []
    return sorted(int(match[1]) for path in root.iterdir() if (match := STEP.fullmatch(path.name)) and not match[2])


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


def prune(root: Path, keep: int, current: int, *, every: int | None = None, held: Collection[int] = ()) -> None:
    """Keep the best checkpoint, the newest `keep` up to step `current`, and multiples of `every`; delete the others.

    Those beyond `current` were refused when this run resumed, or belong to a past that is being repeated. Those in
    `held` are being published.
    """
    best = read_best(root)
    past = [step for step in steps(root) if step <= current]
    kept = {*past[-keep:], *([best["step"]] if best and best["step"] <= current else []), *held}
    if every is not None:
        kept |= {step for step in past if step % every == 0}
    _remove_leftovers(root)
    for step in set(steps(root)) - kept:  # renamed first: a kill half-way leaves no half checkpoint under its name
        (root / f"step_{step:08d}").rename(root / f".step_{step:08d}.pruned.tmp")
    _remove_leftovers(root)


def _remove_leftovers(root: Path) -> None:
    for leftover in root.glob(".step_*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
