"""Runs handed in as objects, with a controller beside them, on a real API server with the real operators.

The controller runs on this machine, as the user of the suite. A definition that was not there is removed again.
"""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.lab import END, MARKS, START, TURN, Lab, Running
from tests.cluster.runfiles import LONG, QUICK, Written, newest
from tests.trmkit.render.test_crd import CONFIGS, WRONG, body, put
from trmctl import pods as p
from trmctl.cluster import DEFINITION, LEASE, POD, PYTORCHJOB, TRAINJOB, TRMRUN, Object
from trmctl.kube import open_cluster
from trmkit.errors import ClusterRefusedError
from trmkit.render.crd import NAME, definition
from trmkit.render.names import JOB
from trmkit.render.names import TRMRUN as LABEL

pytestmark = MARKS
ENDLESS = 100_000
"""Updates that no test waits for."""
MANY = 50


@dataclass
class Kept:
    """The controller, and the runs that it keeps."""

    lab: Lab
    process: Running

    def start(self) -> None:
        """Start the controller anew."""
        words = ("controller", "-n", self.lab.namespace, "--resync", "5", "--port", "0", "--log-format", "text")
        self.process = self.lab.start(*words)

    def kill(self) -> None:
        """End it as a machine that breaks ends it."""
        self.process.send(signal.SIGKILL)
        self.process.process.wait()

    def apply(self, run: Written, **around: Any) -> str:
        """Hand in a run as an object; return its name."""
        words = ("render", "-c", str(run.path), "--as", "trmrun", "--name", run.run.name, "-o", "json")
        found = json.loads(self.lab.trmctl(*words, "-n", self.lab.namespace).out)
        found["spec"] |= around
        self.lab.cluster.create(TRMRUN, found)
        return run.run.name

    def spec(self, name: str, **changes: Any) -> None:
        """Change the spec of a run."""
        self.lab.cluster.patch(TRMRUN, name, {"spec": changes}, self.lab.namespace)

    def status(self, name: str) -> Object:
        """Return the status of a run."""
        return (self.lab.cluster.get(TRMRUN, name, self.lab.namespace) or {}).get("status") or {}

    def phase(self, name: str, wanted: str, seconds: float) -> Object:
        """Wait until a run is in a phase; return its status."""

        def there() -> Object | None:
            status = self.status(name)
            if wanted != "Failed" and status.get("phase") in ("Failed", "Refused"):
                pytest.fail(f"{name}: {json.dumps(status, indent=1)}\n{self.process.said()[-4000:]}")
            return status if status.get("phase") == wanted else None

        found = self.lab.until(there, seconds, f"{name} is {wanted}: {self.status(name)}")
        assert found is not None
        return found

    def jobs(self, name: str) -> list[Object]:
        """Return every job that is there for a run."""
        kinds = [kind for kind in (PYTORCHJOB, TRAINJOB) if self.lab.serves(kind)]
        return [
            one for kind in kinds for one in self.lab.cluster.list(kind, self.lab.namespace, labels=f"{LABEL}={name}")
        ]


def conditions(status: Object) -> dict[str, str]:
    """Return which conditions hold."""
    return {one["type"]: one["status"] for one in status.get("conditions") or ()}


@pytest.fixture(scope="module")
def defined(lab: Lab) -> Iterator[Lab]:
    """Return the lab with TrmRuns served."""
    there = lab.cluster.get(DEFINITION, NAME) is not None
    if not there:
        lab.cluster.apply(DEFINITION, definition())
    lab.until(lambda: open_cluster(None, lab.namespace).serves(TRMRUN), TURN, "TrmRun is served")
    yield lab
    if not there:
        lab.cluster.delete(DEFINITION, NAME)
        lab.until(lambda: not open_cluster(None, lab.namespace).serves(TRMRUN), TURN, "TrmRun is served no more")


@pytest.fixture(scope="module")
def kept(defined: Lab, store: str) -> Iterator[Kept]:
    """Return the controller at work; at the end every TrmRun is removed while it still works."""
    words = ("controller", "-n", defined.namespace, "--resync", "5", "--port", "0", "--log-format", "text")
    found = Kept(defined, defined.start(*words))
    defined.until(lambda: defined.cluster.get(LEASE, "trm-controller", defined.namespace), TURN, "a controller works")
    yield found
    for one in defined.cluster.list(TRMRUN, defined.namespace):
        defined.cluster.delete(TRMRUN, p.name(one), defined.namespace)
    found.process.send(signal.SIGTERM)
    assert found.process.end(defined.patient(60)).code in (0, 143)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_the_api_server_takes_every_run_file_of_the_project(defined: Lab, name: str) -> None:
    found = body(CONFIGS[name])
    found["metadata"]["namespace"] = defined.namespace
    answer = open_cluster(None, defined.namespace).create(TRMRUN, found, dry_run=True)
    assert answer["spec"] == found["spec"], "nothing is dropped, and nothing is filled in"


@pytest.mark.parametrize("mistake", sorted(WRONG))
def test_the_api_server_refuses_every_mistake(defined: Lab, mistake: str) -> None:
    name, path, value, _ = WRONG[mistake]
    found = body(put(CONFIGS[name], path, value))
    found["metadata"]["namespace"] = defined.namespace
    with pytest.raises(ClusterRefusedError):
        open_cluster(None, defined.namespace).create(TRMRUN, found, dry_run=True)


