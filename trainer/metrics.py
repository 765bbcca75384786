"""One dict of numbers per line of log, to every place that wants it: a file, Prometheus, TensorBoard, wandb."""

import errno
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from trainer.progress import say
from trmkit.errors import SpecError, TrainError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

PORT = "TRM_METRICS_PORT"

Numbers = Mapping[str, float | int]


class Sink(Protocol):
    """A place that numbers go to."""

    def write(self, kind: str, step: int, numbers: Numbers) -> None:
        """Take the numbers of `kind` (`train`, `eval` or `store`) at update `step`."""

    def close(self) -> None:
        """Write what is still held back."""


class MetricsLog:
    """Sends every line to all sinks; on processes that write nothing it has none."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks

    def add(self, sink: Sink) -> None:
        """Send everything to `sink` too."""
        self._sinks.append(sink)

    def write(self, kind: str, step: int, numbers: Numbers) -> None:
        """Send the numbers of `kind` (`train`, `eval` or `store`) at update `step` everywhere."""
        for sink in self._sinks:
            sink.write(kind, step, numbers)

    def close(self) -> None:
        """Close every sink."""
        for sink in self._sinks:
            sink.close()


def open_log(
    run: RunFile, directory: RunDirectory, step: int, total: int, *, first: bool, local_first: bool
) -> MetricsLog:
    """Open the sinks that `run.train.log` asks for; lines after `step`, of work that is repeated, are dropped.

    Where the run file names no port for Prometheus, the variable `TRM_METRICS_PORT` may.
    """
    log, port = run.train.log, port_in_environment()
    wanted: list[tuple[bool, Callable[[], Sink | None]]] = [
        (
            local_first and log.prometheus_port is not None,
            lambda: PrometheusSink(log.prometheus_port or 0, step, total),
        ),
        (local_first and log.prometheus_port is None and port is not None, lambda: served(port or 0, step, total)),
        (first, lambda: JsonLines(directory.metrics, step)),
        (first and log.tensorboard, lambda: TensorBoardSink(directory.root / "tensorboard", step)),
        (first and log.wandb_project is not None, lambda: WandbSink(run, directory)),
    ]
    opened = MetricsLog([])
    try:
        for asked_for, open_sink in wanted:
            sink = open_sink() if asked_for else None
            if sink is not None:
                opened.add(sink)
    except BaseException:
        opened.close()
        raise
    return opened


def port_in_environment() -> int | None:
    """Return the port in `TRM_METRICS_PORT`. SpecError: it is none."""
    text = os.environ.get(PORT)
    if not text:
        return None
    if not text.isdigit() or not 0 < int(text) < 65_536:
        raise SpecError(f"{PORT}={text!r} is not a port", next="set it to a number from 1 to 65535")
    return int(text)


def served(port: int, step: int, total: int) -> "PrometheusSink | None":
    """Return a sink on the port that the environment offers; None, and a warning: it is taken."""
    try:
        return PrometheusSink(port, step, total)
    except TrainError as error:
        say(f"no metrics are served: {error.message} ({PORT})")
        return None


class JsonLines:
    """`metrics.jsonl`: one object per line, each with `kind` and `step`."""

    def __init__(self, path: Path, step: int) -> None:
        """Append to `path`, without the lines after update `step` and without a half-written last one."""
        kept = [line for line in read_lines(path) if line["step"] <= step]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a")

    def write(self, kind: str, step: int, numbers: Numbers) -> None:
        """Append one line and hand it to the operating system."""
        self._file.write(json.dumps({"kind": kind, "step": step, **numbers}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a `metrics.jsonl`; nothing if there is none. Lines that are not whole are left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int) and isinstance(line.get("kind"), str):
            lines.append(line)
    return lines


class PrometheusSink:
    """A `/metrics` endpoint with one gauge `trm_<kind>_<name>` per number, and when the last step was made."""

    def __init__(self, port: int, step: int = 0, total: int = 0) -> None:
        """Open the port on every address; the run is at `step` of `total`. TrainError: the port is taken."""
        import prometheus_client as prometheus

        self._prometheus = prometheus
        self._registry = prometheus.CollectorRegistry()
        self._gauges: dict[str, prometheus.Gauge] = {}
        try:
            self._server, self._thread = self._serve(port)
        except OSError as error:
            raise TrainError(
                f"the metrics port {port} cannot be opened: {error.strerror}",
                next="choose another train.log.prometheus_port",
            ) from error
        self.write("train", step, {"total_steps": total})

    def _serve(self, port: int) -> tuple[Any, Any]:
        """Listen on IPv6 and IPv4; on IPv4 alone where there is no IPv6."""
        serve = self._prometheus.start_http_server
        try:
            return serve(port, "::", self._registry)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
        return serve(port, "0.0.0.0", self._registry)

    def write(self, kind: str, step: int, numbers: Numbers) -> None:
        """Set the gauges."""
        for name, value in {"step": step, **numbers}.items():
            self._set(re.sub(r"\W", "_", f"trm_{kind}_{name}"), f"{name} ({kind})", value)
        if kind == "train":
            self._set("trm_last_step_timestamp_seconds", "when the last logged step was made", time.time())

    def _set(self, name: str, meaning: str, value: float) -> None:
        if name not in self._gauges:
            self._gauges[name] = self._prometheus.Gauge(name, meaning, registry=self._registry)
        self._gauges[name].set(value)

    def close(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class TensorBoardSink:
    """TensorBoard event files."""

    def __init__(self, folder: Path, step: int) -> None:
        _require("tensorboard", "train.log.tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, kind: str, step: int, numbers: Numbers) -> None:
        """Write one scalar per number."""
        for name, value in numbers.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


class WandbSink:
    """A Weights & Biases run that a resumed training goes on with."""

    def __init__(self, run: RunFile, directory: RunDirectory) -> None:
        wandb = _require("wandb", "train.log.wandb_project")
        self._run = wandb.init(
            project=run.train.log.wandb_project,
            name=run.name,
            id=f"{run.name}-{directory.root.name}",
            resume="allow",
            dir=str(directory.root),
            config=run.model_dump(mode="json", exclude={"cluster", "storage"}),
        )

    def write(self, kind: str, step: int, numbers: Numbers) -> None:
        """Log the numbers under `<kind>/`."""
        self._run.log({f"{kind}/{name}": value for name, value in numbers.items()}, step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def _require(package: str, key: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise SpecError(f"{key}: the package {package} is not installed", next=f"pip install {package}") from error
