"""Serves the metrics of a run from before its first stage until the last values were scraped."""

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from types import FrameType
from typing import TYPE_CHECKING

import torch

from trainer import flops, memory
from trainer.agency import HEART, JOB, in_cluster
from trainer.dist import Stopped, World
from trainer.environment import origin
from trainer.exporter import SILENT, Exporter, place_of
from trainer.peers import is_unreachable
from trainer.progress import say
from trmkit.errors import TrmError
from trmkit.spec.run import RunFile
from trmkit.spec.train import Logging
from trmkit.store.layout import RunDirectory, store_key

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

LINGER_SECONDS = 30.0
"""Twice the usual time between two scrapes."""
PUSH_SECONDS = 10.0
NAMESPACE = "TRM_NAMESPACE"
"""Variable with the namespace, in a cluster: two of them may have runs of the same name."""
GROUP = "trm"
"""The `job` under which a Pushgateway keeps summaries."""
SUMMARY = (
    "trm_run_info", "trm_run_state", "trm_run_attempts_total", "trm_train_step", "trm_train_total_steps",
    "trm_train_loss", "trm_train_accuracy_ratio", "trm_train_nonfinite_total", "trm_eval_accuracy_ratio",
    "trm_eval_best_ratio", "trm_test_accuracy_ratio", "trm_test_score_ratio", "trm_checkpoint_step",
)  # fmt: skip
"""What a Pushgateway gets."""


@contextmanager
def serving(run: RunFile, directory: RunDirectory, world: World) -> Iterator[Exporter]:
    """Serve metrics for the time of a `with` block, and a while longer if the run has ended; every process calls it.

    TrainError: the port is taken. SpecError: the environment names one that is none.
    """
    log = run.train.log
    with world.together():
        exporter = opened(run, directory, world)
    gateway = Gateway(run, directory) if world.first and log.pushgateway is not None else None
    if gateway is not None:
        gateway.delete()
    try:
        yield exporter
        with unhurried() as enough:
            exporter.state("finished")
            seconds = linger_seconds(log) if world.largest(int(exporter.used)) else 0.0
            if gateway is not None and seconds:
                gateway.push(exporter)
            enough.wait(seconds)
        if gateway is not None:
            gateway.delete()
    except BaseException as error:
        if not isinstance(error, Stopped) and not is_final(error):
            exporter.state("failed")
        if is_final(error):
            with unhurried() as enough:
                exporter.state("failed")
                if gateway is not None:
                    gateway.push(exporter)
                enough.wait(linger_seconds(log))
        raise
    finally:
        exporter.close()


def is_final(error: BaseException) -> bool:
    """Say whether the run ends by this error and somebody should see it; what is tried again at once does not wait."""
    again = isinstance(error, TrmError | OSError) and in_cluster() and is_unreachable(error)
    return isinstance(error, TrmError) and error.exit_code == 1 and not again


def opened(run: RunFile, directory: RunDirectory, world: World) -> Exporter:
    """Return the exporter of this process, which serves if a port is named and it is the first of its machine."""
    place = place_of(run.train.log)
    wanted = place is not None or (world.first and run.train.log.pushgateway is not None)
    if world.local_rank or not wanted:
        return SILENT
    exporter = Exporter("first" if world.first else "machine")
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    exporter.info(family=run.model.family, store=_store(run, directory), **origin())
    exporter.state("starting")
    exporter.add("trm_train_nonfinite_total", 0)
    exporter.add("trm_checkpoint_failures_total", 0)
    best, basis = flops.peak(world.device)
    exporter.set("trm_machine_peak_flops", best * processes if best else None, basis=basis)
    exporter.set("trm_machine_gpus", processes if world.device.type == "cuda" else 0)
    exporter.set("trm_memory_limit_bytes", memory.limit())
    if world.device.type == "cuda":
        exporter.set("trm_gpu_memory_limit_bytes", torch.cuda.get_device_properties(world.device).total_memory)
    if place is not None:
        exporter.serve(place)
    return exporter


def _store(run: RunFile, directory: RunDirectory) -> str:
    remote = run.storage.remote
    return "" if remote is None else f"{remote.rstrip('/')}/{store_key(run, directory)}"


def linger_seconds(log: Logging) -> float:
    """Return how long the endpoint stays after the end."""
    if log.linger_seconds is not None:
        return log.linger_seconds
    served = place_of(log) is not None
    return LINGER_SECONDS if (in_cluster() and served) or log.pushgateway is not None else 0.0


@contextmanager
def unhurried() -> Iterator[threading.Event]:
    """Take being asked to leave, in a `with` block at the end, as word that it was long enough: yield what that sets.

    The work is done, so it is no reason to fail. All processes do so, those that serve nothing too: one that left alone
    would take the others for lost.
    """
    HEART.rest()
    enough = threading.Event()

    def leave(_signum: int, _frame: FrameType | None) -> None:
        enough.set()

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield enough
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Gateway:
    """A Pushgateway's group of one run. It keeps what it is told for ever, and so it is told as little as possible."""

    def __init__(self, run: RunFile, directory: RunDirectory) -> None:
        self._address = run.train.log.pushgateway or ""
        job = os.environ.get(JOB) or f"{run.name}-{directory.root.name}"
        namespace = os.environ.get(NAMESPACE)
        self._group = {"run": job, **({"namespace": namespace} if namespace else {})}

    def push(self, exporter: Exporter) -> None:
        """Put the summary there, in place of what was there."""
        from prometheus_client import CollectorRegistry, push_to_gateway

        registry = CollectorRegistry()
        registry.register(Part(exporter, SUMMARY))
        self._try(lambda: push_to_gateway(self._address, GROUP, registry, self._group, PUSH_SECONDS))

    def delete(self) -> None:
        """Delete the group."""
        from prometheus_client import delete_from_gateway

        self._try(lambda: delete_from_gateway(self._address, GROUP, self._group, PUSH_SECONDS))

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (OSError, HTTPException) as error:
            say(f"the Pushgateway {self._address} does not take the summary: {error}; the run is not touched by that")


class Part:
    """Some of the metrics of an exporter."""

    def __init__(self, exporter: Exporter, names: Collection[str]) -> None:
        self._exporter, self._names = exporter, names

    def collect(self) -> "Iterator[Family]":
        """Return their values."""
        for family in self._exporter.collect():
            if {family.name, f"{family.name}_total"} & set(self._names):
                yield family
