"""The stage `features` is one only of runs that read text: on a laptop, as a job, in a pipeline."""

import json
from pathlib import Path

import pytest

from tests.trainer.helpers import change
from trmkit.errors import SpecError
from trmkit.hints import hints
from trmkit.render.names import JOB, NamedRun
from trmkit.render.objects import remarks, render
from trmkit.render.workflow import READS_TEXT, pipeline
from trmkit.spec.load import load
from trmkit.spec.run import RunFile
from trmkit.stages import NAMES, stages_of
from trmkit.store.layout import run_id

MODEL = "features.reader=meta-llama/Llama-3.1-8B-Instruct"


def names(run: RunFile) -> list[str]:
    return [stage.name for stage in stages_of(run)]


def test_a_run_has_the_stage_if_it_reads_text_and_keeps_it(reading_run: RunFile, small_run: RunFile) -> None:
    assert names(reading_run) == list(NAMES) == ["build", "features", "train", "evaluate", "report"]
    assert names(small_run) == ["build", "train", "evaluate", "report"]
    assert names(change(reading_run, "features.online=true")) == names(small_run)


def test_a_pipeline_is_told_whether_to_read(reading_run: RunFile, small_run: RunFile) -> None:
    for run, reads in ((reading_run, "true"), (small_run, None)):
        _, workflow = pipeline(change(run, "storage.remote=s3://bucket/prefix"))
        given = {one["name"]: one["value"] for one in workflow["spec"]["arguments"]["parameters"]}
        assert given.get(READS_TEXT) == reads
        assert "features-pod" not in given
        assert json.loads(given["evaluate-pod"])


def test_the_job_that_reads_has_a_name_beside_the_one_that_trains(reading_run: RunFile) -> None:
    named = {
        stages: render(reading_run, "pytorchjob", stages=stages)
        for stages in (("features",), ("train",), ("build", "features"), NAMES)
    }
    jobs = {stages: body["metadata"]["name"] for stages, (_, body) in named.items()}
    identity = run_id(reading_run)
    assert jobs[("features",)] == f"reading-{identity}-features"
    assert {name for stages, name in jobs.items() if stages != ("features",)} == {f"reading-{identity}"}
    config, body = named[("features",)]
    assert config["metadata"]["name"] == body["metadata"]["labels"][JOB] == jobs[("features",)]
    assert '"--stages", "features"' in json.dumps(body)
    for length in (1, 20, 50):
        found = NamedRun.of(change(reading_run, f"name={'n' * length}"), ("features",))
        assert len(found.job) <= 45
        assert found.job.endswith(f"{found.id}-features")


def test_a_person_is_told_what_reading_takes(reading_run: RunFile) -> None:
    assert hints(reading_run) == []
    run = change(reading_run, MODEL, "data.num_aug=1000")
    assert [line for line in hints(run) if "up to 1,001 variants" in line]
    assert [line for line in hints(change(run, "features.online=true")) if "stays in memory" in line]
    assert [line for line in remarks(run) if "cluster.env.HF_HOME" in line]
    assert not [line for line in remarks(change(run, "cluster.env={HF_HOME: /models}")) if "HF_HOME" in line]
    assert [line for line in remarks(change(run, "features.reader=/models/llama")) if "in no volume" in line]
    volume = "cluster.volumes=[{kind: pvc, name: models, claim: models, mount_path: /models}]"
    for folder, outside in (("/models/llama", False), ("/models", False), ("/models-old/llama", True)):
        said = remarks(change(run, f"features.reader={folder}", volume))
        assert any("in no volume" in line for line in said) == outside


def test_a_laptop_runs_it_between_building_and_training(
    reading_run: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from trmctl.stages import Trainer, run_stages

    monkeypatch.chdir(tmp_path)
    (tmp_path / "trainer.py").write_text("import sys; print(*sys.argv[1:], file=sys.stderr)")
    assert run_stages(Path("run.yaml"), stages_of(reading_run), Trainer(("trainer.py",)), 1, "again") == 0
    said = capfd.readouterr().err.splitlines()
    assert said[:4] == ["[1/5] build", "build run.yaml", "[2/5] features", "features run.yaml"]


@pytest.mark.parametrize("name", ["hybrid-demo", "hybrid-phase1", "hybrid-mvp", "hybrid-full"])
def test_the_run_files_that_read_text_can_be_pipelines(name: str) -> None:
    run = load(Path(__file__).parents[3] / "configs" / f"{name}.yaml", ["storage.remote=s3://bucket/prefix"])
    assert len(pipeline(run)) == 2


def test_a_run_that_keys_do_not_fit_names_both(reading_run: RunFile) -> None:
    with pytest.raises(SpecError, match=r"features.width: .* model.text_hidden_size"):
        change(reading_run, "features.width=32")
