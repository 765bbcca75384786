"""How far runs are: from the pods' own metrics, and from the stores they publish to.

One listing of a store tells of a thousand runs; a run is only looked at more closely when its line has changed. A store
that does not answer is waited for by one thread, and not asked again for a while: the other runs go on meanwhile.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trmctl import pods as p
from trmctl.cluster import Object
from trmctl.controller.pod_metrics import Ask, Said, ask, understood
from trmctl.controller.seen import Progress, Wanted
from trmkit.errors import StoreError, StoreUnavailableError
from trmkit.spec.storage import StorageSection
from trmkit.store import attempts, scores, summary
from trmkit.store.base import Store
from trmkit.store.catalog import Listed, runs
from trmkit.store.layout import CHECKPOINTS
from trmkit.store.manifest import MANIFEST
from trmkit.store.open import open_store
from trmkit.store.publish import checkpoints

Open = Callable[[StorageSection], Store]
Place = tuple[object, ...]
"""What of `storage` decides which store it is, and how it is asked."""
FRESH = 20.0
"""Seconds for which a listing of a store is believed."""
FAILED_FOR = 60.0
"""Seconds for which a store that did not answer is not asked again."""
FIRST = 5.0
"""Seconds that others wait for the first listing of a store."""
TOO_LONG, SILENT_FOR = 1.5, 300.0
"""Seconds after which a pod has not answered in time, and for which it is then not asked again."""
SLOW = 3.0
"""Seconds after which a failed question is the store's fault, and not that of what was asked for."""


def open_ours(section: StorageSection) -> Store:
    """Return a bucket, at the endpoint that this process is set up for. StoreError: it is another one, or no bucket.

    A run file may name any address; credentials of the controller only go to its own.
    """
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or None
    if not (section.remote or "").startswith("s3://"):
        raise StoreError(f"{section.remote} is no bucket, so only the pods see it")
    if section.endpoint_url is not None and section.endpoint_url.rstrip("/") != (own or "").rstrip("/"):
        raise StoreError(f"{section.endpoint_url} is not the store that the controller is set up for")
    return open_store(section.model_copy(update={"endpoint_url": None}))


def place_of(section: StorageSection) -> Place:
    """Return what decides which store this is."""
    return (
        section.remote, section.endpoint_url, section.region, section.addressing, section.checksums,
        section.allow_link_local,
    )  # fmt: skip


@dataclass(frozen=True)
class _Known:
    """What was read of a store."""

    until: float
    problem: str = ""
    lines: Mapping[str, Listed] = field(default_factory=dict)
    store: Store | None = None


@dataclass
class _Shelf:
    """A store, and who lists it."""

    known: _Known | None = None
    lister: threading.Lock = field(default_factory=threading.Lock)


