"""The same run file submitted again, at once, changed, and while its pods still leave."""

from concurrent.futures import ThreadPoolExecutor

from tests.cluster.lab import KINDS, MARKS, TURN, Lab, Result
from trmctl.cluster import CONFIG_MAP
from trmkit.render.names import JOB

pytestmark = MARKS
AT_ONCE = 20
ENDLESS = 100_000


def test_twenty_who_submit_one_file_at_once_make_one_job(lab: Lab, backend: str) -> None:
    run = lab.file(f"once-{backend}", f"cluster.backend={backend}", stored=False, steps=ENDLESS)

    def one(_: int) -> Result:
        return lab.trmctl("submit", "-c", str(run.path), "--yes", code=None, seconds=600)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(one, range(AT_ONCE)))
    assert all(done.code == 0 for done in results), next(done.text for done in results if done.code)
    jobs = lab.cluster.list(KINDS[backend], lab.namespace, labels=f"{JOB}={run.job}")
    assert len(jobs) == 1
    config = lab.cluster.get(CONFIG_MAP, run.job, lab.namespace)
    assert config is not None
    assert [one["uid"] for one in config["metadata"]["ownerReferences"]] == [jobs[0]["metadata"]["uid"]]
    lab.running(run)
    lab.trmctl("delete", run.job, "--wait", seconds=TURN)


def test_other_settings_are_refused_said_and_taken_only_when_asked(lab: Lab, backend: str) -> None:
    run = lab.file(f"other-{backend}", f"cluster.backend={backend}", stored=False, steps=ENDLESS)
    lab.submit(run)
    lab.running(run)
    uid = (lab.job(run) or {})["metadata"]["uid"]
    changed = ("submit", "-c", str(run.path), "--yes", "--set", "cluster.env={ROUND: two}")
    refused = lab.trmctl(*changed, code=2)
    assert "with other settings" in refused.err
    assert lab.trmctl("diff", str(run.path), run.job, code=None).code == 0
    assert lab.trmctl("submit", "-c", str(run.path), "--yes", "--if-exists", "fail", code=2).err
    assert (lab.job(run) or {})["metadata"]["uid"] == uid

    replaced = lab.trmctl(*changed, "--if-exists", "replace", seconds=TURN)
    assert "replaced" in replaced.err
    assert (lab.job(run) or {})["metadata"]["uid"] != uid
    lab.running(run)
    config = lab.cluster.get(CONFIG_MAP, run.job, lab.namespace)
    assert config is not None
    assert "two" in config["data"]["run.yaml"]
    lab.trmctl("delete", run.job, "--wait", seconds=TURN)


def test_a_run_submitted_while_its_pods_still_leave_waits_for_them(lab: Lab, backend: str) -> None:
    run = lab.file(f"leaving-{backend}", f"cluster.backend={backend}", stored=False, steps=ENDLESS)
    lab.submit(run)
    lab.running(run)
    lab.trmctl("delete", run.job)
    lab.trmctl("submit", "-c", str(run.path), "--yes", "--if-exists", "replace", seconds=TURN)
    lab.running(run)
    assert lab.cluster.get(CONFIG_MAP, run.job, lab.namespace) is not None
    lab.trmctl("delete", run.job, "--wait", seconds=TURN)
