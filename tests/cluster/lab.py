"""A namespace of its own on the cluster under test, and the command line at work in it.

Commands run as a person runs them, in processes of their own. The cluster is only looked at directly, or treated as
operators, schedulers and machines treat it: pods deleted, pods evicted.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.cluster.runfiles import QUICK, Written, written
from tests.cluster.settings import Settings
from trmctl import pods as p
from trmctl.cluster import EVENT, POD, PYTORCHJOB, TRAINJOB, WORKFLOW, Cluster, Kind, Object
from trmkit.errors import ClusterError
from trmkit.render.names import JOB, OURS

T = TypeVar("T")
MARKS = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]
"""Of every module here: deselected by default; a warning of a client on a slow network is no failure."""
ROOT = Path(__file__).parents[2]
KINDS = {"pytorchjob": PYTORCHJOB, "trainjob": TRAINJOB}
EVERY = 1.0
"""Seconds between two looks."""
START, END, TURN = 300.0, 900.0, 240.0
"""Seconds, before patience: until pods run, image and all; until a run is over; until something turns up or goes."""
LOG_LINES = 40


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """It for a failed assertion."""
        return f"$ trmctl {' '.join(self.arguments)}\nexit code {self.code}\n{self.out}{self.err}"

    @property
    def data(self) -> Any:
        """What `-o json` printed."""
        return json.loads(self.out)


@dataclass
class Running:
    """A command that goes on, with its output in files."""

    process: "subprocess.Popen[bytes]"
    arguments: tuple[str, ...]
    out: Path
    err: Path

    def said(self) -> str:
        """Return all it has said so far."""
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, seconds: float) -> Result:
        """Wait for its end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"trmctl {' '.join(self.arguments)} goes on after {seconds:.0f} s:\n{self.said()[-4000:]}")
        return Result(self.arguments, code, self.out.read_text(errors="replace"), self.err.read_text(errors="replace"))