class Stores:
    """What is known of runs, asked for as seldom as that is enough. May be used by several threads."""

    def __init__(self, clock: Callable[[], float], asks: Ask = ask, opens: Open = open_ours) -> None:
        """Take who tells seconds since 1970, asks pods, and opens stores."""
        self._clock = clock
        self._ask = asks
        self._open = opens
        self._lock = threading.Lock()
        self._shelves: dict[Place, _Shelf] = {}
        self._runs: dict[str, tuple[Place, Listed, Progress]] = {}
        self._silent: dict[str, float] = {}
        """Uid of a pod -> until when it is not asked."""

    def progress(self, wanted: Wanted | None, pods: Sequence[Object]) -> Progress:
        """Return how far a run is; `pods` are its own. One whose pods do not all run is looked at closely."""
        if wanted is None:
            return Progress()
        closely = not pods or not all(p.is_running(pod) for pod in pods)
        found = self._stored(wanted, closely) if wanted.store else Progress()
        said = self._said(pods)
        return replace(
            found, step=said.step or found.step, total=said.total or found.total, last_step_at=said.last_step_at,
            training=said.training,
        )  # fmt: skip

    def forget(self, keep: Collection[str]) -> None:
        """Forget runs whose addresses are not in `keep`."""
        kept = set(keep)
        with self._lock:
            self._runs = {address: known for address, known in self._runs.items() if address in kept}

    def _said(self, pods: Sequence[Object]) -> Said:
        running = [pod for pod in pods if p.is_running(pod)]
        if not running:
            return Said()
        first = running[0]  # the first rank says what is true of all
        uid, now = p.uid(first), self._clock()
        if self._silent.get(uid, 0.0) > now:
            return Said()
        began = time.monotonic()
        said = self._ask(first)
        with self._lock:
            self._silent = {one: until for one, until in self._silent.items() if until > now and one != uid}
            if not said and time.monotonic() - began >= TOO_LONG:
                self._silent[uid] = now + SILENT_FOR
        return understood(said, now)

    def _stored(self, wanted: Wanted, closely: bool) -> Progress:
        section = wanted.spec.run.storage
        place = place_of(section)
        with self._lock:
            shelf = self._shelves.setdefault(place, _Shelf())
            known = self._runs.get(wanted.store)
        there = self._listing(shelf, section)
        if there.problem or there.store is None:
            return Progress(problem=there.problem)
        line = there.lines.get(f"{wanted.spec.run.name}/{wanted.run_id}")
        if line is None:
            return Progress(readable=True)
        if known is not None and known[:2] == (place, line) and not closely:
            return known[2]
        began = time.monotonic()
        try:
            found = read(there.store, line, wanted)
        except (StoreError, ValueError) as error:
            if isinstance(error, StoreUnavailableError) and time.monotonic() - began > SLOW:
                shelf.known = _Known(self._clock() + FAILED_FOR, str(error)[:300])
            return Progress(problem=str(error)[:300])
        with self._lock:
            self._runs[wanted.store] = (place, line, found)
        return found

    def _listing(self, shelf: _Shelf, section: StorageSection) -> _Known:
        """Return what is in a store. While another thread asks it, what was there before is good enough."""
        known = shelf.known
        if known is not None and self._clock() < known.until:
            return known
        if not shelf.lister.acquire(timeout=FIRST if known is None else 0):
            return shelf.known or _Known(0.0, f"{section.remote} is being listed for the first time")
        try:
            if shelf.known is known:  # nobody did it meanwhile
                shelf.known = self._list(section, known.store if known else None)
            assert shelf.known is not None
            return shelf.known
        finally:
            shelf.lister.release()

    def _list(self, section: StorageSection, store: Store | None) -> _Known:
        try:
            store = store or self._open(section)
            lines = {one.key: one for one in runs(store)}
        except (StoreError, ValueError) as error:
            return _Known(self._clock() + FAILED_FOR, str(error)[:300])
        return _Known(self._clock() + FRESH, "", lines, store)


def read(store: Store, line: Listed, wanted: Wanted) -> Progress:
    """Return what a store says of one run. StoreError: it does not answer."""
    there = checkpoints(store, f"{line.key}/{CHECKPOINTS}")
    newest = store.look(f"{there[0].key}/{MANIFEST}") if there else None
    known = summary.read(store, line.key)
    value = line.value if line.value is not None and math.isfinite(line.value) else None
    return Progress(
        True, "", line.state, line.step, line.total, line.metric, value, known.status.best_step if known else None,
        there[0].step if there else None, f"{wanted.store}/{CHECKPOINTS}/{there[0].name}" if there else "",
        newest.modified if newest else None, None, attempts.read(store, line.key),
        scored=_scored(store, line, wanted, known),
    )  # fmt: skip


def _scored(store: Store, line: Listed, wanted: Wanted, known: summary.Summary | None) -> int | None:
    """Return the update of the newest score that the best one is the best of; None: not known.

    Who scores beside training leaves a file for each; training that scores itself has done so up to one evaluation
    before the update that it speaks of, at least.
    """
    evaluate = wanted.spec.run.evaluate
    if evaluate.mode == "job":
        return max(scores.steps(store, line.key), default=None)
    if known is None or not evaluate.every_steps:
        return None
    return max(0, known.status.step - evaluate.every_steps)
