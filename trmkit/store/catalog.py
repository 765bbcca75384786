"""The runs in a store, without opening any: one small object a run, whose name says how the run is doing.

Listing a thousand names is one request; reading a thousand files would be a thousand. The names only inform: what is
fetched or resumed is decided by manifests that verify.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from trmkit.errors import StoreError
from trmkit.store.base import Store
from trmkit.store.layout import INDEX

STATES = ("training", "stopped", "trained", "scored", "failed")
_KEY = re.compile(
    rf"{INDEX}/(?P<name>[a-z][-a-z0-9]*)/(?P<id>[0-9a-f]{{8}})/"
    r"(?P<state>[a-z]+),(?P<step>\d{1,15}),(?P<total>\d{1,15}),(?P<metric>[a-z_0-9]*),(?P<value>[-+0-9.a-z]{0,24})"
)


@dataclass(frozen=True)
class Listed:
    """A run as a list shows it."""

    name: str
    run_id: str
    state: str
    step: int
    total: int
    metric: str
    """Name of the best score so far; empty: none yet."""
    value: float | None
    modified: float
    """When the run last said something, in seconds since 1970."""

    @property
    def key(self) -> str:
        """Where the run lives in the store."""
        return f"{self.name}/{self.run_id}"


def index_key(run: Listed) -> str:
    """Return the name of the object that says this of a run."""
    value = "" if run.value is None else f"{run.value:.6g}"
    return f"{INDEX}/{run.key}/{run.state},{run.step},{run.total},{run.metric},{value}"


def announce(store: Store, run: Listed) -> None:
    """Say in the store how a run is doing, and take back what was said before."""
    new = index_key(run)
    before = [entry.key for entry in store.keys(f"{INDEX}/{run.key}/")]
    store.write(new, b"")
    with suppress(StoreError):  # without the right to delete, the newest line counts
        store.delete(key for key in before if key != new)


def runs(store: Store) -> list[Listed]:
    """Return every run, those that last said something first; one request a thousand runs."""
    newest: dict[str, Listed] = {}
    for entry in store.keys(f"{INDEX}/"):
        match = _KEY.fullmatch(entry.key)
        if not match:
            continue
        run = Listed(
            match["name"], match["id"], match["state"], int(match["step"]), int(match["total"]), match["metric"],
            _number(match["value"]), entry.modified,
        )  # fmt: skip
        known = newest.get(run.key)
        if known is None or (run.modified, run.step) > (known.modified, known.step):
            newest[run.key] = run
    return sorted(newest.values(), key=lambda run: (-run.modified, run.key))


def matching(known: Iterable[Listed], text: str) -> list[Listed]:
    """Return the runs meant by a name, an id, or name/id."""
    return [run for run in known if text in (run.name, run.run_id, run.key)]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
