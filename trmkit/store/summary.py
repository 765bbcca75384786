"""`run.json`: how a run in a store is doing, and what its files that change have to be.

A file that changes is published under its own name, so a reader may meet the old one or the new one. `run.json` lists
both before the new one is sent, and only the new one afterwards: whatever dies in between, what is there is known.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trmkit.errors import StoreError, StoreUnavailableError
from trmkit.store.base import Store, write_over
from trmkit.store.catalog import STATES
from trmkit.store.layout import RUN_FILES, SUMMARY
from trmkit.store.manifest import Member, member

FORMAT = 1
MOST_VERSIONS = 8
"""Versions of a file that are remembered when publishing keeps being cut off in between."""
TRIES = 8


@dataclass(frozen=True)
class Status:
    """How a run is doing."""

    state: str = "training"
    step: int = 0
    total: int = 0
    metric: str = ""
    value: float | None = None
    best_step: int | None = None


@dataclass(frozen=True)
class Summary:
    """What `run.json` says."""

    status: Status = Status()
    about: Mapping[str, str] = field(default_factory=dict)
    """Where the run comes from: run, version, commit, image, SHA-256 of the run file."""
    files: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)
    """Published file -> what it may be, the newest first."""


def read(store: Store, key: str) -> Summary | None:
    """Return what `run.json` of the run `key` says; None: there is none, or it is not one of ours."""
    if store.look(f"{key}/{SUMMARY}") is None:
        return None
    try:
        return parse(store.read(f"{key}/{SUMMARY}"))
    except StoreUnavailableError:
        raise
    except (StoreError, ValueError):
        return None


def parse(content: bytes) -> Summary:
    """Return what a `run.json` says. ValueError: it is none. Single things in it that make no sense are left out."""
    try:
        found = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"is not of format {FORMAT}")
    about = found.get("about")
    files = found.get("files")
    return Summary(
        _status(found),
        {k: v for k, v in about.items() if isinstance(v, str)} if isinstance(about, dict) else {},
        {name: _versions(name, files[name]) for name in RUN_FILES if isinstance(files, dict) and name in files},
    )


def _status(found: dict[str, Any]) -> Status:
    def number(name: str) -> int | None:
        value = found.get(name)
        return value if type(value) is int and 0 <= value < 1 << 53 else None

    state, metric, value = found.get("state"), found.get("metric"), found.get("value")
    return Status(
        state if state in STATES else "training",
        number("step") or 0,
        number("total") or 0,
        metric if isinstance(metric, str) else "",
        float(value) if isinstance(value, float | int) and not isinstance(value, bool) else None,
        number("best_step"),
    )


def _versions(name: str, found: Any) -> tuple[Member, ...]:
    versions = []
    for entry in found[:MOST_VERSIONS] if isinstance(found, list) else ():
        try:
            versions.append(member(name, entry))
        except ValueError:
            continue
    return tuple(versions)


def text(summary: Summary, key: str) -> bytes:
    """Return the content of `run.json`."""
    files = {name: [asdict(version) for version in versions] for name, versions in summary.files.items()}
    content = {"format": FORMAT, "run": key, **asdict(summary.status), "about": dict(summary.about)}
    return json.dumps({**content, "updated": time.time(), "files": files}, indent=1).encode()


def update(store: Store, key: str, change: Callable[[Summary], Summary]) -> Summary:
    """Change `run.json` without losing what another writer changes at the same time; return what it says now.

    A store that ignores conditions may lose one of two changes; the next publication of that writer brings it back.
    """
    place = f"{key}/{SUMMARY}"
    for _ in range(TRIES):
        seen = store.look(place)
        new = change(read(store, key) or Summary())
        if write_over(store, place, text(new, key), seen):
            return new
    raise StoreUnavailableError(f"{store.url}/{place}: other writers are always faster")


def will_be(files: Mapping[str, Member]) -> Callable[[Summary], Summary]:
    """Return the change that announces new versions of `files`, beside those that may be there."""

    def change(now: Summary) -> Summary:
        joined = dict(now.files)
        for name, new in files.items():
            others = [version for version in joined.get(name, ()) if version != new]
            joined[name] = (new, *others)[:MOST_VERSIONS]
        return replace(now, files=joined)

    return change


def are(files: Mapping[str, Member], status: Status, about: Mapping[str, str]) -> Callable[[Summary], Summary]:
    """Return the change that says `files` have arrived, and how the run is doing."""

    def change(now: Summary) -> Summary:
        joined = {**now.files, **{name: (new,) for name, new in files.items()}}
        return Summary(status, {**now.about, **about}, joined)

    return change