def test_a_run_that_is_applied_ends_well(kept: Kept, any_backend: str) -> None:
    run = kept.lab.file("applied", f"cluster.backend={any_backend}")
    name = kept.apply(run)
    status = kept.phase(name, "Succeeded", END)
    assert (status["step"], status["totalSteps"], status["progress"]) == (QUICK, QUICK, "100 %")
    assert conditions(status)["Accepted"] == conditions(status)["Succeeded"] == "True"
    assert status["checkpoint"]["step"] == QUICK
    assert newest(kept.lab.fetch(run)).name == f"step_{QUICK:08d}"


def test_a_run_that_loses_a_pod_goes_on(kept: Kept, any_backend: str) -> None:
    run = kept.lab.file("preempted-kept", f"cluster.backend={any_backend}", steps=LONG)
    name = kept.apply(run)
    pods = kept.lab.past(run, LONG // 5)
    kept.lab.cluster.delete(POD, p.name(pods[0]), kept.lab.namespace)
    status = kept.phase(name, "Succeeded", END)
    assert status["step"] == LONG
    assert len(status["attempts"]) >= 2
    assert len(kept.jobs(name)) == 1


def test_a_run_that_is_suspended_gives_its_machines_back_and_goes_on(kept: Kept, any_backend: str) -> None:
    run = kept.lab.file("suspended-kept", f"cluster.backend={any_backend}", steps=LONG)
    name = kept.apply(run)
    kept.lab.past(run, LONG // 5)
    kept.spec(name, suspend=True)
    status = kept.phase(name, "Paused", TURN)
    assert kept.lab.pods(run) == []
    assert conditions(status)["Suspended"] == "True"
    kept.spec(name, suspend=False)
    status = kept.phase(name, "Succeeded", END)
    assert status["step"] == LONG
    assert status["pausedSeconds"] > 0


def test_an_image_that_is_not_there_is_said(kept: Kept, any_backend: str) -> None:
    run = kept.lab.file("imageless", f"cluster.backend={any_backend}", "cluster.image=registry.invalid/none:1")
    name = kept.apply(run)
    kept.lab.until(lambda: "image" in str(kept.status(name).get("message", "")).lower(), START, "the image is named")
    assert kept.status(name)["phase"] not in ("Running", "Succeeded")
    kept.lab.cluster.delete(TRMRUN, name, kept.lab.namespace)


def test_a_run_that_takes_too_long_is_ended(kept: Kept, any_backend: str) -> None:
    run = kept.lab.file("overdue", f"cluster.backend={any_backend}", steps=ENDLESS)
    name = kept.apply(run, deadline=f"{round(kept.lab.patient(90))}s")
    assert kept.phase(name, "Failed", START + TURN)["reason"] == "DeadlineExceeded"
    kept.lab.until(lambda: not kept.lab.pods(run), TURN, "its pods have left")


def test_a_run_that_gets_no_further_is_given_up(kept: Kept, any_backend: str) -> None:
    run = kept.lab.file("hungry", f"cluster.backend={any_backend}", "cluster.memory=96Mi", "cluster.shm=null")
    name = kept.apply(run, attempts={"limit": 1, "backoff": "1s", "longestBackoff": "2s"})
    status = kept.phase(name, "Failed", START + TURN)
    assert status["reason"] in ("OutOfMemory", "OutOfAttempts")
    assert conditions(status)["Failed"] == "True"


def test_a_controller_that_is_killed_is_not_missed_by_a_run(kept: Kept, any_backend: str) -> None:
    run = kept.lab.file("orphaned", f"cluster.backend={any_backend}", steps=LONG)
    name = kept.apply(run)
    kept.lab.past(run, LONG // 5)
    before = [p.uid(job) for job in kept.jobs(name)]
    kept.kill()
    kept.lab.past(run, LONG // 2)
    kept.start()
    status = kept.phase(name, "Succeeded", END)
    assert status["step"] == LONG
    assert [p.uid(job) for job in kept.jobs(name)] == before


def test_a_trmrun_that_is_deleted_takes_its_job_along(kept: Kept, any_backend: str) -> None:
    run = kept.lab.file("unwanted", f"cluster.backend={any_backend}", steps=ENDLESS)
    name = kept.apply(run)
    kept.lab.running(run)
    kept.lab.cluster.delete(TRMRUN, name, kept.lab.namespace)
    kept.lab.until(lambda: kept.lab.cluster.get(TRMRUN, name, kept.lab.namespace) is None, TURN, "it is gone at once")
    kept.lab.gone(run)


def test_many_runs_at_once_all_end(kept: Kept, any_backend: str) -> None:
    small = (f"cluster.backend={any_backend}", "cluster.cpu=100m", "evaluate.sample=4")
    runs = [kept.lab.file(f"many-{number}", *small, f"seed={number}", steps=10) for number in range(MANY)]
    names = [kept.apply(run) for run in runs]
    assert len({run.job for run in runs}) == MANY

    def over() -> bool:
        return all(kept.status(name).get("phase") == "Succeeded" for name in names)

    kept.lab.until(over, 4 * END, f"{MANY} runs are over")
    for run, name in zip(runs, names, strict=True):
        assert [p.name(job) for job in kept.jobs(name)] == [run.job]
        assert {pod["metadata"]["labels"][JOB] for pod in kept.lab.pods(run)} <= {run.job}
