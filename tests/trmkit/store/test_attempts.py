"""A run that gets no further is not started again for ever, and one that was interrupted is."""

from pathlib import Path

import pytest

from trmkit.errors import StoreDamagedError
from trmkit.store import attempts
from trmkit.store.attempts import NOT_MET, Attempts, Verdict, begun, decide, ended, not_met, running
from trmkit.store.folder import FolderStore


def history(*ends: tuple[int, int | None, str]) -> Attempts:
    """Return attempts a minute apart: step they began at, exit code (None: no word) and reason."""
    known: Attempts = ()
    for minute, (step, code, reason) in enumerate(ends):
        known = begun(known, step, 60.0 * minute, "pod")
        if code is not None:
            known = ended(known, known[-1].number, 60.0 * minute + 59, code, reason)
    return known


LOST = (40, 143, "PeerLost")


def test_the_first_start_does_not_wait() -> None:
    assert decide((), 0, 5, None, 0.0) == Verdict()


def test_every_start_without_progress_waits_twice_as_long() -> None:
    waits = [decide(history(*[LOST] * count), 40, 9, None, 0.0).wait for count in range(9)]
    assert waits == [0, 2, 4, 8, 16, 32, 60, 60, 60]


def test_so_many_restarts_are_allowed_and_no_more() -> None:
    assert not decide(history(*[LOST] * 5), 40, 5, None, 0.0).reason
    verdict = decide(history(*[LOST] * 6), 40, 5, None, 0.0)
    assert verdict.reason == "OutOfAttempts"
    assert "6 attempts in a row got no further than step 40" in verdict.message


def test_an_attempt_that_died_without_a_word_counts() -> None:
    silent = decide(history((40, None, "")), 40, 0, None, 0.0)
    assert silent.reason == "OutOfAttempts"
    assert "memory" in silent.next  # a container that is killed whole says nothing


def test_progress_clears_the_count() -> None:
    assert decide(history(*[LOST] * 6), 41, 5, None, 0.0) == Verdict()
    assert decide(history(LOST, LOST, (80, 143, "Stalled")), 80, 5, None, 0.0).without_progress == 1


def test_being_asked_to_leave_costs_nothing() -> None:
    pauses = [(40, 143, "Preempted")] * 9
    assert decide(history(*pauses), 40, 0, None, 0.0) == Verdict()
    assert decide(history(LOST, *pauses, LOST), 40, 5, None, 0.0).without_progress == 2


def test_memory_that_ran_out_twice_is_not_tried_a_third_time() -> None:
    out = (40, 137, "OutOfMemory")
    assert not decide(history(out), 40, 5, None, 0.0).reason
    assert decide(history(out, out), 40, 5, None, 0.0).reason == "OutOfMemory"
    assert not decide(history(out, out), 44, 5, None, 0.0).reason


SILENT = (40, None, "")


def test_attempts_that_leave_no_word_are_fewer_than_others_but_a_lost_machine_is_no_reason() -> None:
    assert not decide(history(*[SILENT] * 2), 40, 5, None, 0.0).reason
    verdict = decide(history(*[SILENT] * 3), 40, 5, None, 0.0)
    assert verdict.reason == "Killed"
    assert "3 attempts in a row ended without a word after step 40" in verdict.message
    assert "memory" in verdict.message
    assert not decide(history(SILENT, LOST, SILENT, SILENT), 40, 5, None, 0.0).reason
    assert not decide(history(*[SILENT] * 3), 41, 5, None, 0.0).reason
    assert not decide(history(*[SILENT] * 49), 40, 99, None, 0.0).reason
    assert decide(history(*[SILENT] * 50), 40, 99, None, 0.0).reason == "Killed"


def test_machines_may_wait_for_each_other_as_often_as_a_run_may_be_started_again() -> None:
    waited = (40, 143, NOT_MET)
    assert not not_met(history(*[waited] * 5), 5, 900.0).reason
    verdict = not_met(history(*[waited] * 6), 5, 900.0)
    assert verdict.reason == "OutOfAttempts"
    assert "6 times in a row not all machines of this run came within 900 s" in verdict.message
    assert not not_met(history(*[waited] * 5, LOST, waited), 5, 900.0).reason


def test_waiting_for_machines_costs_a_run_neither_attempts_nor_pauses_nor_time() -> None:
    known = history(LOST, *[(40, 143, NOT_MET)] * 9)
    assert decide(known, 40, 1, None, 0.0) == Verdict(2.0, 1)
    assert running(known, 6000.0) == 59.0


def test_a_deadline_counts_the_time_in_which_attempts_ran() -> None:
    known = history((0, 143, "PeerLost"), (40, 143, "Preempted"))  # 59 seconds each
    assert decide(known, 80, 5, 600.0, 1e6).left == 600.0 - 118.0
    assert decide(known, 80, 5, 118.0, 1e6).reason == "Deadline"


def test_an_attempt_without_an_end_ran_until_the_next_one_as_far_as_anybody_knows() -> None:
    assert running(history((0, None, ""), (0, 143, "PeerLost")), 1e6) == 60.0 + 59.0
    assert running(history((0, None, "")), 100.0) == 100.0
    assert running((), 100.0) == 0.0


def test_the_time_of_attempts_that_are_forgotten_counts_too() -> None:
    for ends in ([LOST], [LOST, (40, None, "")]):
        known = history(*ends * (attempts.MOST + 20))
        assert len(known) == attempts.MOST
        whole = sum(60.0 if code is None else 59.0 for _, code, _ in ends) * (attempts.MOST + 20)
        assert running(known, 60.0 * len(ends) * (attempts.MOST + 20)) == whole
    assert running(history((40, 1, "Failed"), *[LOST] * attempts.MOST), 0.0) == 59.0 * attempts.MOST


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_job_that_was_ended_for_good_counts_anew_when_it_is_submitted_again(code: int) -> None:
    known = history(*[LOST] * 6, (40, code, "OutOfAttempts"))
    assert decide(known, 40, 5, 300.0, 7 * 60.0) == Verdict(left=300.0)


def test_the_newest_attempts_are_remembered_however_many_there_are() -> None:
    known = history(*[LOST] * (attempts.MOST + 20))
    assert len(known) == attempts.MOST
    assert (known[0].number, known[-1].number) == (21, attempts.MOST + 20)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    store, known = FolderStore(tmp_path), history(LOST, (80, None, ""))
    assert attempts.read(store, "small/0123abcd") == ()
    attempts.write(store, "small/0123abcd", known)
    assert attempts.read(store, "small/0123abcd") == known
    store.write("small/0123abcd/attempts.json", b"[]")
    assert attempts.read(store, "small/0123abcd") == ()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format": 2, "attempts": []}', b'{"format": 1, "attempts": [{}]}'])
def test_a_file_that_is_none_of_ours_is_refused(content: bytes) -> None:
    with pytest.raises(StoreDamagedError):
        attempts.parse(content)
