"""Runs that are ended on purpose, and what commands leave behind when they are interrupted."""

import signal

from tests.cluster.lab import MARKS, START, TURN, Lab
from tests.cluster.runfiles import LONG, Written, newest
from trmctl.cluster import CONFIG_MAP

pytestmark = MARKS
ENDLESS = 100_000
"""Updates that no test waits for."""


def going(lab: Lab, name: str, backend: str, *overrides: str) -> Written:
    run = lab.file(f"{name}-{backend}", f"cluster.backend={backend}", *overrides, steps=ENDLESS)
    lab.submit(run)
    lab.running(run)
    return run


def test_a_cancelled_run_saves_first_and_the_same_file_goes_on(lab: Lab, store: str, backend: str) -> None:
    run = lab.file(f"cancelled-{backend}", f"cluster.backend={backend}", steps=LONG)
    lab.submit(run)
    lab.past(run, LONG // 5)
    lab.trmctl("cancel", run.job, "--wait", seconds=TURN)
    assert lab.job(run) is None
    assert lab.pods(run) == []
    saved = int(newest(lab.fetch(run)).name.removeprefix("step_"))
    assert saved >= LONG // 5
    done = lab.finish(run)
    assert f"brought step {saved} from" in done.text
    assert newest(lab.fetch(run)).name == f"step_{LONG:08d}"


def test_a_deleted_run_leaves_nothing_in_the_cluster(lab: Lab, backend: str) -> None:
    run = going(lab, "deleted", backend)
    lab.trmctl("delete", run.job, "--wait", seconds=TURN)
    assert lab.job(run) is None
    assert lab.pods(run) == []
    assert lab.cluster.get(CONFIG_MAP, run.job, lab.namespace) is None
    assert lab.trmctl("status", run.job, code=4).err


def test_resubmit_takes_the_run_file_from_the_cluster_and_changes_it(lab: Lab, backend: str) -> None:
    run = going(lab, "again", backend)
    uid = (lab.job(run) or {})["metadata"]["uid"]
    lab.trmctl("resubmit", run.job, "--yes", "--set", "cluster.labels={round: two}", seconds=TURN)
    found = lab.job(run)
    assert found is not None
    assert found["metadata"]["uid"] != uid
    assert found["metadata"]["labels"]["round"] == "two"
    lab.running(run)
    lab.trmctl("delete", run.job, "--wait", seconds=TURN)


def test_ctrl_c_detaches_and_says_how_to_come_back(lab: Lab, any_backend: str) -> None:
    run = lab.file("detached", f"cluster.backend={any_backend}", steps=ENDLESS)
    following = lab.start("submit", "-c", str(run.path), "--yes", "--follow")
    lab.running(run)
    lab.until(lambda: "running" in following.said(), START, "the run is followed")
    following.send(signal.SIGINT)
    done = following.end(lab.patient(60))
    assert done.code == 130, done.text
    assert f"trmctl logs -f {run.job}" in done.err
    assert lab.running(run)
    lab.trmctl("delete", run.job, "--wait", seconds=TURN)


def test_a_signal_deletes_the_run_where_that_is_asked_for(lab: Lab, backend: str) -> None:
    run = lab.file(f"signalled-{backend}", f"cluster.backend={backend}", steps=ENDLESS)
    following = lab.start("submit", "-c", str(run.path), "--yes", "--follow", "--on-signal", "delete")
    lab.running(run)
    lab.until(lambda: "running" in following.said(), START, "the run is followed")
    following.send(signal.SIGTERM)
    done = following.end(lab.patient(60))
    assert done.code == 143, done.text
    lab.gone(run)


def test_watch_draws_from_the_pods_and_ends_with_the_run(lab: Lab, backend: str) -> None:
    run = going(lab, "watched", backend)
    watching = lab.start("watch", run.job, "--every", "2s")
    shown = ("train_lm_loss", "s an update")
    lab.until(lambda: all(one in watching.said() for one in shown), START, "watch shows numbers of the pods")
    lab.trmctl("delete", run.job, "--wait", seconds=TURN)
    done = watching.end(lab.patient(60))
    assert done.code == 4, done.text


def test_following_no_longer_than_asked_leaves_the_run_alone(lab: Lab, any_backend: str) -> None:
    run = lab.file("short", f"cluster.backend={any_backend}", steps=ENDLESS)
    lab.trmctl("submit", "-c", str(run.path), "--yes", "--wait", "--timeout", "5s", code=5)
    assert lab.job(run) is not None
    lab.trmctl("delete", run.job, "--wait", seconds=TURN)
