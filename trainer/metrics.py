"""One dict of numbers per line of log, to every place that wants it: a file, the endpoint, TensorBoard, wandb."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from trainer.agency import ATTEMPT
from trainer.exporter import Exporter
from trmkit.errors import SpecError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

Numbers = Mapping[str, float | int | Sequence[float | None]]
"""Names to numbers, or to a number for each supervision step or part of a range."""


class Sink(Protocol):
    """A place that numbers go to."""

    def write(self, kind: str, step: int, numbers: Numbers) -> None:
        """Take the numbers of `kind`, as `trmkit.metrics` names them, at update `step`."""

    def close(self) -> None:
        """Write what is still held back."""


class MetricsLog:
    """Sends every line to the endpoint and to all sinks; on processes that write nothing it has none."""

    def __init__(self, exporter: Exporter, sinks: Sequence[Sink] = ()) -> None:
        self._exporter, self._sinks = exporter, list(sinks)
        self._store_failures = 0.0

    def add(self, sink: Sink) -> None:
        """Send everything to `sink` too."""
        self._sinks.append(sink)

    def write(self, kind: str, step: int, numbers: Numbers) -> None:
        """Send the numbers of `kind` at update `step` everywhere."""
        self._exporter.write(kind, step, numbers)
        for sink in self._sinks:
            sink.write(kind, step, numbers)

    def note_store(self, step: int, totals: Mapping[str, float]) -> None:
        """Send what a store says of itself to the sinks; the endpoint asks it when it is asked."""
        numbers = {**totals, "failures": totals.get("failures", 0.0) - self._store_failures}
        self._store_failures = totals.get("failures", 0.0)
        for sink in self._sinks:
            sink.write("store", step, numbers)

    def close(self) -> None:
        """Close every sink; the endpoint stays, it is not only training's."""
        for sink in self._sinks:
            sink.close()


def open_log(run: RunFile, directory: RunDirectory, step: int, exporter: Exporter, *, first: bool) -> MetricsLog:
    """Open the sinks that `run.train.log` asks for; lines after `step`, of work that is repeated, are dropped."""
    log = run.train.log
    wanted: list[tuple[bool, Callable[[], Sink]]] = [
        (first, lambda: JsonLines(directory.metrics, step)),
        (first and log.tensorboard, lambda: TensorBoardSink(directory.root / "tensorboard", step)),
        (first and log.wandb_project is not None, lambda: WandbSink(run, directory)),
    ]
    opened = MetricsLog(exporter)
    try:
        for asked_for, open_sink in wanted:
            if asked_for:
                opened.add(open_sink())
    except BaseException:
        opened.close()
        raise
    return opened


def attempt_number(directory: RunDirectory) -> int:
    """Return which start of the run this is: as the launcher counts them, or else by its `metrics.jsonl`."""
    counted = os.environ.get(ATTEMPT, "")
    return (
        int(counted)
        if counted.isdigit()
        else 1 + sum(1 for line in read_lines(directory.metrics) if line["kind"] == "run")
    )


class JsonLines:
    """`metrics.jsonl`: one object per line, each with `kind`, `step`, its numbers, and `time` in seconds since 1970."""

    def __init__(self, path: Path, step: int) -> None:
        """Append to `path`, without a half-written last line, and of those after update `step` the starts alone."""
        kept = [line for line in read_lines(path) if line["step"] <= step or line["kind"] == "run"]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a")

    def write(self, kind: str, step: int, numbers: Numbers) -> None:
        """Append one line and hand it to the operating system."""
        self._file.write(json.dumps({"kind": kind, "step": step, **numbers, "time": time.time()}) + "\n")
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


class TensorBoardSink:
    """TensorBoard event files."""

    def __init__(self, folder: Path, step: int) -> None:
        _require("tensorboard", "train.log.tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, kind: str, step: int, numbers: Numbers) -> None:
        """Write one scalar per number."""
        for name, value in single(numbers).items():
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
        self._run.log({f"{kind}/{name}": value for name, value in single(numbers).items()}, step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def single(numbers: Numbers) -> dict[str, float | int]:
    """Return the numbers that are one number each."""
    return {name: value for name, value in numbers.items() if isinstance(value, int | float)}


def _require(package: str, key: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise SpecError(f"{key}: the package {package} is not installed", next=f"pip install {package}") from error
