"""Looks, decides and does, for all runs again and again, and for one as soon as something happened to it."""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from trmctl.cluster import EVENT, TRMRUN, Cluster, Object
from trmctl.controller.actions import Action, Make, SetStatus
from trmctl.controller.do import Doer
from trmctl.controller.look import Survey, job_of, may_list, observe, pods_of, run_of, survey, survey_one
from trmctl.controller.metrics import Metrics
from trmctl.controller.orphans import Orphan, all_at_once, missed, orphans
from trmctl.controller.reconcile import reconcile
from trmctl.controller.seen import Observed, Run, Wanted, is_another
from trmctl.controller.stores import Stores
from trmctl.controller.turn import ENDED
from trmctl.controller.wanted import wanted
from trmctl.defaults import Parts, defaults
from trmctl.pods import seconds
from trmkit.errors import (
    ClusterConflictError,
    ClusterError,
    ClusterForbiddenError,
    ClusterMissingError,
    ClusterRefusedError,
    SpecError,
)
from trmkit.render.names import TRMRUN as TRMRUN_LABEL

THREADS = 8
WRITTEN = 30.0
"""Seconds between two writes of a status in which only numbers have changed."""
FRESH_EVENTS = 5.0
"""Seconds for which a list of events is believed; the last one of a namespace in trouble is long."""
REFUSED_FOR = 30.0
"""Seconds after which a job that was refused is tried again."""
LAST_WORDS = 600.0
"""Seconds after a run's end in which its pods may still save."""
NUMBERS = frozenset(("step", "totalSteps", "progress", "eta", "lastStepTime", "message", "checkpoint", "metric"))
PROBE = {
    "run": {
        "name": "probe", "model": {"family": "trm"}, "data": {"source": "sudoku-generated"}, "train": {"steps": 1},
    }
}  # fmt: skip
"""Spec of a TrmRun that is never made: whether it could be is asked before anything is taken for an orphan."""
Log = Callable[..., None]
Key = tuple[str, str]
"""Namespace and name of a TrmRun."""


