"""Two real runs and a real Prometheus with our rules, on this machine; target labels stand in for relabelling."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.helm.boards import ROOT, RULES, need
from tests.observe.exporters import Samples
from tests.trainer.helpers import change, free_port
from tools.panels import Prometheus
from trainer.exporter import Exporter, Place
from trmkit.render.names import job_name
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile

NAMESPACE = "research"
PATIENCE = 60.0
"""Seconds for what takes ten: other tests run at the same time."""
BREAKS_AFTER = 60
"""Updates after which the machine of the faulty run breaks, at its second attempt."""
GIB = 1 << 30


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"in {PATIENCE:.0f} s not seen: {what}"
        time.sleep(0.1)


@dataclass
class Run:
    """A run in a process of its own."""

    file: RunFile
    folder: Path
    user: str
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def job(self) -> str:
        return job_name(self.file)

    def start(self, program: tuple[str, ...] = ("trainer",)) -> None:
        path = self.folder / f"{self.file.name}.yaml"
        path.write_text(dump(self.file))
        command = [sys.executable, "-m", *program, "run", str(path), "--stages", "build,train,evaluate"]
        variables = {"PYTHONPATH": str(ROOT), "TRM_METRICS_PORT": str(self.port), "OMP_NUM_THREADS": "1"}
        with (self.folder / f"{self.file.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=os.environ | variables, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def target(self, worker: int, port: int) -> dict[str, Any]:
        """Return what scrapes a pod of the run."""
        labels = {
            "namespace": NAMESPACE, "run": self.job, "user": self.user, "pod": f"{self.job}-worker-{worker}",
            "node": f"{self.file.name}-{worker}",
        }  # fmt: skip
        return {"targets": [f"127.0.0.1:{port}"], "labels": labels}


class Fleet:
    """The runs, what is beside them in a cluster, and the Prometheus that scrapes it all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.healthy, self.faulty = (self._run(*told) for told in (("healthy", "ada", 300), ("faulty", "", 3000)))
        self.machine = gpu_machine()
        self.samples = {
            "dcgm": Samples("dcgm", {"POD": f"{self.healthy.job}-worker-1", "NODE": "healthy-1"}),
            "dcgm-honor": Samples("dcgm", {"POD": f"{self.faulty.job}-worker-0", "NODE": "faulty-0"}),
            "kueue": Samples("kueue"),
            "training-operator": Samples("training-operator"),
            "controller": Samples("controller", {"NOW": f"{time.time():.0f}"}),
        }
        self.began = time.time()
        self.port = free_port()
        self.prometheus = Prometheus(f"http://127.0.0.1:{self.port}")
        self.server: subprocess.Popen[bytes] | None = None

    def _run(self, name: str, user: str, steps: int) -> Run:
        file = change(
            None, f"name={name}", f"train.steps={steps}", "train.batch_size=8", "train.log.every_steps=10",
            "train.log.linger_seconds=600", "train.log.prometheus_address=127.0.0.1",
            "train.checkpoint.every_steps=50", "evaluate.every_steps=50", f"storage.path={self.folder / 'runs'}",
            f"storage.data={self.folder / 'data'}", f"storage.remote={self.folder / f'store-{name}'}",
            "storage.stop_seconds=1",
        )  # fmt: skip
        return Run(file, self.folder, user)

    def start(self) -> None:
        """Start everything, let one run break and the other finish."""
        assert self.machine.server is not None
        config = self.folder / "prometheus.yaml"
        config.write_text(yaml.safe_dump(self._config()))
        command = [
            need("prometheus", "prometheus"), f"--config.file={config}", f"--storage.tsdb.path={self.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
        ]  # fmt: skip
        with (self.folder / "prometheus.log").open("ab") as log:
            self.server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.healthy.start()
        self.faulty.start()
        self._break()
        until(lambda: self.shows(f'trm_run_state{{state="finished", run="{self.healthy.job}"}} == 1'), "one finished")
        until(lambda: self.shows(f'trm_run_state{{state="failed", run="{self.faulty.job}"}} == 1'), "one failed")
        until(lambda: self.shows('ALERTS{alertname="TrmLossNotFinite", alertstate="firing"}'), "an alert")
        self.ended = time.time()

    def _break(self) -> None:
        """Kill the faulty run, start it again, and take its store away."""
        run = self.faulty
        one = f'run:trm_run_attempts:max{{run="{run.job}"}} == 1'
        until(lambda: self.shows(f'{one} and on () trm_checkpoint_step{{run="{run.job}"}} > 0'), "a checkpoint")
        assert run.end(signal.SIGKILL) == -signal.SIGKILL
        run.start(("tests.observe.faulty", str(BREAKS_AFTER)))
        two = f'trm_run_attempts_total{{run="{run.job}"}} == 2'
        trains = f'trm_run_state{{run="{run.job}", state="training"}} == 1'
        until(lambda: self.shows(f"{two} and on (run) {trains}"), "the second attempt")
        store = self.folder / "store-faulty"
        store.rename(self.folder / "store-gone")
        store.write_text("no folder any more")

    def shows(self, expr: str) -> bool:
        """Say whether Prometheus has an answer."""
        try:
            return bool(self.prometheus.instant(expr, time.time()))
        except OSError:
            return False

    def stop(self) -> None:
        for process in (self.healthy.process, self.faulty.process, self.server):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        for samples in self.samples.values():
            samples.stop()
        self.machine.close()

    def _config(self) -> dict[str, Any]:
        """Return Prometheus' configuration; what an operator would find out by labels of pods is written down."""
        second = self.machine.server.place.port if self.machine.server is not None else 0
        pods = [
            self.healthy.target(0, self.healthy.port), self.healthy.target(1, second),
            self.faulty.target(0, self.faulty.port),
        ]  # fmt: skip
        jobs = [{"job_name": "trm", "static_configs": pods}]
        for name, samples in self.samples.items():
            labels = {"namespace": f"{name}-system", "pod": f"{name}-x"}
            jobs.append(
                {
                    "job_name": name,
                    "honor_labels": name == "dcgm-honor",
                    "static_configs": [{"targets": [f"127.0.0.1:{samples.port}"], "labels": labels}],
                }
            )
        return {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in RULES],
            "scrape_configs": jobs,
        }


def gpu_machine() -> Exporter:
    """Return the exporter of a second machine with GPUs: the trainer's own, with values as a machine has them."""
    exporter = Exporter("machine")
    exporter.set("trm_machine_gpus", 2)
    exporter.set("trm_machine_peak_flops", 2 * 989e12, basis="datasheet")
    exporter.set("trm_gpu_memory_limit_bytes", 80 * GIB)
    for kind, gib in (("allocated", 11.2), ("reserved", 17.9), ("peak", 16.4)):
        exporter.set("trm_gpu_memory_bytes", gib * GIB, kind=kind)
    exporter.set("trm_memory_limit_bytes", 200 * GIB)
    exporter.beat()
    exporter.serve(Place("127.0.0.1", free_port(), "/metrics"))
    return exporter
