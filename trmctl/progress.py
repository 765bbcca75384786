"""How far a run in a cluster is: from its pods' metrics, and from its store."""

import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trmctl import pods as p
from trmctl.cluster import Cluster, Object
from trmctl.jobs import Job
from trmkit.errors import ClusterError, StoreError, TrmError
from trmkit.render.names import METRICS_PORT, STORE
from trmkit.stages import FOLLOW

if TYPE_CHECKING:
    from trmkit.spec.storage import StorageSection

LINE = re.compile(r'^(trm_\w+(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?) ([-+0-9.eEnaifNI]+)$', re.MULTILINE)
ATTEMPTS = "attempts.json"
AT_ONCE = 16


@dataclass(frozen=True)
class Stored:
    """What a store knows of a run."""

    state: str = ""
    step: int = 0
    total: int = 0
    metric: str = ""
    value: float | None = None
    updated: float | None = None
    """Seconds since 1970."""
    checkpoint: int | None = None
    """Update of the newest checkpoint; None: there is none."""
    checkpoint_at: float | None = None


def metrics(cluster: Cluster, job: Job, pods: Sequence[Object]) -> dict[int, dict[str, float]]:
    """Return rank -> numbers of the pods that answer; they need not, and whoever asks may not be allowed to."""

    def ask(pod: Object) -> dict[str, float]:
        try:
            return parse(cluster.read_port(p.name(pod), METRICS_PORT, "/metrics", job.namespace))
        except ClusterError:
            return {}

    running = [pod for pod in pods if p.is_running(pod)]
    if not running:
        return {}
    with ThreadPoolExecutor(min(AT_ONCE, len(running))) as pool:
        found = list(pool.map(ask, running))
    return {p.rank(pod): numbers for pod, numbers in zip(running, found, strict=True) if numbers}


def parse(text: str) -> dict[str, float]:
    """Return the numbers in a text of Prometheus, by name and labels as it has them; what is none is left out."""
    found = {}
    for name, value in LINE.findall(text):
        try:
            found[name] = float(value)
        except ValueError:
            continue
    return found


def address(job: Job) -> tuple[str, str] | None:
    """Return store and key of a run, as the job's annotation has them; None: it has no store."""
    text = job.annotations.get(STORE, "").rstrip("/")
    parts = text.rsplit("/", 2)
    return (parts[0], f"{parts[1]}/{parts[2]}") if len(parts) == 3 and parts[0] else None


def storage(cluster: Cluster, job: Job) -> "StorageSection | None":
    """Return how the run's store is reached from here; None: it has none, or none that can be.

    The run file says it, unless the environment names an endpoint: an address in the cluster means nothing elsewhere.
    """
    from trmctl.jobs import run_file
    from trmkit.spec.load import loads
    from trmkit.spec.storage import StorageSection

    place = address(job)
    if place is None:
        return None
    try:
        found = StorageSection(remote=place[0])
    except ValueError:  # the annotation is not ours
        return None
    with suppress(TrmError):
        text = run_file(cluster, job)
        found = loads(text).storage.model_copy(update={"remote": place[0]}) if text is not None else found
    return found.model_copy(update={"endpoint_url": None}) if os.environ.get("AWS_ENDPOINT_URL_S3") else found


def stored(job: Job, options: "StorageSection | None") -> Stored | None:
    """Return what the run's store knows; None: it has none, or this machine cannot read it."""
    from trmkit.store import summary
    from trmkit.store.layout import CHECKPOINTS, SUMMARY
    from trmkit.store.manifest import MANIFEST
    from trmkit.store.open import open_store
    from trmkit.store.publish import checkpoints

    place = address(job)
    if place is None or options is None:
        return None
    try:
        store = open_store(options)
        known = summary.read(store, place[1])
        there = checkpoints(store, f"{place[1]}/{CHECKPOINTS}")
        seen = store.look(f"{place[1]}/{SUMMARY}")
        newest = store.look(f"{there[0].key}/{MANIFEST}") if there else None
    except (StoreError, ValueError):
        return None
    now = known.status if known else summary.Status()
    return Stored(
        now.state if known else "", now.step, now.total, now.metric, now.value, seen.modified if seen else None,
        there[0].step if there else None, newest.modified if newest else None,
    )  # fmt: skip


def attempts(job: Job, options: "StorageSection | None") -> list[dict[str, Any]]:
    """Return the launcher's ledger of attempts, the oldest first; nothing if it cannot be read from here."""
    from trmkit.store.open import open_store

    place = address(job)
    if place is None or options is None:
        return []
    try:
        of_the_job = f"{place[1]}/{FOLLOW.name}" if job.beside else place[1]
        found = json.loads(open_store(options).read(f"{of_the_job}/{ATTEMPTS}"))
    except (StoreError, ValueError, RecursionError):
        return []
    known = found.get("attempts") if isinstance(found, dict) else None
    return [one for one in known if isinstance(one, dict)] if isinstance(known, list) else []
