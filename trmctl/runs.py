"""Finds run directories by what a person types: a folder, a name, an id, or name/id."""

import os
from pathlib import Path
from typing import Any

from trmkit.errors import StoreError
from trmkit.spec.tree import did_you_mean
from trmkit.store.layout import RunDirectory


def find(text: str, runs: Path) -> RunDirectory:
    """Return the run meant by `text`; of several with this name the newest. StoreError: it is not on this machine."""
    if text.startswith("s3://"):
        address = text.split("/checkpoints/")[0].rstrip("/")
        raise StoreError(
            f"{text}: is in a store; this works on runs on this machine",
            next=f"trmctl fetch {address}, then give {'/'.join(address.split('/')[-2:])}",
        )
    folder = RunDirectory(Path(text))
    if folder.run_file.is_file():
        return folder
    known = every(runs)
    matching = [run for run in known if text in (run.root.parent.name, run.root.name, label(run))]
    if matching:
        return max(matching, key=last_change)
    names = {name for run in known for name in (run.root.parent.name, run.root.name, label(run))}
    listed = ", ".join(sorted({run.root.parent.name for run in known})) or "none yet"
    raise StoreError(f"there is no run {text!r}{did_you_mean(text, names)}", next=f"the runs in {runs}/ are: {listed}")


def every(runs: Path) -> list[RunDirectory]:
    """Return every run under the folder of runs."""
    return [RunDirectory(path.parent) for path in sorted(runs.glob("*/*/run.yaml"))]


def label(run: RunDirectory) -> str:
    """Return `name/id`."""
    return f"{run.root.parent.name}/{run.root.name}"


def last_change(run: RunDirectory) -> float:
    """Return when something last happened in a run, in seconds since 1970."""
    paths = (run.run_file, run.metrics, run.checkpoints, run.evaluation)
    return max(os.path.getmtime(path) for path in paths if path.exists())


def progress(run: RunDirectory) -> dict[str, Any]:
    """Return how far a run on this machine is: state, step, total, and its best or final score."""
    import json

    from trmkit.store.layout import STEP

    names = [STEP.fullmatch(path.name) for path in run.checkpoints.glob("step_*")]
    found: dict[str, Any] = {"state": "training", "step": max((int(name[1]) for name in names if name), default=0)}
    found |= {"total": 0, "metric": None, "value": None}
    try:
        scored = json.loads(run.evaluation.read_bytes())
        metric = "exact_accuracy"
        value = float(scored["sets"]["test"][metric])
        found |= {"state": "scored", "total": int(scored["total"]), "metric": metric, "value": value}
    except (OSError, ValueError, KeyError, TypeError):
        best = run.checkpoints / "best.json"
        if best.is_file():
            known = json.loads(best.read_bytes())
            found |= {"metric": known.get("metric"), "value": known.get("value")}
    return found
