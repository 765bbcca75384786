"""Before any run: doctor is content, and the API server takes everything that is rendered, field by field."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.lab import KINDS, MARKS, ROOT, Lab
from tests.cluster.setup import ALL_KINDS
from tests.trmkit.render.runs import CONFIGS, EVERYTHING, SMALL
from trmctl.cluster import POD, RUNTIME, TRAINJOB, WORKFLOW
from trmctl.preflight import pod
from trmkit.errors import ClusterConflictError
from trmkit.spec.load import loads

pytestmark = MARKS


def render(lab: Lab, *arguments: str) -> list[dict[str, Any]]:
    return list(json.loads(lab.trmctl("render", *arguments, "-n", lab.namespace, "-o", "json").out)["items"])


def taken(lab: Lab, objects: list[dict[str, Any]]) -> None:
    for found in objects:
        try:
            lab.cluster.create(ALL_KINDS[found["kind"]], found, dry_run=True)
        except ClusterConflictError:  # it is there already: then that it could be changed to this
            lab.cluster.apply(ALL_KINDS[found["kind"]], found, dry_run=True)


def everything(lab: Lab) -> Path:
    place = lab.folder / "everything.yaml"
    place.write_text(SMALL + EVERYTHING.replace("namespace: team-a", f"namespace: {lab.namespace}"), encoding="utf-8")
    return place


def test_doctor_finds_everything_in_order(lab: Lab, backend: str) -> None:
    run = lab.file("doctor", f"cluster.backend={backend}")
    done = lab.trmctl("doctor", "-c", str(run.path), "-o", "json", code=None)
    failed = [one for one in done.data["findings"] if one["state"] == "failed"]
    assert not failed, done.text
    assert done.code == 0
    checks = {one["check"] for one in done.data["findings"]}
    assert {"API server", "kinds", "operators", "dry run of a job", "rights", "PodSecurity", "run file"} <= checks


@pytest.mark.parametrize("config", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_the_server_takes_the_jobs_of_our_run_files(lab: Lab, backend: str, config: Path) -> None:
    taken(lab, render(lab, "-c", str(config), "--backend", backend))
    named = loads(config.read_text(encoding="utf-8"))
    lab.cluster.create(POD, pod(named, lab.namespace), dry_run=True)  # under PodSecurity restricted


def test_the_server_takes_a_job_that_uses_every_key(lab: Lab, backend: str) -> None:
    place = everything(lab)
    objects = render(lab, "-c", str(place), "--backend", backend)
    assert objects[1]["kind"] == KINDS[backend].kind
    taken(lab, objects)
    lab.cluster.create(POD, pod(loads(place.read_text(encoding="utf-8")), lab.namespace), dry_run=True)


def test_the_server_takes_what_a_namespace_needs(lab: Lab) -> None:
    more = {"--runtime": lab.serves(RUNTIME) and lab.serves(TRAINJOB), "--templates": lab.serves(WORKFLOW)}
    taken(lab, render(lab, "--base", *(option for option, served in more.items() if served)))


@pytest.mark.parametrize("more", [(), ("--cron", "0 3 * * *")], ids=["once", "by the clock"])
def test_the_server_takes_pipelines(lab: Lab, more: tuple[str, ...]) -> None:
    if not lab.serves(WORKFLOW):
        pytest.skip(f"{lab.cluster.where} serves no Workflow: Argo is not installed")
    run = lab.file("piped", "storage.remote=s3://bucket/prefix")
    words = ("submit", "-c", str(run.path), "--pipeline", *more, "--dry-run", "client", "-o", "json")
    taken(lab, json.loads(lab.trmctl(*words).out)["items"])


def test_a_field_that_is_none_is_refused_so_the_dry_runs_above_prove_something(lab: Lab, any_backend: str) -> None:
    config, job = render(lab, "-c", str(ROOT / "configs" / "sudoku-4x4.yaml"), "--backend", any_backend)
    job["spec"]["nodeSelectr"] = {}
    with pytest.raises(Exception, match="nodeSelectr"):
        taken(lab, [config, job])


def test_a_server_dry_run_changes_nothing(lab: Lab, backend: str) -> None:
    run = lab.file("dry", f"cluster.backend={backend}")
    done = lab.trmctl("submit", "-c", str(run.path), "--dry-run", "server")
    assert "nothing was changed" in done.err
    assert lab.job(run) is None
