"""Runs that fail: how they end, after how many tries, and what `why` says of it."""

import pytest

from tests.cluster.lab import MARKS, Lab
from tests.cluster.runfiles import LONG, Written
from trmctl import pods as p

pytestmark = MARKS
TOO_LARGE = ("model.hidden_size=4096", "model.num_heads=8", "cluster.memory=1Gi")
"""Over a gigabyte of weights alone, made by the worker long after its launcher has started."""


def why(lab: Lab, run: Written) -> str:
    return lab.trmctl("why", run.job).out


def test_a_key_that_is_none_is_refused_here_and_nothing_is_made(lab: Lab, any_backend: str) -> None:
    run = lab.file("mistyped", f"cluster.backend={any_backend}")
    done = lab.trmctl("submit", "-c", str(run.path), "--yes", "--set", "data.sid=4", code=2)
    assert "side" in done.err  # did you mean
    assert lab.job(run) is None


def test_data_that_is_not_there_fails_at_once_and_for_good(lab: Lab, backend: str) -> None:
    source = "data={source: sudoku, path: /not-there, subsample_size: 10, num_aug: 0}"
    run = lab.file(f"no-data-{backend}", f"cluster.backend={backend}", source, stored=False)
    lab.finish(run, code=1)
    pods = lab.pods(run)
    assert [p.restarts(pod) for pod in pods] == [0]
    said = why(lab, run)
    assert "/not-there" in said, said
    assert "exit code 1" in said, said
    assert lab.trmctl("status", run.job, "-o", "json", code=1).data["phase"] == "Failed"
    assert lab.trmctl("logs", "-f", run.job, code=None).code == 1
    assert [p.uid(pod) for pod in lab.pods(run)] == [p.uid(pod) for pod in pods]


def test_a_run_file_that_cannot_be_used_in_the_pod_ends_with_2_and_is_not_tried_again(lab: Lab, backend: str) -> None:
    """Two processes cannot share one row: only the trainer, which knows how many there are, can say so."""
    run = lab.file(f"indivisible-{backend}", f"cluster.backend={backend}", "cluster.nodes=2", "train.batch_size=1")
    lab.finish(run, code=1)
    found = [p.ending(pod) for pod in lab.pods(run)]
    codes = {one.exit for one in found if one is not None}
    assert codes & {1, 2}, codes
    assert "batch_size" in why(lab, run)


@pytest.mark.usefixtures("store")
def test_a_run_that_never_gets_further_is_given_up(lab: Lab, backend: str) -> None:
    """A stall limit below the time that a start takes: every attempt is ended as stalled, before its first step."""
    loop = ("cluster.stall_minutes=0.005", "cluster.restarts=2")
    run = lab.file(f"loop-{backend}", f"cluster.backend={backend}", *loop)
    lab.finish(run, code=1)
    said = why(lab, run)
    assert "gave up" in said or "without getting further" in said, said
    assert lab.trmctl("status", run.job, "-o", "json", code=1).data["attempts"] == 4  # three, and the refused one


@pytest.mark.usefixtures("store")
def test_a_run_out_of_memory_ends_and_says_that_it_was_memory(lab: Lab, backend: str) -> None:
    """Where the kernel ends one process, the launcher sees it and tries once more; where it ends the whole container
    (cgroup v2), nobody in it can say a word, and the usual number of tries is made."""
    run = lab.file(f"memory-{backend}", f"cluster.backend={backend}", *TOO_LARGE, steps=LONG)
    lab.finish(run, code=1)
    said = why(lab, run)
    assert "memory" in said, said
    assert lab.trmctl("status", run.job, "-o", "json", code=1).data["attempts"] <= 5


@pytest.mark.usefixtures("store")
def test_a_run_past_its_deadline_saves_and_fails(lab: Lab, any_backend: str) -> None:
    run = lab.file("late", f"cluster.backend={any_backend}", "cluster.deadline_seconds=60", steps=100_000)
    lab.finish(run, code=1)
    assert "deadline" in why(lab, run)
