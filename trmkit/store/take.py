"""What `fetch` brings of a run: its files, and the checkpoints that are asked for."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trmkit.errors import StoreDamagedError, StoreError, StoreUnavailableError
from trmkit.store import scores
from trmkit.store import summary as summaries
from trmkit.store.fetch import Fetch, newest_whole
from trmkit.store.layout import CHECKPOINTS, RUN_FILES
from trmkit.store.local import only_one, write_whole
from trmkit.store.manifest import Manifest, Member, read
from trmkit.store.publish import Published, read_manifest
from trmkit.store.retry import persist
from trmkit.store.summary import Status, Summary
from trmkit.store.uploader import best_step


@dataclass(frozen=True)
class Wanted:
    """Which checkpoints: `last`, `best`, `all`, or `step` with its number."""

    which: str
    step: int | None = None


def take_files(fetch: Fetch, key: str, target: Path, names: Collection[str] = RUN_FILES) -> list[str]:
    """Bring the files of the run `key` that `run.json` lists into `target`; return what was brought, in words.

    A file that is none of the versions listed is left out, and said: the checkpoints are worth more than it.
    """
    summary = persist(lambda: summaries.read(fetch.store, key), fetch.seconds, give_up=fetch.give_up)
    files = {name: versions for name, versions in (summary or Summary()).files.items() if name in names}
    if not files:
        return [f"{key}: lists no files"]
    target.mkdir(parents=True, exist_ok=True)
    brought, lines = [], []
    with only_one(target / "fetch"):
        for name, versions in files.items():
            reason = _one_of(fetch, key, name, versions, target)
            if reason:
                lines.append(f"not brought: {reason}")
            else:
                brought.append(name)
    return [f"{key}: {', '.join(brought) or 'no files'}", *lines]


def _one_of(fetch: Fetch, key: str, name: str, versions: Sequence[Member], target: Path) -> str:
    """Bring a file in whichever of its versions is there; return why not, or nothing."""
    reason = f"{name} has no version in run.json"
    for version in versions:
        try:
            fetch.files(key, {name: version}, target)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            reason = error.message
            continue
        return ""
    return reason


def take_checkpoints(fetch: Fetch, known: list[Published], target: Path, wanted: Wanted) -> list[str]:
    """Bring checkpoints to `target`/checkpoints; return where each comes from, and why others were not used.

    StoreError: none that is asked for is whole.
    """
    folder = target / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    missing = brought = 0
    for group in _groups(fetch, known, wanted):
        refused: list[str] = []
        found = newest_whole(fetch, group, folder, refused)
        lines += [f"not used: {reason}" for reason in refused]
        if found is None:
            missing += 1
            continue
        brought += 1
        manifest = read(folder / f"step_{found.step:08d}")
        _remember_best(fetch, known, folder, manifest, wanted)
        lines += provenance(found, manifest)
    if missing or not brought:
        what = "not every" if brought else "no"
        raise StoreError(
            f"{what} checkpoint that is asked for is whole:\n    " + "\n    ".join(lines), next="try --last"
        )
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
        yield _of(known, newest_best(fetch, known))
    else:
        for step in sorted({one.step for one in known}, reverse=True):
            yield _of(known, step)


def _of(known: list[Published], step: int | None) -> list[Published]:
    found = [one for one in known if one.step == step]
    if not found:
        steps = ", ".join(str(one.step) for one in known[:12])
        raise StoreError(f"there is no checkpoint of step {step}", next=f"there are: {steps}")
    return found


def newest_best(fetch: Fetch, known: list[Published]) -> int:
    """Return the step of the best checkpoint: the one `run.json` names, if it is there, as its score may come last.

    Else the one that the newest manifest names which fits its name. StoreError: none does.
    """
    status = _status(fetch, known)
    if status.best_step is not None and any(one.step == status.best_step for one in known):
        return status.best_step
    for one in known:
        try:
            manifest = persist(lambda one=one: read_manifest(fetch.store, one), fetch.seconds)  # type: ignore[misc]
        except StoreDamagedError:
            continue
        step = best_step(manifest.about)
        if step is not None:
            return step
    raise StoreError("no best checkpoint is known", next="set evaluate.every_steps, or fetch --last")


def _status(fetch: Fetch, known: list[Published]) -> Status:
    key = known[0].parent.removesuffix(f"/{CHECKPOINTS}") if known else ""
    found = persist(lambda: summaries.read(fetch.store, key), fetch.seconds, give_up=fetch.give_up) if key else None
    return (found or Summary()).status


def _remember_best(fetch: Fetch, known: list[Published], folder: Path, manifest: Manifest, wanted: Wanted) -> None:
    """Note which checkpoint is the best: as the one that was brought says, or the score it got afterwards."""
    best = manifest.about.get("best")
    path = folder / "best.json"
    status = _status(fetch, known) if wanted.which == "best" else Status()
    if status.best_step == manifest.step and best_step(manifest.about) != manifest.step:
        key = known[0].parent.removesuffix(f"/{CHECKPOINTS}")
        found = persist(lambda: scores.read(fetch.store, key, manifest.step), fetch.seconds, give_up=fetch.give_up)
        value = found.get(status.metric, status.value)
        best = {"step": manifest.step, "metric": status.metric, "value": value}
    if (
        wanted.which in ("best", "last", "all")
        and isinstance(best, dict)
        and (not path.is_file() or wanted.which == "best")
    ):
        write_whole(path, json.dumps(best))