@dataclass
class Lab:
    """Where the tests work."""

    cluster: Cluster
    namespace: str
    settings: Settings
    folder: Path
    environment: dict[str, str]
    """Of the commands."""
    store: str | None = None
    """Where runs are published; None: there is no store that pods reach."""
    no_store: str = ""
    """Why there is none."""
    _started: list[Running] = field(default_factory=list)

    # -- commands

    def trmctl(self, *arguments: str, code: int | None = 0, seconds: float = 120.0) -> Result:
        """Run a command to its end; it has to end with `code`, unless that is None."""
        done = subprocess.run(
            [sys.executable, "-m", "trmctl", *arguments],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=self.patient(seconds),
        )  # fmt: skip
        result = Result(arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in result.err, result.text
        assert code is None or result.code == code, result.text
        return result

    def start(self, *arguments: str) -> Running:
        """Start a command that goes on."""
        number = len(self._started)
        out, err = self.folder / f"out-{number}.txt", self.folder / f"err-{number}.txt"
        with out.open("wb") as to, err.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "trmctl", *arguments],
                cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=to, stderr=errors,
            )  # fmt: skip
        self._started.append(Running(process, arguments, out, err))
        return self._started[-1]

    def end_all(self) -> None:
        """End every command that still goes on."""
        for one in self._started:
            if one.process.poll() is None:
                one.process.kill()
            one.process.wait()

    def file(self, name: str, *overrides: str, steps: int = QUICK, stored: bool = True) -> Written:
        """Write a run file; `stored`: it publishes, if there is a store."""
        store = self.store if stored else None
        return written(self.folder, name, self.settings, store, *overrides, steps=steps)

    def submit(self, run: Written, *more: str) -> Result:
        """Submit a run; it has to be taken."""
        return self.trmctl("submit", "-c", str(run.path), "--yes", *more)

    def finish(self, run: Written, *more: str, code: int = 0) -> Result:
        """Submit a run and follow it to its end."""
        words = ("submit", "-c", str(run.path), "--yes", "--follow", "--timeout", f"{self.patient(END):.0f}s", *more)
        return self.trmctl(*words, code=code, seconds=END + 60)

    def fetch(self, run: Written) -> Path:
        """Bring a run from the store, verified; return its folder here."""
        assert self.store is not None
        to = self.folder / "fetched"
        done = self.trmctl("fetch", run.key, "--store", self.store, "--last", "--to", str(to))
        assert "every SHA-256 right" in done.err, done.text
        return to / run.key

    # -- the cluster

    def serves(self, kind: Kind) -> bool:
        """Say whether the cluster knows a kind."""
        return self.cluster.serves(kind)

    def patient(self, seconds: float) -> float:
        """Return seconds as slow as this cluster is."""
        return seconds * self.settings.patience

    def job(self, run: Written) -> Object | None:
        """Return a run's job; None: there is none."""
        for kind in KINDS.values():
            if self.serves(kind) and (found := self.cluster.get(kind, run.job, self.namespace)) is not None:
                return found
        return None

    def pods(self, run: Written) -> list[Object]:
        """Return a run's pods by rank."""
        return p.by_rank(self.cluster.list(POD, self.namespace, labels=f"{JOB}={run.job}"))

    def running(self, run: Written, count: int = 1) -> list[Object]:
        """Return a run's pods once so many of them run, and none is leaving."""

        def up() -> list[Object]:
            pods = self.pods(run)
            return pods if len(pods) == count and all(p.is_running(pod) for pod in pods) else []

        return self.until(up, START, f"{count} pods of {run.job} run")

    def log(self, pod: Object) -> str:
        """Return the end of a pod's log; empty: it has none yet."""
        try:
            return "\n".join(self.cluster.log(p.name(pod), p.container(pod), self.namespace, tail=LOG_LINES))
        except ClusterError:
            return ""

    def past(self, run: Written, step: int, count: int = 1) -> list[Object]:
        """Return a run's pods once all of them run and training is past a step."""
        from tests.cluster.words import steps_in

        pods = self.running(run, count)

        def far() -> bool:
            return any(max(steps_in(self.log(pod)), default=0) >= step for pod in self.pods(run))

        self.until(far, START, f"{run.job} is past update {step}")
        return pods

    def evict(self, pod: Object) -> None:
        """Have a pod leave as draining a machine does it."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{p.name(pod)}/eviction"
        about = {"name": p.name(pod), "namespace": self.namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about}
        self.cluster.api.object("POST", path, f"evict {p.name(pod)}", {}, body)  # type: ignore[attr-defined]

    def until(self, look: Callable[[], T], seconds: float, what: str) -> T:
        """Look until there is something to see; return it. Fails when it takes longer, and shows the namespace."""
        end = time.monotonic() + self.patient(seconds)
        while True:
            found = look()
            if found:
                return found
            if time.monotonic() > end:
                pytest.fail(f"not within {self.patient(seconds):.0f} s: {what}")
            time.sleep(EVERY)

    def stored(self, key: str) -> bytes:
        """Return an object of the store as this machine reads it; it has to be there."""
        code = (
            "import sys; from trmkit.spec.storage import StorageSection; from trmkit.store.open import open_store;"
            "sys.stdout.buffer.write(open_store(StorageSection(remote=sys.argv[1])).read(sys.argv[2]))"
        )
        command = [sys.executable, "-c", code, str(self.store), key]
        done = subprocess.run(command, env=self.environment, capture_output=True, timeout=self.patient(60))
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def gone(self, run: Written) -> None:
        """Wait until a run's job and pods are gone."""
        self.until(lambda: self.job(run) is None and not self.pods(run), TURN, f"{run.job} and its pods are gone")

    # -- what to show of a failure

    def dump(self) -> str:
        """Return what the namespace looks like: jobs, pods, what was said of them, the ends of their logs."""
        parts: list[str] = [f"namespace {self.namespace} of {self.cluster.where}"]
        for kind in (PYTORCHJOB, TRAINJOB, WORKFLOW):
            parts += self._seen(kind, OURS)
        pods = self._list(POD)
        for pod in pods:
            shown = {name: pod.get(name) for name in ("status",)}
            parts.append(f"--- Pod {p.name(pod)}\n{json.dumps(shown, indent=1)[:3000]}\n{self.log(pod)}")
        for event in self._list(EVENT)[-80:]:
            about = event.get("involvedObject") or {}
            said = f"{event.get('reason')} x{event.get('count') or 1}: {str(event.get('message'))[:300]}"
            parts.append(f"{event.get('lastTimestamp') or event.get('eventTime')} {about.get('name')} {said}")
        return "\n".join(parts)

    def _seen(self, kind: Kind, labels: str) -> list[str]:
        found = self._list(kind, labels)
        return [
            f"--- {kind.kind} {p.name(one)}\n"
            + json.dumps({"metadata": {**p.about(one), "managedFields": None}, "status": one.get("status")}, indent=1)
            for one in found
        ]

    def _list(self, kind: Kind, labels: str = "") -> list[Object]:
        try:
            return self.cluster.list(kind, self.namespace, labels=labels)
        except ClusterError:
            return []


def commands_environment(folder: Path, namespace: str, extra: dict[str, str]) -> dict[str, str]:
    """Return what commands see: this checkout, this namespace, and no profile of whoever runs the suite."""
    own = {name: value for name, value in os.environ.items() if name not in ("TRM_PROFILE", "TRM_STORE")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    if "KUBECONFIG" in own:  # commands work in another folder
        parts = own["KUBECONFIG"].split(os.pathsep)
        own["KUBECONFIG"] = os.pathsep.join(os.path.abspath(part) for part in parts if part)
    return {**own, "PYTHONPATH": path, "TRM_CONFIG": str(folder / "none.toml"), "TRM_NAMESPACE": namespace, **extra}
