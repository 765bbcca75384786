"""The `/metrics` endpoint of a run: the table of `trmkit.metrics`, filled with what a run's log says.

The first process of every machine serves; others have an exporter that does nothing. Values are kept here and made into
Prometheus' text when somebody asks, so that training never waits for a scrape.
"""

import errno
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from trainer import memory
from trainer.agency import in_cluster
from trmkit.errors import SpecError, TrainError
from trmkit.metrics import MOST_DEPTHS, PHASES, STATES, TABLE, Metric, Source, Where, exported
from trmkit.spec.train import Logging

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

Labels = tuple[str, ...]
PORT = "TRM_METRICS_PORT"
HELD_SECONDS = 10
"""How long a client of the endpoint may be silent."""
CLOSED = {"phase": "|".join(PHASES), "kind": "allocated|reserved|peak"}
"""Labels that stand in keys and take these values only; others take any name."""


def _pattern(key: str) -> re.Pattern[str]:
    def part(found: re.Match[str]) -> str:
        return f"(?P<{found[1]}>{CLOSED.get(found[1], '.+')})"

    return re.compile(re.sub(r"\\{(\w+)\\}", part, re.escape(key)))


PARTS = [(_pattern(source.key), source, metric) for metric in TABLE for source in metric.log]
"""What a key of a line of log must look like, for every place that a metric's value may stand in."""


class Exporter:
    """The values of the metrics of one process. Without an endpoint it keeps none."""

    def __init__(self, where: Where | None = None) -> None:
        """Keep what the `first` process of the run exports, or that of another `machine`; None: nothing."""
        self._known = {metric.name: metric for metric in exported(where)} if where else {}
        self._values: dict[str, dict[Labels, float]] = {name: {} for name in self._known}
        self._follows: list[tuple[str, Callable[[], Mapping[str, Any]]]] = []
        self._lock = threading.Lock()
        self._matches: dict[tuple[str, str], tuple[Source, Metric, dict[str, str]] | None] = {}
        self.server: Server | None = None
        self.used = False
        """Whether numbers of a run have come, which somebody may want to scrape at the end."""

    def write(self, kind: str, step: int, numbers: Mapping[str, Any]) -> None:
        """Take a line of log. Counters grow by what it says, but for what it says of the whole `run`."""
        if self._known:
            self.used = True
            self._take(kind, {"time": time.time(), "step": step, **numbers}, grow=kind != "run")

    def _take(self, kind: str, numbers: Mapping[str, Any], *, grow: bool) -> None:
        for key, value in numbers.items():
            found = self._place(kind, key)
            if found is None:
                continue
            source, metric, labels = found
            if source.each is None:
                self._put(metric, labels, value, grow=grow)
                continue
            for name, entry in spread(source.each, value):
                self._put(metric, {**labels, source.each: name}, entry, grow=grow)

    def _place(self, kind: str, key: str) -> tuple[Source, Metric, dict[str, str]] | None:
        """Return which metric a value of a line is, and its labels; None: none of those exported here."""
        if (kind, key) not in self._matches:
            self._matches[kind, key] = next(
                (
                    (source, metric, {**dict(source.labels), **match.groupdict()})
                    for pattern, source, metric in PARTS
                    if source.kind == kind and metric.name in self._known and (match := pattern.fullmatch(key))
                ),
                None,
            )
        return self._matches[kind, key]

    def set(self, name: str, value: float | None, **labels: str) -> None:
        """Set a gauge; None: it has no value."""
        if name in self._known:
            self._put(self._known[name], labels, value, grow=False)

    def add(self, name: str, value: float, **labels: str) -> None:
        """Let a counter grow."""
        if name in self._known:
            self._put(self._known[name], labels, value, grow=True)

    def _put(self, metric: Metric, labels: Mapping[str, str], value: float | None, *, grow: bool) -> None:
        key = tuple(labels[name] for name in metric.labels)
        with self._lock:
            values = self._values[metric.name]
            if value is None:
                values.pop(key, None)
            elif metric.type == "counter" and grow:
                values[key] = values.get(key, 0.0) + value
            else:
                values[key] = float(value)

    def info(self, **labels: str) -> None:
        """Say what is running."""
        self.set("trm_run_info", 1.0, **labels)

    def state(self, word: str) -> None:
        """Say what the run is doing, one of `trmkit.metrics.STATES`."""
        if "trm_run_state" in self._known:
            with self._lock:  # so that who looks finds exactly one of them
                self._values["trm_run_state"] = {(state,): float(state == word) for state in STATES}

    def beat(self) -> None:
        """Say that an update was made."""
        self.set("trm_last_step_timestamp_seconds", time.time())

    def follow(self, kind: str, read: Callable[[], Mapping[str, Any]]) -> None:
        """Ask `read`, whenever somebody looks, for what lines of `kind` say; its counters are totals."""
        self._follows.append((kind, read))

    def collect(self) -> "Iterable[Family]":
        """Return all values, as prometheus-client wants them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for kind, read in self._follows:
            self._take(kind, read(), grow=False)
        self.set("trm_memory_used_bytes", memory.used())
        with self._lock:
            values = {name: dict(found) for name, found in self._values.items() if found}
        for name, found in values.items():
            metric = self._known[name]
            make = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
            family = make(name, metric.help, labels=metric.labels)
            for labels, value in found.items():
                family.add_metric(labels, value)
            yield family

    def describe(self) -> "Iterable[Family]":
        """Return nothing: which metrics there are is known when they have values."""
        return ()

    def serve(self, place: "Place") -> None:
        """Open the endpoint. TrainError: the port is taken, or the address is not this machine's."""
        self.server = Server(self, place)

    def close(self) -> None:
        """Close the endpoint."""
        if self.server is not None:
            self.server.close()
            self.server = None


