"""Pipelines and sweeps, where Argo Workflows is installed."""

import pytest

from tests.cluster.lab import END, MARKS, START, Lab
from tests.cluster.runfiles import newest
from trmctl.cluster import WORKFLOW
from trmctl.follow import TICK

pytestmark = MARKS


@pytest.fixture(autouse=True)
def argo(lab: Lab, store: str) -> None:
    if not lab.serves(WORKFLOW):
        pytest.skip(f"{lab.cluster.where} serves no Workflow: Argo is not installed")
    if lab.settings.trmctl_image is None:
        pytest.skip("TRM_TEST_TRMCTL_IMAGE is not set: the image of trmctl, which pipelines need besides the trainer's")


def own(lab: Lab, backend: str) -> tuple[str, ...]:
    return (f"cluster.backend={backend}", f"cluster.trmctl_image={lab.settings.trmctl_image}")


def test_a_pipeline_builds_trains_scores_and_reports(lab: Lab, backend: str) -> None:
    run = lab.file(f"pipeline-{backend}", *own(lab, backend))
    done = lab.finish(run, "--pipeline")
    assert done.code == 0, done.text
    assert lab.trmctl("status", f"{run.job}-pipeline", "-o", "json").data["phase"] == "Succeeded"
    folder = lab.fetch(run)
    assert newest(folder).is_dir()
    assert (folder / "report.html").is_file()
    assert (folder / "eval.json").is_file()


def test_a_sweep_trains_every_point_and_puts_them_side_by_side(lab: Lab, any_backend: str) -> None:
    run = lab.file("sweep", *own(lab, any_backend))
    words = ("sweep", "-c", str(run.path), "--grid", "seed=0,1", "--yes", "--follow", "--timeout")
    done = lab.trmctl(*words, f"{lab.patient(END):.0f}s", code=None, seconds=END + 60)
    assert done.code == 0, done.text
    name = done.out.splitlines()[0].strip()
    page = lab.stored(f"_sweeps/{name}/compare.html")
    assert b"<html" in page.lower()


def test_cancelling_a_pipeline_ends_it_and_the_job_that_it_had_made(lab: Lab, any_backend: str) -> None:
    run = lab.file("stopped", *own(lab, any_backend), steps=100_000)
    lab.submit(run, "--pipeline")
    lab.until(lambda: lab.job(run), START, "the train step has made its job")
    lab.running(run)
    lab.trmctl("cancel", f"{run.job}-pipeline", "--wait", seconds=START)
    lab.gone(run)
    lab.until(
        lambda: lab.trmctl("status", f"{run.job}-pipeline", "-o", "json", code=None).data["phase"] == "Failed",
        START + TICK, "the workflow says that it is over",
    )  # fmt: skip
