"""What the controller says of itself: `trm_controller_*`, for Prometheus."""

import time
from collections import Counter as Count
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from trmctl.cluster import Object
from trmctl.pods import about
from trmkit.controller_metrics import TABLE
from trmkit.spec.trmrun_status import Phase

DECLARED = {one.name: one for one in TABLE}
PHASES: tuple[str, ...] = get_args(Phase)
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass
class Outcome:
    """How a look at a run ended: `ok`, `refused`, `conflict` or `error`."""

    result: str = "error"


class Metrics:
    """The controller's numbers. May be used by several threads."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._runs = self._gauge("trm_controller_runs")
        self._looks = self._counter("trm_controller_reconciles_total")
        self._seconds = self._histogram("trm_controller_reconcile_seconds")
        self.writes = self._counter("trm_controller_writes_total")
        self._resync = self._gauge("trm_controller_last_resync_timestamp_seconds")
        self._resync.set(time.time())
        self.leader = self._gauge("trm_controller_leader")
        self.queue = self._gauge("trm_controller_queue_length")
        self.errors = self._counter("trm_controller_api_errors_total")
        self._spaces: set[str] = set()
        self.resynced_at = time.monotonic()
        """When all runs were last looked at, or else when this began."""

    def _gauge(self, name: str) -> Gauge:
        return Gauge(name, DECLARED[name].help, DECLARED[name].labels, registry=self.registry)

    def _counter(self, name: str) -> Counter:
        return Counter(name, DECLARED[name].help, DECLARED[name].labels, registry=self.registry)

    def _histogram(self, name: str) -> Histogram:
        return Histogram(name, DECLARED[name].help, buckets=BUCKETS, registry=self.registry)

    @contextmanager
    def reconciling(self) -> Iterator[Outcome]:
        """Measure a look at a run."""
        outcome, began = Outcome(), time.monotonic()
        try:
            yield outcome
        finally:
            self._seconds.observe(time.monotonic() - began)
            self._looks.labels(outcome.result).inc()

    def phases(self, runs: Sequence[Object], namespace: str) -> None:
        """Count TrmRuns; those of `namespace` (`*`: of any that had some) also while there are none.

        What begins to be counted when it is 1 has not grown, for Prometheus.
        """
        self._spaces |= {str(about(body).get("namespace", "")) for body in runs} | ({namespace} - {"*"})
        found = Count(
            (str(about(body).get("namespace", "")), str((body.get("status") or {}).get("phase") or "Pending"))
            for body in runs
        )
        self._runs.clear()
        for space in self._spaces:
            for phase in PHASES:
                self._runs.labels(space, phase).set(found[space, phase])

    def resynced(self, now: float) -> None:
        """Note that all runs were looked at."""
        self._resync.set(now)
        self.resynced_at = time.monotonic()

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self.registry)