def log_json(event: str, **fields: Any) -> None:
    """Write a line of log as JSON."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(json.dumps({"time": now, "event": event, **fields}, default=str), file=sys.stderr, flush=True)


class Controller:
    """Keeps the TrmRuns of a namespace (`*`: of all). Its methods may be called by several threads."""

    def __init__(
        self, cluster: Cluster, namespace: str, stores: Stores, metrics: Metrics,
        clock: Callable[[], float] = time.time, log: Log = log_json,
    ) -> None:  # fmt: skip
        """Take who tells seconds since 1970."""
        self.metrics = metrics
        self._cluster = cluster
        self._space = namespace
        self._stores = stores
        self._clock = clock
        self._log = log
        self._missing: dict[str, float] = {}
        self._jobs: dict[Key, str] = {}
        self._known: set[Key] = set()
        """TrmRuns that were there since their definition is, and are, or have jobs still."""
        self._last: set[Key] = set()
        """Those of the last look."""
        self._events: dict[str, tuple[float, Sequence[Object]]] = {}
        self._written: dict[str, float] = {}
        self._busy: set[Key] = set()
        self._lock = threading.Lock()

    def resync(self) -> list[tuple[Key, float]]:
        """Look at all runs once; return when which wants to be looked at again, in seconds from now.

        ClusterError: the namespace cannot be looked at.
        """
        now = self._clock()
        try:
            found = survey(self._cluster, self._space, now)
        except ClusterMissingError:  # if their definition comes back, it is before they do
            self._known, self._missing = set(), {}
            self.metrics.resynced_at = time.monotonic()  # it was looked; starting again would change nothing
            raise ClusterMissingError(
                "TrmRuns are not served here; what trains goes on, and nothing is done about it",
                next="trmctl render --crd | kubectl apply --server-side -f -",
            ) from None
        parts = self._defaults({run_of(body).namespace for body in found.runs})
        again: list[tuple[Key, float]] = []

        def each(body: Object) -> None:
            due = self._one(found, body, parts.get(run_of(body).namespace, {}))
            if due is not None:
                again.append(((run_of(body).namespace, run_of(body).name), due))

        with ThreadPoolExecutor(THREADS) as pool:
            for done in [pool.submit(each, body) for body in found.runs]:
                done.result()
        if all_at_once(self._last, found.there):
            self._known = set()
        self._last = set(found.there)
        self._end_orphans(found)
        self._stores.forget([str(((b.get("status") or {}).get("run") or {}).get("store", "")) for b in found.runs])
        wanted_by = {(job.namespace, job.labels.get(TRMRUN_LABEL, "")) for job in found.jobs}
        self._known = {*found.there, *(key for key in self._known if key in wanted_by)}
        uids = {run_of(body).uid for body in found.runs}
        self._jobs = {(job.namespace, job.name): job.labels.get(TRMRUN_LABEL, "") for job in found.jobs}
        self._written = {uid: at for uid, at in self._written.items() if uid in uids}
        self.metrics.phases(found.runs, self._space)
        self.metrics.resynced(now)
        return again

    def look_at(self, namespace: str, name: str) -> float | None:
        """Look at one run; return in how many seconds it wants to be looked at again, None: with all others."""
        body = self._cluster.get(TRMRUN, name, namespace)
        if body is None:
            return None
        parts = self._defaults({namespace})
        job = str(((body.get("status") or {}).get("job") or {}).get("name", ""))
        if not job:
            job = self._wanted(body, parts.get(namespace, {}))[2]
        found = survey_one(self._cluster, namespace, name, job, self._clock(), self._events_of)
        return None if found is None else self._one(found, found.runs[0], parts.get(namespace, {}))

    def owner(self, namespace: str, job: str) -> str:
        """Return the name of the TrmRun that a job is for, as far as the last look at all of them knows; or nothing."""
        return self._jobs.get((namespace, job), "")

    def _one(self, found: Survey, body: Object, parts: Parts | str) -> float | None:
        run = run_of(body)
        key = (run.namespace, run.name)
        with self._lock:
            if key in self._busy:  # another thread is at it: it has looked, or will be woken again
                return 1.0
            self._busy.add(key)
        try:
            with self.metrics.reconciling() as outcome:
                due, outcome.result = self._decide(found, body, parts)
            return due
        finally:
            with self._lock:
                self._busy.discard(key)

    def _decide(self, found: Survey, body: Object, parts: Parts | str) -> tuple[float | None, str]:
        run = run_of(body)
        try:
            asked_for, problem, _ = self._wanted(body, parts)
            doer = Doer(self._cluster, body, asked_for, found.now)
            wanting = asked_for if self._matters(found, body, asked_for) else None
            seen = observe(found, body, asked_for, problem, lambda pods: self._stores.progress(wanting, pods))
            actions = self._worth(seen, reconcile(seen, found.now))
            for action in actions:
                self._log(type(action).__name__, namespace=run.namespace, run=run.name, **_fields(action))
                self.metrics.writes.labels(type(action).__name__).inc()
            if not self._do(doer, actions, run):
                return REFUSED_FOR, "refused"
        except ClusterConflictError as error:  # it has changed since: the next look sees how
            self._log("changed meanwhile", namespace=run.namespace, run=run.name, error=error.message)
            return 1.0, "conflict"
        except Exception as error:  # noqa: BLE001 - what is odd about one run is no reason not to look at the others
            self.metrics.errors.labels(type(error).__name__).inc()
            self._log("failed", namespace=run.namespace, run=run.name, error=f"{type(error).__name__}: {error}")
            return 15.0, "error"
        return self._due(actions, seen), "ok"

    def _do(self, doer: Doer, actions: Sequence[Action], run: Run) -> bool:
        """Do actions; a job that the cluster refuses is told in the status. Say whether that was not so."""
        try:
            doer.do(actions)
        except (ClusterRefusedError, ClusterForbiddenError, SpecError) as error:
            if not any(isinstance(action, Make) for action in actions):
                raise
            self.metrics.errors.labels(type(error).__name__).inc()
            self._log("refused", namespace=run.namespace, run=run.name, error=error.message)
            doer.not_made(error.message)
            return False
        return True

    def _wanted(self, body: Object, parts: Parts | str) -> tuple[Wanted | None, tuple[str, str], str]:
        """Return what a TrmRun asks for, what is wrong with that and the reason it goes by, and the job's name."""
        if isinstance(parts, str):
            return None, (parts, "DefaultsUnreadable"), ""
        try:
            found = wanted(self._cluster, body, parts)
        except SpecError as error:
            return None, (error.message, "InvalidSpec"), ""
        except ClusterError as error:
            return None, (f"{error.message}; {error.next}", "InvalidSpec"), ""
        return found, ("", ""), found.job

    def _events_of(self, namespace: str) -> Sequence[Object]:
        """Return the events of a namespace, listed at most every few seconds."""
        at, known = self._events.get(namespace, (-FRESH_EVENTS, ()))
        if self._clock() - at >= FRESH_EVENTS:
            known = may_list(self._cluster, EVENT, namespace)
            self._events[namespace] = (self._clock(), known)
        return known

    @staticmethod
    def _matters(found: Survey, body: Object, asked_for: Wanted | None) -> bool:
        """Say whether it matters how far a run is: not long after its end, nor where another run is asked for."""
        run = run_of(body)
        ended = seconds(run.status.get("completionTime")) if run.status.get("phase") in ENDED else None
        late = ended is not None and found.now - ended > LAST_WORDS
        return asked_for is not None and not late and not is_another(run, asked_for)

    def _worth(self, seen: Observed, actions: Sequence[Any]) -> list[Any]:
        """Return the actions without a status in which only numbers have changed since it was last written."""
        if len(actions) != 1 or not isinstance(actions[0], SetStatus):
            return [*actions]
        old, new = seen.run.status, actions[0].status
        more = {name for name in {*old, *new} if old.get(name) != new.get(name)}
        now = self._clock()
        if more <= NUMBERS and now - self._written.get(seen.run.uid, 0.0) < WRITTEN:
            return []
        self._written[seen.run.uid] = now
        return [*actions]

    def _due(self, actions: Sequence[Any], seen: Observed) -> float | None:
        status = next((one.status for one in actions if isinstance(one, SetStatus)), seen.run.status)
        due = seconds(status.get("nextAttemptTime")) if status.get("nextAttemptTime") else None
        if due is not None:
            return max(0.5, due - self._clock())
        return 1.0 if len(actions) > 1 else None

    def _defaults(self, namespaces: set[str]) -> dict[str, Parts | str]:
        """Return the defaults of namespaces, or why they cannot be read: a run made without them would be another."""
        found: dict[str, Parts | str] = {}
        for namespace in namespaces:
            try:
                found[namespace] = defaults(self._cluster, namespace)
            except (ClusterForbiddenError, SpecError) as error:
                self._log("no defaults", namespace=namespace, error=error.message)
                found[namespace] = error.message
        return found

    def _end_orphans(self, found: Survey) -> None:
        """End jobs whose TrmRun is gone, if TrmRuns can still be made: else it is their definition that goes."""
        jobs = [Orphan(job.namespace, job_of(job, pods_of(job, found.pods), None)) for job in found.jobs]
        self._missing, late = missed(orphans(jobs, found.there), self._missing, self._known, found.now)
        for one in late:
            probe = {"metadata": {"name": "trm-controller-probe", "namespace": one.namespace}, "spec": PROBE}
            try:
                if self._cluster.get(TRMRUN, one.job.trmrun, one.namespace) is not None:
                    continue  # it was made again since
                self._cluster.create(TRMRUN, probe, dry_run=True)
                kind = next(job.kind for job in found.jobs if job.uid == one.job.uid)
                self._cluster.delete(kind, one.job.name, one.namespace, uid=one.job.uid)
                self._log("ended an orphan", namespace=one.namespace, run=one.job.trmrun, job=one.job.name)
            except ClusterError as error:
                self._missing.pop(one.job.uid, None)
                self._log("left an orphan", namespace=one.namespace, job=one.job.name, error=error.message)


def _fields(action: Any) -> dict[str, Any]:
    if isinstance(action, SetStatus):
        return {name: action.status.get(name) for name in ("phase", "reason", "message") if name in action.status}
    return {name: value for name, value in vars(action).items() if value not in ("", False)}
