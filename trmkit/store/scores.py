"""What was found of single checkpoints while a run trains: an object each in its store, written once.

Who scores and who trains may be on two machines. An object `<run>/scores/<step>.json` says that a checkpoint is scored,
and with what; it is never changed, so it does not matter who writes or reads it when.
"""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from trmkit.store.base import Store, write_over
from trmkit.store.layout import SCORES
from trmkit.store.local import write_whole

MOST_WAITING = 8
"""Checkpoints that are kept because they are not scored yet. Of more, the oldest go, and are never scored."""
_NAME = re.compile(r"(\d{1,12})\.json")


def steps(store: Store, key: str) -> set[int]:
    """Return the updates of the run `key` whose checkpoints are scored; one request a thousand."""
    start = f"{key}/{SCORES}/"
    names = (_NAME.fullmatch(entry.key.removeprefix(start)) for entry in store.keys(start))
    return {int(name[1]) for name in names if name}


def read(store: Store, key: str, step: int) -> dict[str, Any]:
    """Return what was found of the checkpoint of `step`; nothing if it is not scored, or that cannot be read."""
    place = f"{key}/{SCORES}/{step}.json"
    if store.look(place) is None:
        return {}
    try:
        found = json.loads(store.read(place))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def leave(store: Store, key: str, step: int, content: bytes) -> None:
    """Put what was found of the checkpoint of `step` into the store, unless it is there. StoreError: it does not land.

    Scores of the same checkpoint say the same, so the first writer's stay.
    """
    write_over(store, f"{key}/{SCORES}/{step}.json", content, None)


def bring(store: Store, key: str, folder: Path) -> set[int]:
    """Bring the scores that are not in `folder` yet; return the updates of those that are there now."""
    here = here_of(folder)
    for step in sorted(steps(store, key) - here):
        write_whole(folder / f"{step}.json", store.read(f"{key}/{SCORES}/{step}.json"))
        here.add(step)
    return here


def exchange(store: Store, key: str, folder: Path) -> None:
    """Have the scores of the run `key` and those in `folder` in both places."""
    there = steps(store, key)
    for step in sorted(here_of(folder) - there):
        leave(store, key, step, (folder / f"{step}.json").read_bytes())
    bring(store, key, folder)


def here_of(folder: Path) -> set[int]:
    """Return the updates whose scores are in `folder`."""
    if not folder.is_dir():
        return set()
    return {int(name[1]) for file in folder.iterdir() if (name := _NAME.fullmatch(file.name))}


def awaited(due: Collection[int], scored: Collection[int]) -> set[int]:
    """Return those of the `due` steps that wait to be scored: the newest `MOST_WAITING` without scores."""
    return set(sorted(set(due) - set(scored))[-MOST_WAITING:])
