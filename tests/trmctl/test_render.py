"""`trmctl render` and `trmctl validate --manifests`."""

import json
from pathlib import Path

import pytest
import yaml

from tests.trmctl.conftest import Run
from tests.trmkit.render.runs import many
from trmctl.typed import typed_problems
from trmkit.render.objects import KINDS, render
from trmkit.render.runtime import runtime
from trmkit.render.text import write_all
from trmkit.spec.run import RunFile

RUNS = many()


@pytest.mark.parametrize("run", [run for _, run in RUNS], ids=[name for name, _ in RUNS])
def test_the_operators_typed_models_lose_nothing(run: RunFile) -> None:
    for backend in KINDS:
        assert typed_problems(render(run, backend)[1]) == []  # type: ignore[arg-type]


def test_a_field_that_a_typed_model_does_not_know_is_lost_and_said() -> None:
    found = runtime()
    assert typed_problems(found) == []
    found["spec"]["mlPolicy"]["numNode"] = 2
    assert typed_problems(found) == ["spec.mlPolicy.numNode: lost by the typed model: no such field"]


def test_a_wrong_type_is_said() -> None:
    job = render(RUNS[0][1], "trainjob")[1]
    job["spec"]["trainer"]["numNodes"] = "two"
    assert "numNodes" in typed_problems(job)[0]


def test_render_prints_the_config_map_and_the_job(trmctl: Run) -> None:
    result = trmctl("render", "--set", "cluster.nodes=2", "-n", "team")
    config, job = yaml.safe_load_all(result.out)
    assert (config["kind"], job["kind"]) == ("ConfigMap", "PyTorchJob")
    assert config["metadata"]["name"] == job["metadata"]["name"]
    assert job["metadata"]["namespace"] == "team"
    assert "nothing is kept" in result.err


def test_render_as_json_is_a_list_that_kubectl_takes(trmctl: Run) -> None:
    found = json.loads(trmctl("render", "--backend", "trainjob", "-o", "json").out)
    assert [one["kind"] for one in found["items"]] == ["ConfigMap", "TrainJob"]


def test_render_writes_a_file_for_each_object(trmctl: Run, tmp_path: Path) -> None:
    result = trmctl("render", "--out", str(tmp_path / "made"))
    written = sorted(path.name.partition("-")[0] for path in (tmp_path / "made").iterdir())
    assert written == ["configmap", "pytorchjob"]
    assert len(result.out.splitlines()) == 2
    assert trmctl("validate", "--manifests", str(tmp_path / "made")).code == 0


def test_what_a_namespace_needs_once_is_printed_without_a_run_file(trmctl: Run) -> None:
    found = list(yaml.safe_load_all(trmctl("render", "--base", "-c", "none.yaml", "-n", "team").out))
    assert {one["kind"] for one in found} == {"ServiceAccount", "Role", "RoleBinding"}
    assert {one["metadata"]["namespace"] for one in found} == {"team"}
    assert all("*" not in json.dumps(one["rules"]) for one in found if one["kind"] == "Role")
    more = list(yaml.safe_load_all(trmctl("render", "--runtime", "--templates", "-n", "team").out))
    assert [one["kind"] for one in more] == ["WorkflowTemplate", "WorkflowTemplate", "ClusterTrainingRuntime"]


def test_validate_checks_both_kinds_of_job(trmctl: Run) -> None:
    out = trmctl("validate", "--manifests").out
    assert "PyTorchJob" in out
    assert "TrainJob" in out


def test_validate_says_everything_that_is_wrong_with_a_file(trmctl: Run, tmp_path: Path) -> None:
    job = render(RUNS[0][1], "pytorchjob")[1]
    job["spec"]["runPolicy"]["cleanPodPolicy"] = "Runing"
    job["spec"]["runPolicy"]["cleanPods"] = "Running"
    (tmp_path / "job.yaml").write_text(write_all([job]), encoding="utf-8")
    result = trmctl("validate", "--manifests", "job.yaml")
    assert result.code == 2
    assert "2 things are wrong" in result.err
    assert "acts like All" in result.err
    assert "cleanPods: lost by the typed model" in result.err


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "kind: Pod\nmetadata: 3"])
def test_what_is_no_manifest_is_refused(trmctl: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "odd.yaml").write_text(content, encoding="utf-8")
    result = trmctl("validate", "--manifests", "odd.yaml")
    assert result.code == 2
    assert "odd.yaml" in result.err


def test_a_run_that_a_trainjob_cannot_carry_is_only_checked_as_a_pytorchjob(trmctl: Run) -> None:
    result = trmctl("validate", "--manifests", "--set", "cluster.priority_class=high")
    assert result.code == 0
    assert "not as trainjob" in result.err
    assert (
        trmctl(
            "validate", "--manifests", "--set", "cluster.priority_class=high", "--set", "cluster.backend=trainjob"
        ).code
        == 2
    )


def test_a_run_file_is_printed_as_a_trmrun_and_back(trmctl: Run, tmp_path: Path) -> None:
    made = trmctl("render", "--as", "trmrun", "-n", "team", "--name", "mine", "--set", "seed=3")
    found = yaml.safe_load(made.out)
    assert (found["kind"], found["metadata"]) == ("TrmRun", {"name": "mine", "namespace": "team"})
    assert found["spec"]["run"]["seed"] == 3
    (tmp_path / "trmrun.yaml").write_text(made.out, encoding="utf-8")
    file = str(tmp_path / "trmrun.yaml")
    back = yaml.safe_load(trmctl("render", "--as", "run", "-c", file).out)
    assert back == found["spec"]["run"]
    assert json.loads(trmctl("render", "--as", "run", "-c", file, "-o", "json").out) == back
    assert trmctl("render", "-c", file).out == trmctl("render", "--set", "seed=3").out
    assert trmctl("validate", "-c", file).out == trmctl("validate", "--set", "seed=3").out


def test_render_prints_the_definition_of_trmrun(trmctl: Run) -> None:
    from trmkit.render.crd import definition

    assert yaml.safe_load(trmctl("render", "--crd").out) == definition()
