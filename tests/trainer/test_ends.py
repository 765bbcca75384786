"""What the ends of workers and machines come to, where attempts are counted and where nothing can count them."""

from pathlib import Path

import pytest

from tests.trainer.helpers import change
from trainer.agency import Words
from trainer.agent import speaks_for_all
from trainer.budget import Budget
from trainer.ends import oom_kills, uncounted
from trainer.launch import Terms
from trmkit.spec.run import RunFile
from trmkit.store import attempts
from trmkit.store.attempts import NOT_MET
from trmkit.store.layout import RunDirectory


def test_kills_for_want_of_memory_are_counted_under_either_version_of_control_groups(tmp_path: Path) -> None:
    second, first = tmp_path / "memory.events", tmp_path / "memory.oom_control"
    assert oom_kills((second, first)) == 0
    second.write_text("low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\noom_group_kill 0\n")
    assert oom_kills((second, first)) == 2
    second.unlink()
    first.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert oom_kills((second, first)) == 3


@pytest.mark.parametrize(
    ("code", "reason"),
    [(137, "OutOfMemory"), (139, "Killed"), (143, "Stalled"), (143, "BrokenGpu"), (143, "StoreUnavailable")],
)
def test_where_nothing_can_count_attempts_what_repeats_is_final_and_says_why(code: int, reason: str) -> None:
    words = uncounted(Words(code, reason, "what was seen", 7), several=True)
    assert (words.exit, words.reason, words.step) == (1, reason, 7)
    assert words.message.startswith("what was seen; it is not started again, because nothing outlives the pod")
    assert "set storage.remote" in words.message


@pytest.mark.parametrize(
    "words",
    [Words(143, "Preempted"), Words(143, "PeerLost"), Words(143, NOT_MET), Words(2, "Config"), Words(0, "")],
    ids=lambda words: words.reason or "done",
)
def test_being_asked_to_leave_and_losing_a_peer_never_end_a_run(words: Words) -> None:
    assert uncounted(words, several=True) == words


def test_an_abort_is_how_a_lost_peer_looks_where_there_are_peers() -> None:
    aborted = Words(134, "Killed", "local process 0 was ended by signal 6")
    assert uncounted(aborted, several=True) == aborted
    assert uncounted(aborted, several=False).exit == 1


def terms(run: RunFile) -> Terms:
    return Terms(run, RunDirectory.of(run), "small")


def test_attempts_are_counted_where_a_store_or_a_volume_outlives_the_pod() -> None:
    here = change(None, "storage.path=/runs/small")
    volume = "cluster.volumes=[{kind: %s, name: runs, mount_path: %s, %s}]"
    claim = "claim: runs"
    assert not terms(here).lasting
    assert terms(change(here, "storage.remote=s3://bucket/runs")).lasting
    assert terms(change(here, volume % ("pvc", "/runs", claim))).lasting
    for other in (("pvc", "/run", claim), ("pvc", "/runs", f"{claim}, read_only: true"), ("emptyDir", "/runs", "")):
        assert not terms(change(here, volume % other)).lasting
    assert Terms(job="small").lasting


def test_one_pod_notes_that_not_all_have_met() -> None:
    assert speaks_for_all({"PET_NODE_RANK": "0"}, "small-node-0-1")
    assert not speaks_for_all({"PET_NODE_RANK": "1", "JOB_COMPLETION_INDEX": "0"}, "small-node-0-0")
    assert not speaks_for_all({"JOB_COMPLETION_INDEX": "10"}, "small-node-0-10")
    assert speaks_for_all({}, "small-worker-0")
    assert not speaks_for_all({}, "small-worker-10")


def test_machines_that_never_all_come_are_given_up_at_last(small_run: RunFile) -> None:
    run = change(small_run, "cluster.restarts=1", "cluster.rendezvous_seconds=900")
    missed = Words(143, NOT_MET, "not all machines of this run came within 900 s")
    assert Budget(terms(run)).missed(missed, 1000.0) == missed
    last = Budget(terms(run)).missed(missed, 2000.0)
    assert (last.exit, last.reason) == (1, "OutOfAttempts")
    assert "2 times in a row not all machines of this run came within 900 s" in last.message
    noted = attempts.parse((RunDirectory.of(run).root / attempts.ATTEMPTS).read_bytes())
    assert [(one.started, one.exit, one.reason) for one in noted] == [(1000.0, 143, NOT_MET), (2000.0, 1, last.reason)]
    assert Budget(terms(run)).missed(missed, 3000.0) == missed
