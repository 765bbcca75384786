"""What `fetch` brings of a run: its files, and the checkpoints that are asked for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trmkit.errors import StoreDamagedError, StoreError
from trmkit.store.fetch import Fetch, free_space, newest_whole
from trmkit.store.layout import CHECKPOINTS, RUN_FILES
from trmkit.store.local import write_whole
from trmkit.store.manifest import Manifest, Member, read
from trmkit.store.publish import Published, read_manifest
from trmkit.store.retry import persist
from trmkit.store.uploader import read_summary

TRIES = 3


@dataclass(frozen=True)
class Wanted:
    """Which checkpoints: `last`, `best`, `all`, or `step` with its number."""

    which: str
    step: int | None = None


def take_files(fetch: Fetch, key: str, target: Path) -> list[str]:
    """Bring the files of the run `key` into `target`. StoreDamagedError: one is not what `run.json` says of it.

    A file that is published anew in between is tried again.
    """
    for attempt in range(TRIES):
        summary = persist(lambda: read_summary(fetch.store, key), fetch.seconds) or {}
        files = listed_files(summary)
        if not files:
            return [f"{fetch.store.url}/{key}: has no files but checkpoints"]
        target.mkdir(parents=True, exist_ok=True)
        try:
            fetch.files(key, files, target)
        except StoreDamagedError:
            if attempt == TRIES - 1:
                raise
            continue
        return [f"{key}: {', '.join(files)}"]
    return []


def listed_files(summary: dict[str, Any]) -> dict[str, Member]:
    """Return the files that `run.json` lists and that a run may have; anything else in it is ignored."""
    found = {}
    listed = summary.get("files")
    for name, entry in listed.items() if isinstance(listed, dict) else ():
        if name in RUN_FILES and isinstance(entry, dict):
            size, digest = entry.get("bytes"), entry.get("sha256")
            if type(size) is int and size >= 0 and isinstance(digest, str):
                found[name] = Member(size, digest)
    return found


def take_checkpoints(fetch: Fetch, known: list[Published], target: Path, wanted: Wanted) -> list[str]:
    """Bring checkpoints to `target`/checkpoints; return where each comes from, and why others were not used.

    StoreError: none that is asked for is whole.
    """
    folder = target / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    brought = 0
    for group in _groups(fetch, known, wanted):
        refused: list[str] = []
        free_space(folder, _bytes(fetch, group))
        found = newest_whole(fetch, group, folder, refused)
        lines += [f"not used: {reason}" for reason in refused]
        if found is not None:
            brought += 1
            manifest = read(folder / f"step_{found.step:08d}")
            _remember_best(folder, manifest, wanted)
            lines += provenance(found, manifest)
    if not brought:
        raise StoreError("no checkpoint that is asked for is whole:\n    " + "\n    ".join(lines), next="try --last")
    return lines


def provenance(found: Published, manifest: Manifest) -> list[str]:
    """Return where a checkpoint comes from, a line each."""
    about = manifest.about
    scores = about.get("scores")
    known = {
        "version": about.get("version"),
        "commit": about.get("commit"),
        "image": about.get("image"),
        "run file": about.get("config_sha256"),
        "created": about.get("created"),
        "scores": json.dumps(scores) if scores else None,
        "manifest": manifest.sha256,
    }
    files = f"{len(manifest.files)} files, {manifest.bytes:,} bytes, every SHA-256 right"
    return [f"step {found.step}: {files}", *(f"  {name}: {value}" for name, value in known.items() if value)]


def _groups(fetch: Fetch, known: list[Published], wanted: Wanted) -> Iterator[list[Published]]:
    """Return lists of checkpoints; of each the first that is whole is brought."""
    if wanted.which == "last":
        yield known
    elif wanted.which == "step":
        yield _of(known, wanted.step)
    elif wanted.which == "best":
        yield _of(known, best_step(fetch, known))
    else:
        for step in sorted({one.step for one in known}, reverse=True):
            yield _of(known, step)


def _of(known: list[Published], step: int | None) -> list[Published]:
    found = [one for one in known if one.step == step]
    if not found:
        steps = ", ".join(str(one.step) for one in known[:12])
        raise StoreError(f"there is no checkpoint of step {step}", next=f"there are: {steps}")
    return found


def best_step(fetch: Fetch, known: list[Published]) -> int:
    """Return the step of the best checkpoint, as the newest manifest that fits its name says. StoreError: none does."""
    for one in known:
        manifest = _manifest(fetch, one)
        best = manifest.about.get("best") if manifest is not None else None
        if isinstance(best, dict) and type(best.get("step")) is int:
            return int(best["step"])
    raise StoreError("no best checkpoint is known", next="set evaluate.every_steps, or fetch --last")


def _remember_best(folder: Path, manifest: Manifest, wanted: Wanted) -> None:
    best = manifest.about.get("best")
    if wanted.which in ("best", "last", "all") and isinstance(best, dict):
        path = folder / "best.json"
        if not path.is_file() or wanted.which == "best":
            write_whole(path, json.dumps(best))


def _bytes(fetch: Fetch, group: list[Published]) -> int:
    manifests = (_manifest(fetch, one) for one in group)
    return next((manifest.bytes for manifest in manifests if manifest is not None), 0)


def _manifest(fetch: Fetch, one: Published) -> Manifest | None:
    try:
        return persist(lambda: read_manifest(fetch.store, one), fetch.seconds)
    except StoreDamagedError:
        return None
