"""Decides which run directory a run file continues, and whether there is anything left to do in it."""

import json
from pathlib import Path
from typing import Any

from trmctl.output import talk
from trmctl.runs import every, last_change
from trmkit.errors import SpecError, StoreError
from trmkit.spec.features import FeaturesSection
from trmkit.spec.load import dump, load
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory, run_id
from trmkit.store.local import write_whole

READING = tuple(f"features.{key}" for key in FeaturesSection.model_fields if key not in FeaturesSection.silent)
FIXED = ("model", "data", *READING, "seed", "train.optimizer", "train.batch_size")
"""What a checkpoint depends on; the rest may change when a run goes on."""


def prepare(run: RunFile, resume: bool) -> RunDirectory:
    """Return the run's directory with the resolved run file in it. Raises SpecError, StoreError.

    The trainer takes a folder for a run directory when there are `run.yaml` and `checkpoints/` in it.
    """
    directory = newest(run) if resume else RunDirectory.of(run)
    if resume:
        announce(directory, differences(load(directory.run_file), run))
    else:
        refuse_to_go_back(directory, run)
    try:
        directory.checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{directory.checkpoints}: cannot be made: {error.strerror}",
            next="give storage.path a folder you may write to",
        ) from None
    text = dump(run)
    if not directory.run_file.is_file() or directory.run_file.read_text(encoding="utf-8") != text:
        write_whole(directory.run_file, text)
    return directory


def refuse_to_go_back(directory: RunDirectory, run: RunFile) -> None:
    """Raise SpecError when the run in `directory` went on, by --resume, with settings its name does not stand for."""
    if not directory.run_file.is_file():
        return
    now = load(directory.run_file)
    if run_id(now) != directory.root.name:
        lines = [f"  {key}: {old} -> {new}" for key, (new, old) in differences(now, run).items()]
        raise SpecError(
            "\n".join([f"{directory.root} went on with other settings than this run file's:", *lines]),
            next="give --resume and those settings to go on with it, or this run file another name to start anew",
        )


def newest(run: RunFile) -> RunDirectory:
    """Return the newest directory of a run with this name. Raises StoreError."""
    runs = Path(run.storage.path)
    known = [directory for directory in every(runs) if directory.root.parent.name == run.name]
    if not known:
        raise StoreError(f"there is no earlier run {run.name!r} in {runs}/", next="leave --resume out to start one")
    return max(known, key=last_change)


def announce(directory: RunDirectory, changes: dict[str, tuple[Any, Any]]) -> None:
    """Say what changed since the run last ran. Raises SpecError when its checkpoints would not fit any more."""
    lines = {key: f"  {key}: {old} -> {new}" for key, (old, new) in changes.items()}
    wrong = [line for key, line in lines.items() if any(key == fixed or key.startswith(f"{fixed}.") for fixed in FIXED)]
    if wrong:
        raise SpecError(
            "\n".join([f"{directory.root} cannot go on with this run file; these keys may not change:", *wrong]),
            next="leave --resume out to start a new run",
        )
    talk(f"going on in {directory.root}" + (", changed:" if lines else ""))
    for line in lines.values():
        talk(line)


def differences(old: RunFile, new: RunFile) -> dict[str, tuple[Any, Any]]:
    """Return the keys that differ, with both values."""
    before, after = (flat(run.model_dump(mode="json")) for run in (old, new))
    keys = dict.fromkeys([*before, *after])
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, with dotted keys."""
    result: dict[str, Any] = {}
    for key, value in data.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def finished(directory: RunDirectory, run: RunFile) -> bool:
    """Say whether the run was trained to its end, and that end scored and reported as its run file says now."""
    try:
        scored = json.loads(directory.evaluation.read_bytes())
        step, total = int(scored["step"]), int(scored["total"])
    except (OSError, ValueError, TypeError, KeyError):
        return False
    saved = [int(path.name.removeprefix("step_")) for path in directory.checkpoints.glob("step_*[0-9]")]
    if step != max(saved, default=0) or step < total or (run.train.steps or step) > step:
        return False
    files = (directory.run_file, directory.evaluation, directory.report)
    when = [path.stat().st_mtime for path in files if path.is_file()]
    return len(when) == len(files) and when == sorted(when)
