"""Numbers of runs from a Prometheus that scrapes them, asked over its HTTP interface."""

import itertools
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from typing import Any

from trmctl.dashboard.series import CURVES, LISTS, Shown
from trmkit.errors import ClusterError, SpecError
from trmkit.metrics import PHASES

POINTS = 400
"""Of a curve, over the time that is looked at."""
RESTING_SECONDS = 600.0
"""Prometheus shows the last value for five minutes; a run without one for so long is `silent`."""
SECONDS = 15.0
"""How long Prometheus may take to answer."""
ASKED = sorted(
    {curve.metric for curve in (*CURVES, *LISTS)}
    | {"trm_train_step", "trm_train_total_steps", "trm_train_remaining_seconds", "trm_eval_best_ratio"}
    | {"trm_run_attempts_total", "trm_checkpoint_step", "trm_time_seconds_total", "trm_train_updates_total"}
    | {"trm_run_state"}
)


class Prometheus:
    """The runs that a Prometheus knows."""

    def __init__(self, address: str, since: float) -> None:
        """Ask at `address` of the last `since` seconds. SpecError: the address is none, or has a password in it."""
        self._address, self._since = address.rstrip("/"), since
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise SpecError(
                "--prometheus: must be http:// or https:// and a host, without a password in it",
                next="for a Prometheus that asks for one, use kubectl port-forward or a proxy that logs in",
            )
        self.name = parts.netloc

    def runs(self) -> list[Shown]:
        """Return every run of the time that is looked at, without its curves. ClusterError: there is no answer."""
        window = f"[{int(self._since)}s]"
        found = self._ask("query", query=f"max by (namespace, run) (last_over_time(trm_train_step{window}))")
        return [
            Shown(_key(one["metric"]), self.name, step=int(float(one["value"][1])), updated=float(one["value"][0]))
            for one in found
        ]

    def show(self, key: str) -> Shown | None:
        """Return a run with its curves; None: nothing is known of it. ClusterError: there is no answer."""
        namespace, _, run = key.rpartition("/")
        now = time.time()
        which = f'__name__=~"{"|".join(ASKED)}",run={json.dumps(run)},namespace={json.dumps(namespace)}'
        step = max(1, round(self._since / POINTS))
        answer = self._ask("query_range", query=f"{{{which}}}", start=now - self._since, end=now, step=step)
        return shown(key, self.name, answer, now) if answer else None

    def _ask(self, what: str, **parameters: object) -> list[dict[str, Any]]:
        text = urllib.parse.urlencode({name: str(value) for name, value in parameters.items()})
        request = urllib.request.Request(f"{self._address}/api/v1/{what}", text.encode())
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:
                found: Any = json.loads(response.read())
            result = found["data"]["result"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ClusterError(
                f"{self._address}: Prometheus does not answer as it should: {error}",
                next="see that the address is Prometheus' own; kubectl port-forward brings one in a cluster here",
            ) from error
        return [one for one in result if isinstance(one, dict)]


def shown(key: str, source: str, answer: list[dict[str, Any]], now: float) -> Shown:
    """Return what there is to show of a run, of what Prometheus answered for all of its metrics up to `now`."""
    found = Shown(key, source)
    by_time = dict(_values(answer, "trm_train_step"))
    for curve in CURVES:
        points = sorted(_values(answer, curve.metric, dict(curve.labels)))
        found.curves[curve.key] = [(by_time[when], when, value) for when, value in points if when in by_time]
    for curve in LISTS:
        each = curve.source.each or ""
        last: dict[str, tuple[float, float]] = {}
        for one in _series(answer, curve.metric, dict(curve.labels)):
            for point in _points(one)[-1:]:
                label = one["metric"].get(each, "")
                last[label] = max(last.get(label, point), point)
        newest = max((when for when, _ in last.values()), default=0.0)
        entries = [(label, value) for label, (when, value) in last.items() if when == newest]
        found.lists[curve.key] = sorted(entries, key=lambda entry: float(entry[0] or 0))
    found.phases = _split(answer)
    found.events = sorted(_changes(answer, "trm_checkpoint_step", "checkpoint", by_time), key=lambda one: one[2])
    found.events += _changes(answer, "trm_run_attempts_total", "start", by_time)
    found.step = int(_last(answer, "trm_train_step") or 0)
    found.total = int(_last(answer, "trm_train_total_steps") or 0)
    found.left_seconds, found.best = _last(answer, "trm_train_remaining_seconds"), _last(answer, "trm_eval_best_ratio")
    found.updated = max(by_time, default=0.0)
    found.state = _state(answer, found.updated, now)
    return found


def _state(answer: list[dict[str, Any]], updated: float, now: float) -> str:
    states = [
        (point, one["metric"].get("state", ""))
        for one in _series(answer, "trm_run_state", {})
        for point in _points(one)[-1:]
        if point[1] == 1
    ]
    last = max(states, default=((0.0, 0.0), ""))[1]
    over = last in ("finished", "failed")
    return last if last and (over or updated >= now - RESTING_SECONDS) else "silent"


def _key(labels: dict[str, str]) -> str:
    return f"{labels.get('namespace', '')}/{labels.get('run', '')}"


def _series(answer: list[dict[str, Any]], metric: str, labels: dict[str, str]) -> Iterable[dict[str, Any]]:
    for one in answer:
        name = one["metric"]
        if name.get("__name__") == metric and all(name.get(key) == value for key, value in labels.items()):
            yield one


def _points(one: dict[str, Any]) -> list[tuple[float, float]]:
    """Return times and values; what is no number that a chart can draw is left out."""
    found = [(float(when), float(value)) for when, value in one["values"]]
    return [(when, value) for when, value in found if abs(value) < float("inf")]


def _values(
    answer: list[dict[str, Any]], metric: str, labels: dict[str, str] | None = None
) -> list[tuple[float, float]]:
    """Return times and values of a metric over all pods: the mean, where several machines have it."""
    at: dict[float, list[float]] = {}
    for one in _series(answer, metric, labels or {}):
        for when, value in _points(one):
            at.setdefault(when, []).append(value)
    return [(when, sum(values) / len(values)) for when, values in at.items()]


def _last(answer: list[dict[str, Any]], metric: str) -> float | None:
    values = _values(answer, metric)
    return max(values)[1] if values else None


def _grown(one: dict[str, Any]) -> float:
    """Return by how much a counter has grown, over its restarts."""
    values = [value for _, value in _points(one)]
    return sum(after - before if after >= before else after for before, after in itertools.pairwise(values))


def _split(answer: list[dict[str, Any]]) -> dict[str, float]:
    updates = sum(_grown(one) for one in _series(answer, "trm_train_updates_total", {}))
    spent = {
        phase: sum(_grown(one) for one in _series(answer, "trm_time_seconds_total", {"phase": phase}))
        for phase in PHASES
    }
    return {phase: seconds / updates for phase, seconds in spent.items()} if updates else {}


def _changes(
    answer: list[dict[str, Any]], metric: str, kind: str, step_at: dict[float, float]
) -> list[tuple[str, float, float]]:
    points = sorted(_values(answer, metric))
    changed = [now for before, now in itertools.pairwise(points) if before[1] != now[1]]
    return [(kind, step_at.get(when, 0.0), when) for when, _ in changed]
