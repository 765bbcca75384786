"""Pods on this machine: each a launcher with its own environment, started again as the operator of a cluster does."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.trainer.helpers import free_port

RETRYABLE = 128
"""Exit codes from here on have the operator make the pod anew; smaller ones fail the job."""
PATIENCE = 120.0


def pytorchjob(nodes: int, port: int) -> list[dict[str, str]]:
    """Return the environment of each pod of a PyTorchJob."""
    shared = {
        "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": f"127.0.0.1:{port}", "PET_RDZV_ID": "small",
        "PET_RDZV_CONF": "join_timeout=900", "PET_MAX_RESTARTS": "0", "PET_NNODES": str(nodes),
    }  # fmt: skip
    return [shared] * nodes


def trainjob(nodes: int, port: int) -> list[dict[str, str]]:
    """Return the environment of each pod of a TrainJob."""
    shared = {"PET_NNODES": str(nodes), "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    return [shared | {"PET_NODE_RANK": str(rank)} for rank in range(nodes)]


@dataclass
class Pod:
    """One pod of a job."""

    process: "subprocess.Popen[bytes]"
    log: Path
    message: Path

    def last_words(self) -> dict[str, Any]:
        """Return its termination message."""
        words: dict[str, Any] = json.loads(self.message.read_text())
        return words

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        return [int(pid) for pid in listed.stdout.split()]


@dataclass
class Job:
    """A job of so many pods, and the operator that keeps them."""

    folder: Path
    command: list[str]
    environments: list[dict[str, str]]
    processes: int = 1
    homes: bool = False
    """Whether each pod has a working directory of its own, so that they share no folder."""
    env: dict[str, str] = field(default_factory=dict)
    pods: list[Pod] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    started: int = 0

    def start(self) -> "Job":
        """Make every pod."""
        self.pods = [self._make(index) for index in range(len(self.environments))]
        return self

    def _make(self, index: int) -> Pod:
        self.started += 1
        home = self.folder / (f"home{index}" if self.homes else "home")
        home.mkdir(exist_ok=True, parents=True)
        log, message = self.folder / f"pod{index}.log", self.folder / f"pod{index}-{self.started}.message"
        environment = os.environ | self.environments[index] | self.env | {
            "PET_NPROC_PER_NODE": str(self.processes), "TRM_JOB": "small", "TRM_TERMINATION_LOG": str(message),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "trainer.launch", *self.command],
                env=environment, cwd=home, stdout=file, stderr=file, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        return Pod(process, log, message)

    def tend(self) -> int | None:
        """Do what the operator does; return the job's exit code once it has one."""
        codes = [pod.process.poll() for pod in self.pods]
        for code in codes:
            if code is not None and 0 < code < RETRYABLE:
                return code
        if all(code == 0 for code in codes):
            return 0
        for index, code in enumerate(codes):
            if code is not None and code != 0:
                self.exits.append(code if code > 0 else 128 - code)
                self.pods[index] = self._make(index)
        return None

    def run(self, meanwhile: Callable[["Job"], object] = lambda job: None, patience: float = PATIENCE) -> int:
        """Tend the job to its end and return its exit code; `meanwhile` is called again and again."""
        until = time.monotonic() + patience
        while (code := self.tend()) is None:
            assert time.monotonic() < until, self.logs()
            meanwhile(self)
            time.sleep(0.05)
        return code

    def wait(self, patience: float = PATIENCE) -> list[int]:
        """Wait until every pod has ended, and make none anew; return their exit codes."""
        return [pod.process.wait(patience) for pod in self.pods]

    def logs(self) -> str:
        """Return everything the pods have said."""
        return "\n".join(f"--- {log.name}\n{log.read_text()}" for log in sorted(self.folder.glob("pod*.log")))

    def end(self) -> None:
        """Leave nothing behind."""
        for pod in self.pods:
            for pid in [*pod.workers(), pod.process.pid]:
                if pod.process.poll() is None:
                    os.kill(pid, 9)
            pod.process.wait()


def command_of(file: Path, *more: str) -> list[str]:
    """Return what a pod's container is started with."""
    return ["-m", "trainer", "run", str(file), *more]


def two_pods(folder: Path, file: Path, *more: str, operator: Callable[[int, int], list[dict[str, str]]] = pytorchjob,
             processes: int = 1, homes: bool = False) -> Job:  # fmt: skip
    """Return a job of two pods, not started yet."""
    return Job(folder, command_of(file, *more), operator(2, free_port()), processes, homes)
