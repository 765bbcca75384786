"""How far runs are: from the pods' own metrics, and from the stores they publish to.

One listing of a store tells of a thousand runs; a run is only looked at more closely when its line has changed.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.request import ProxyHandler, build_opener

from trmctl import pods as p
from trmctl.cluster import Object
from trmctl.controller.seen import Progress, Wanted
from trmctl.progress import ATTEMPTS, parse
from trmkit.errors import StoreError
from trmkit.render.names import METRICS_PORT
from trmkit.spec.storage import StorageSection
from trmkit.store import summary
from trmkit.store.base import Store
from trmkit.store.catalog import Listed, runs
from trmkit.store.layout import CHECKPOINTS
from trmkit.store.manifest import MANIFEST
from trmkit.store.open import open_store
from trmkit.store.publish import checkpoints

Numbers = Mapping[str, float]
Ask = Callable[[Object], Numbers]
"""Asks a pod for its metrics; nothing where it does not answer."""
Open = Callable[[StorageSection], Store]
FRESH = 20.0
"""Seconds for which a listing of a store is believed."""
LARGEST = 4 << 20
"""Most bytes that a pod may answer."""
PATIENCE = 2.0
"""Seconds that a pod may take."""


def ask(pod: Object) -> Numbers:
    """Return what a pod says on its metrics port, asked at its own address."""
    address = str((pod.get("status") or {}).get("podIP") or "")
    if not address:
        return {}
    host = f"[{address}]" if ":" in address else address
    try:
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"http://{host}:{METRICS_PORT}/metrics", timeout=PATIENCE) as answer:
            return parse(answer.read(LARGEST).decode(errors="replace"))
    except (OSError, ValueError):
        return {}


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


@dataclass
class _Known:
    """What was read of a store."""

    at: float
    problem: str
    lines: Mapping[str, Listed]


class Stores:
    """What is known of runs, asked for as seldom as that is enough. May be used by several threads."""

    def __init__(self, clock: Callable[[], float], asks: Ask = ask, opens: Open = open_ours) -> None:
        """Take who tells seconds since 1970, asks pods, and opens stores."""
        self._clock = clock
        self._ask = asks
        self._open = opens
        self._lock = threading.Lock()
        self._stores: dict[str, _Known] = {}
        self._runs: dict[str, tuple[Listed, Progress]] = {}

    def progress(self, wanted: Wanted | None, pods: Sequence[Object]) -> Progress:
        """Return how far a run is; `pods` are its own. One whose pods do not all run is looked at closely."""
        if wanted is None:
            return Progress()
        closely = not pods or not all(p.is_running(pod) for pod in pods)
        found = self._stored(wanted, closely) if wanted.store else Progress()
        now = self._metrics(pods)
        if not now:
            return found
        last = now.get("trm_last_step_timestamp_seconds") or None
        step, total = int(now.get("trm_train_step", 0)), int(now.get("trm_train_total_steps", 0))
        return replace(found, step=step or found.step, total=total or found.total, last_step_at=last)

    def forget(self, keep: Sequence[str]) -> None:
        """Forget runs whose addresses are not in `keep`."""
        self._runs = {address: known for address, known in self._runs.items() if address in set(keep)}

    def _metrics(self, pods: Sequence[Object]) -> Numbers:
        running = [pod for pod in pods if p.is_running(pod)]
        found: dict[str, float] = {}
        for numbers in map(self._ask, running[:1]):  # the first rank says what is true of all
            found |= numbers
        return found

    def _stored(self, wanted: Wanted, closely: bool) -> Progress:
        section = wanted.spec.run.storage
        with self._lock:
            listing = self._listing(section)
        if listing.problem:
            return Progress(problem=listing.problem)
        line = listing.lines.get(f"{wanted.spec.run.name}/{wanted.run_id}")
        if line is None:
            return Progress(readable=True)
        known = self._runs.get(wanted.store)
        if known is not None and known[0] == line and not closely:
            return known[1]
        try:
            found = read(self._open(section), line, wanted.store)
        except (StoreError, ValueError) as error:
            return Progress(problem=str(error)[:300])
        self._runs[wanted.store] = (line, found)
        return found

    def _listing(self, section: StorageSection) -> _Known:
        place = str(section.remote)
        known, now = self._stores.get(place), self._clock()
        if known is not None and now - known.at < FRESH:
            return known
        try:
            lines = {one.key: one for one in runs(self._open(section))}
            known = _Known(now, "", lines)
        except (StoreError, ValueError) as error:
            known = _Known(now, str(error)[:300], {})
        self._stores[place] = known
        return known


def read(store: Store, line: Listed, address: str) -> Progress:
    """Return what a store says of one run. StoreError: it does not answer."""
    there = checkpoints(store, f"{line.key}/{CHECKPOINTS}")
    newest = store.look(f"{there[0].key}/{MANIFEST}") if there else None
    known = summary.read(store, line.key)
    return Progress(
        True, "", line.state, line.step, line.total, line.metric, line.value, known.status.best_step if known else None,
        there[0].step if there else None, f"{address}/{CHECKPOINTS}/{there[0].name}" if there else "",
        newest.modified if newest else None, None, ledger(store, line.key),
    )  # fmt: skip


def ledger(store: Store, key: str) -> Sequence[Mapping[str, Any]]:
    """Return the launcher's attempts; nothing where it wrote none that can be read."""
    if store.look(f"{key}/{ATTEMPTS}") is None:
        return ()
    try:
        found = json.loads(store.read(f"{key}/{ATTEMPTS}"))
    except (StoreError, ValueError, RecursionError):
        return ()
    known = found.get("attempts") if isinstance(found, dict) else None
    return [one for one in known if isinstance(one, dict)] if isinstance(known, list) else []