@dataclass(frozen=True)
class Place:
    """Where metrics are served."""

    address: str
    port: int
    path: str


SILENT = Exporter()
"""Of those that export nothing."""


def spread(label: str, values: Iterable[float | None]) -> list[tuple[str, float | None]]:
    """Return the values of a list with what `label` says of each; of many depths some, the first and the last too."""
    found = list(values)
    if label == "bin":
        return [(f"{index / len(found):g}", value) for index, value in enumerate(found, 1)]
    depths = range(1, len(found) + 1)
    if len(found) > MOST_DEPTHS:
        step = (len(found) - 1) / (MOST_DEPTHS - 1)
        depths = sorted({1 + round(index * step) for index in range(MOST_DEPTHS)})  # type: ignore[assignment]
    return [(str(depth), found[depth - 1]) for depth in depths]


class Server:
    """An HTTP server in a thread."""

    def __init__(self, exporter: Exporter, place: Place) -> None:
        """Listen. TrainError: the port is taken, or the address is not this machine's."""
        from prometheus_client import CollectorRegistry, MetricsHandler, disable_created_metrics

        self.place = place
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        registry.register(exporter)

        class Handler(MetricsHandler):
            timeout = HELD_SECONDS

            def do_GET(self) -> None:  # noqa: N802 - http.server's name
                if self.path.partition("?")[0] != place.path:
                    self.send_error(404, f"metrics are at {place.path}")
                    return
                super().do_GET()

        Handler.registry = registry
        try:
            self._server = listen(place.address, place.port, Handler)
        except OSError as error:
            raise TrainError(
                f"the metrics port {place.port} cannot be opened on {place.address}: {error.strerror}",
                next=f"choose another train.log.prometheus_port (or {PORT}), or end what listens there",
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that left in the middle: it is no error of the run."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)  # without the look-up of its own name that HTTPServer makes
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]


def listen(address: str, port: int, handler: Any) -> ThreadingHTTPServer:
    """Return a server on `address`; `::` means IPv6 and IPv4, and IPv4 alone where there is no IPv6."""

    class Six(_Listening):
        address_family = socket.AF_INET6

    if ":" not in address:
        return _Listening((address, port), handler)
    try:
        return Six((address, port), handler)
    except OSError as error:
        if address != "::" or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
    return _Listening(("0.0.0.0", port), handler)


def place_of(options: Logging) -> Place | None:
    """Return where this run's metrics are served; None: nowhere. SpecError: the environment names a port that is none.

    The run file says it, and the environment where that names no port. In a cluster the environment alone does: those
    who scrape there have not read the run file.
    """
    text = os.environ.get(PORT, "")
    if text and (not text.isdigit() or not 0 < int(text) < 65_536):
        raise SpecError(f"{PORT}={text!r} is not a port", next="set it to a number from 1 to 65535")
    if text and in_cluster():
        return Place("::", int(text), "/metrics")
    port = options.prometheus_port or (int(text) if text else None)
    return None if port is None else Place(options.prometheus_address, port, options.prometheus_path)
