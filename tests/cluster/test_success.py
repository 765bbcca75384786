"""From a run file to a trained model, on one pod and on two."""

import pytest

from tests.cluster.lab import MARKS, Lab
from tests.cluster.runfiles import PUZZLE, QUICK, newest
from tests.cluster.words import steps_in

pytestmark = MARKS


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_run_ends_well_and_its_model_answers(lab: Lab, store: str, backend: str, nodes: int) -> None:
    run = lab.file(f"well-{backend}-{nodes}", f"cluster.backend={backend}", f"cluster.nodes={nodes}")
    done = lab.finish(run)
    assert max(steps_in(done.out), default=0) == QUICK, done.text

    assert lab.trmctl("status", run.job, "-o", "json").data["phase"] == "Succeeded"
    rows = {row["run"]: row for row in lab.trmctl("list", "--store", store, "-o", "json").data["runs"]}
    assert (rows[run.key]["state"], rows[run.key]["step"]) == ("Succeeded", QUICK)
    assert "Nothing is wrong" in lab.trmctl("why", run.job).out
    assert lab.trmctl("logs", "-f", run.job).code == 0

    folder = lab.fetch(run)
    assert newest(folder).name == f"step_{QUICK:08d}"
    assert (folder / "report.html").is_file()
    answer = lab.trmctl("predict", str(folder), PUZZLE, "-o", "json")
    assert answer.out.strip(), answer.text


def test_a_run_without_a_store_ends_well_too(lab: Lab, backend: str) -> None:
    run = lab.file(f"alone-{backend}", f"cluster.backend={backend}", stored=False)
    done = lab.finish(run)
    assert "nothing is kept" in done.err


def test_pods_run_under_podsecurity_restricted_as_nobody_special(lab: Lab, backend: str) -> None:
    run = lab.file(f"nobody-{backend}", f"cluster.backend={backend}", stored=False, steps=20_000)
    lab.submit(run)
    lab.running(run)
    seen = "import os; print(os.getuid(), os.path.exists('/var/run/secrets/kubernetes.io'), os.access('/', os.W_OK))"
    assert lab.trmctl("exec", run.job, "--", "python", "-c", seen).out.split() == ["10001", "False", "False"]
    assert lab.trmctl("exec", run.job, "--", "python", "-c", "raise SystemExit(7)", code=None).code == 7
    lab.trmctl("delete", run.job, "--wait", seconds=240)
    assert lab.job(run) is None
