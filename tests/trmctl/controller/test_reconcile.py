"""The core by itself: in every phase, whatever is observed, it does nothing that it must not, and does it once."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from tests.trmctl.controller.world import RUN
from trmctl.controller.actions import Delete, Make, Pause, Resume, SetStatus
from trmctl.controller.reconcile import reconcile
from trmctl.controller.seen import Job, Observed, Progress, Run, Start, Wanted, asked
from trmctl.phase import Phase, State
from trmkit.spec.trmrun import TrmRunSpec
from trmkit.spec.trmrun_status import TrmRunStatus

NOW = 1_800_000_000.0
AT = "2027-01-15T08:00:00Z"
PHASES = (
    None, "Refused", "Pending", "Queued", "Starting", "Running", "Restarting", "Backoff", "Stopping", "Paused",
    "Succeeded", "Failed",
)  # fmt: skip
ENDED = ("Succeeded", "Failed")


def wanted(**spec: Any) -> Wanted:
    raw = {"run": RUN, **spec}
    return Wanted(TrmRunSpec.model_validate(raw), "PyTorchJob", "demo-id", "id", "s3://bucket/runs/demo/id", asked(raw))


def run(phase: str | None, **status: Any) -> Run:
    known = {} if phase is None else {"phase": phase, "observedGeneration": 1, "run": {"name": "demo", "id": "id"}}
    return Run("one", "team", "uid-run", 1, "7", {**known, **status})


def job(phase: Phase, **more: Any) -> Job:
    hash = more.pop("hash", wanted().hash)
    return Job("PyTorchJob", "demo-id", "uid-job", State(phase), "one", "uid-run", hash, **more)


STARTS = {
    "none": None,
    "running": Start("pod-1", "demo-id-worker-0", NOW - 100),
    "ended": Start("pod-1", "demo-id-worker-0", NOW - 100, NOW - 5, 143, "Preempted"),
    "crashed": Start("pod-1", "demo-id-worker-0", NOW - 100, NOW - 5, 1, "Error"),
}
JOBS: dict[str, tuple[Job, ...]] = {
    "no job": (),
    **{
        f"{phase} {start} {'paused' if paused else ''}": (
            job(phase, start=STARTS[start], paused=paused, pods=2 if phase in (Phase.RUNNING, Phase.STOPPING) else 0),
        )
        for phase in Phase
        for start in STARTS
        for paused in (False, True)
    },
    "another one's": (replace(job(Phase.RUNNING), trmrun="two"),),
    "nobody's": (replace(job(Phase.RUNNING), trmrun="", trmrun_uid="", hash=""),),
    "of an earlier TrmRun": (replace(job(Phase.RUNNING), trmrun_uid="uid-before"),),
    "with other settings": (job(Phase.RUNNING, hash="other"),),
    "of another name": (replace(job(Phase.RUNNING), name="demo-before"),),
}
SPECS: dict[str, Wanted | None] = {
    "plain": wanted(),
    "suspended": wanted(suspend=True),
    "deadline": wanted(deadline="1m"),
    "stop": wanted(stopWhen={"target": 0.5}),
    "wrong": None,
    "another run": replace(wanted(), run_id="other", job="demo-other"),
}
PROGRESS = {
    "away": Progress(problem="no answer"),
    "begun": Progress(True, "", "training", 10, 100),
    "good": Progress(
        True, "", "training", 50, 100, "exact_accuracy", 0.9, 50, 40, "s3://bucket/step_40", NOW - 50, NOW - 10
    ),
}


def observed(phase: str | None, jobs: tuple[Job, ...], spec: Wanted | None, progress: Progress, left: int) -> Observed:
    known = {"startTime": AT, "job": {"kind": "PyTorchJob", "name": "demo-id"}} if phase else {}
    ended = {"completionTime": AT} if phase in ENDED else {}
    checkpoint = {"checkpoint": {"uri": "s3://bucket/step_20", "step": 20}} if phase else {}
    told = {} if spec is None else {"suspend": spec.spec.suspend, "deadline": spec.spec.deadline}
    problem = {"problem": "wrong"} if spec is None else {}
    status = run(phase, **known, **ended, **checkpoint)
    return Observed(status, spec, jobs=jobs, leftover=left, progress=progress, **problem, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize("phase", PHASES, ids=str)
def test_whatever_is_observed_in_a_phase_it_keeps_to_its_rules(phase: str | None) -> None:
    for (what, jobs), (kind, spec), progress, left in itertools.product(
        JOBS.items(), SPECS.items(), PROGRESS.values(), (0, 2)
    ):
        seen = observed(phase, jobs, spec, progress, left)
        where = f"{phase}, {what}, {kind}, {left} pods left"
        actions = reconcile(seen, NOW)
        again = reconcile(seen, NOW)
        assert actions == again, f"{where}: not the same twice"
        keeps_to_its_rules(seen, actions, where)


def keeps_to_its_rules(seen: Observed, actions: list[Any], where: str) -> None:
    """See that nothing is done that must not be."""
    status = next((one.status for one in actions if isinstance(one, SetStatus)), dict(seen.run.status))
    TrmRunStatus.model_validate(status)
    there = [one for one in seen.jobs if one.state.phase != Phase.DELETING]
    made = [one for one in actions if isinstance(one, Make)]
    touched = [one for one in actions if isinstance(one, Delete | Pause | Resume)]
    mine = {one.uid for one in seen.jobs if one.trmrun == seen.run.name}
    assert all(one.uid in mine for one in touched), f"{where}: somebody else's job is touched"
    before, after = seen.run.status.get("phase"), status.get("phase")
    if made:
        whole = seen.wanted is not None and not seen.wanted.spec.suspend
        assert whole, f"{where}: made although it is wrong or suspended"
        assert before not in ENDED, f"{where}: made although it is over"
        names = {one.name for one in seen.jobs if one.uid in mine}
        assert names <= {seen.wanted.job}, f"{where}: made beside another job"  # type: ignore[union-attr]
        assert not (seen.leftover and not there), f"{where}: made before pods were gone"
    if before in ENDED and seen.wanted is not None and seen.wanted.run_id == "id":
        assert after == before, f"{where}: it was over"
    old = (seen.run.status.get("checkpoint") or {}).get("step", -1)
    assert (status.get("checkpoint") or {}).get("step", -1) >= old, f"{where}: forgot a checkpoint"
    assert len([one for one in actions if isinstance(one, SetStatus)]) <= 1, where
    first = next((n for n, one in enumerate(actions) if isinstance(one, Delete | Pause | Resume)), len(actions))
    written = next((n for n, one in enumerate(actions) if isinstance(one, SetStatus)), -1)
    assert written < first, f"{where}: a job is changed before the status is written"


def test_nothing_is_done_about_a_trmrun_that_is_being_deleted() -> None:
    seen = Observed(replace(run("Running"), leaving=True), wanted(), jobs=(job(Phase.RUNNING),))
    assert reconcile(seen, NOW) == []


def test_pauses_between_attempts_grow_and_have_an_end() -> None:
    waits = []
    for count in range(1, 6):
        attempts = [
            {"number": n, "uid": f"pod-{n}", "pod": "p", "job": f"job-{n}", "started": AT, "ended": AT, "step": 0,
             "reason": "Killed", "exitCode": 137}
            for n in range(1, count + 1)
        ]  # fmt: skip
        spec = wanted(attempts={"limit": 20, "backoff": "10s", "longestBackoff": "1m"})
        failed = job(Phase.FAILED, hash=spec.hash, exit=137)
        seen = Observed(run("Running", attempts=attempts, startTime=AT), spec, jobs=(failed,))
        status = next(one.status for one in reconcile(seen, NOW) if isinstance(one, SetStatus))
        assert status["phase"] == "Backoff"
        from trmctl.pods import seconds

        waits.append(round((seconds(status["nextAttemptTime"]) or 0) - NOW))
    assert waits == [10, 20, 40, 60, 60]


def test_the_hash_of_what_is_asked_does_not_change_with_what_is_not_asked() -> None:
    spec = {"run": RUN, "attempts": {"backoff": "5s"}}
    assert asked(spec) == asked({"run": RUN, "deadline": "1h", "suspend": True, "keep": {"count": 3}})
    assert asked(spec) != asked({"run": {**RUN, "seed": 3}})
    assert asked(spec) != asked({**spec, "attempts": {"limit": 3}})
