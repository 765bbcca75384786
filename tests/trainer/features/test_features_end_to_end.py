"""A run that reads text goes all the way: read, trained, resumed, scored and asked, alone and on two processes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.features.conftest import task
from tests.trainer.features.test_features_kept import on_two, opened, replace_model, written
from tests.trainer.helpers import change, expect_near, final_state, fingerprint, newest_state, train_alone
from trainer.__main__ import main
from trainer.dist import World
from trainer.evaluate import evaluate
from trainer.features.stage import read_features
from trainer.inference import Solver
from trainer.stages import is_scored
from trmkit.errors import CheckpointError, DataError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


@pytest.fixture(params=["hash", "llama"])
def run(request: pytest.FixtureRequest, reading_run: RunFile) -> RunFile:
    """Return the run with either reader."""
    if request.param == "hash":
        return reading_run
    return change(reading_run, f"features.reader={request.getfixturevalue('tiny_llama')}", "features.max_length=512")


def test_all_stages_run_and_what_is_done_is_not_done_again(
    run: RunFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, directory = written(run, tmp_path), RunDirectory.of(run)
    assert main(["run", file]) == 0
    assert "0 found, 36 read" in capsys.readouterr().err
    assert is_scored(run, directory)
    assert directory.report.is_file()
    assert main(["run", file]) == 0
    assert "36 found, 0 read" in capsys.readouterr().err


def test_training_alone_reads_with_the_hashing_reader_and_with_no_other(run: RunFile) -> None:
    assert run.features is not None
    if run.features.reader == "hash":
        assert train_alone(run) == 6
        return
    with pytest.raises(DataError, match="the text of this data set has not been read"):
        train_alone(run)


def test_online_and_kept_text_train_the_same_weights(run: RunFile, tmp_path: Path) -> None:
    kept, online = change(run, "name=kept"), change(run, "name=online", "features.online=true")
    assert main(["run", written(kept, tmp_path), "--stages", "build,features,train"]) == 0
    train_alone(online)
    assert fingerprint(RunDirectory.of(kept).checkpoints) == fingerprint(RunDirectory.of(online).checkpoints)


def test_a_run_goes_on_bit_for_bit_and_not_with_another_reader(run: RunFile, tmp_path: Path) -> None:
    file = written(run, tmp_path)
    assert main(["run", file, "--stages", "build,features,train"]) == 0
    checkpoints = RunDirectory.of(run).checkpoints
    whole = fingerprint(checkpoints)
    for path in (checkpoints / "step_00000006").iterdir():
        path.unlink()
    (checkpoints / "step_00000006").rmdir()
    assert train_alone(run) == 6
    assert fingerprint(checkpoints) == whole
    other = change(run, "features.reader=hash", "features.max_length=300")
    checkpoints.parent.rename(RunDirectory.of(other).root)
    with pytest.raises(CheckpointError, match="was made with another features"):
        train_alone(other)


def test_a_checkpoint_of_a_model_that_was_replaced_is_not_gone_on_with_nor_its_scores_kept(
    reading_run: RunFile, tiny_llama: Path, tmp_path: Path, alone: World
) -> None:
    model = shutil.copytree(tiny_llama, tmp_path / "model")
    run = change(reading_run, f"features.reader={model}", "features.max_length=512")
    directory = RunDirectory.of(run)
    assert main(["run", written(run, tmp_path), "--stages", "build,features,train,evaluate"]) == 0
    assert is_scored(run, directory)
    aside = model.rename(tmp_path / "aside")
    assert is_scored(run, directory)
    replace_model(aside.rename(model))
    assert not is_scored(run, directory)
    read_features(run, alone)
    for go_on in (lambda: train_alone(run), lambda: evaluate(run, directory, alone)):
        with pytest.raises(CheckpointError, match="was made with another features"):
            go_on()
    assert not is_scored(run, directory)


def test_a_checkpoint_of_a_model_that_was_replaced_is_not_gone_on_with_online(
    reading_run: RunFile, tiny_llama: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_llama, tmp_path / "model")
    run = change(reading_run, f"features.reader={model}", "features.max_length=512", "features.online=true")
    train_alone(run)
    replace_model(model)
    with pytest.raises(CheckpointError, match="was made with another features"):
        train_alone(run)


def test_two_processes_read_train_and_score_and_learn_what_one_does(run: RunFile, tmp_path: Path) -> None:
    children = on_two("run", written(run, tmp_path))
    said = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert is_scored(run, RunDirectory.of(run))
    expect_near(newest_state(run), final_state(change(run, f"storage.path={tmp_path / 'alone'}")))


@pytest.mark.parametrize("layout", ["edges", "corners"])
def test_a_prediction_is_given_the_text_that_the_row_had(
    run: RunFile, tmp_path: Path, alone: World, layout: str
) -> None:
    run = change(run, f"data.layout={layout}")
    assert main(["run", written(run, tmp_path), "--stages", "build,features,train"]) == 0
    split = opened(run, alone)["test"]
    solver = Solver.load(RunDirectory.of(run).root)
    given = json.loads((tmp_path / "tasks" / "two.json").read_text())
    [question] = solver._kind.read(json.dumps(given), "two", 16)
    rows = np.array([int(np.flatnonzero(split.row_identifiers == one)[0]) for one in question.identifiers])
    assert np.array_equal(question.rows, split.inputs[rows])
    assert solver._texts is not None
    assert np.array_equal(solver._texts.of(question.prompts), split.beside["text"].get(rows))
    [answer] = solver.solve(given, name="two")
    assert answer.note == ""


def test_a_task_that_is_new_is_answered_by_its_text_even_where_no_data_set_is(run: RunFile, tmp_path: Path) -> None:
    assert main(["run", written(run, tmp_path), "--stages", "build,features,train"]) == 0
    shutil.rmtree(run.storage.data)
    solver = Solver.load(RunDirectory.of(run).root)
    [answer] = solver.solve(task(7), name="new")
    assert "goes by the text of its examples alone" in answer.note
    with pytest.raises(DataError, match="has no train pairs"):
        solver.solve({"test": task(7)["test"]}, name="new")
