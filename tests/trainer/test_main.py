"""`python -m trainer`: stdout is data, stderr is talk, and the exit code says what happened."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from tests.trainer.helpers import SMALL_RUN, change
from trainer import checkpoint
from trainer.__main__ import COMMANDS, main, parser
from trmkit.errors import SpecError
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


@pytest.fixture
def file(small_run: RunFile, tmp_path: Path) -> Path:
    """Return the small run's file."""
    path = tmp_path / "small.yaml"
    path.write_text(dump(small_run))
    return path


def test_a_wrong_run_file_is_explained_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(SMALL_RUN.replace("batch_size", "batchsize").replace("halt_max_steps: 3", "halt_max_steps: three"))
    assert main(["train", str(path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert "next: " in output.err
    for words in (f"{path.name}:", "batchsize", "batch_size", "halt_max_steps"):
        assert words in output.err
    assert "Traceback" not in output.err


def test_a_run_file_that_is_not_there_is_a_wrong_run_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(tmp_path / "none.yaml")]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_a_wrong_override_is_explained(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(file), "--set", "train.lr=fast"]) == 2
    assert "--set train.lr=fast" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["fly"], ["train"], ["train", "x.yaml", "--fast"], ["compare"]])
def test_wrong_arguments_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage: python -m trainer" in capsys.readouterr().err


def test_a_missing_checkpoint_is_a_failure(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["evaluate", str(file)], ["evaluate", str(file), "--checkpoint", "best"]):
        assert main(arguments) == 1
        output = capsys.readouterr()
        assert output.out == ""
        assert "checkpoint" in output.err
        assert "next: " in output.err
    assert main(["export", str(file), str(file.with_name("theirs"))]) == 1
    assert not file.with_name("theirs").exists()


def test_a_developer_gets_the_traceback(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRM_DEBUG", "1")
    with pytest.raises(SpecError):
        main(["train", str(file), "--set", "train.lr=fast"])


def test_build_prints_the_folder_and_a_second_build_finds_it(
    small_run: RunFile, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", str(file)]) == 0
    first = capsys.readouterr().out
    assert (Path(first.strip()) / "train" / "dataset.json").is_file()
    assert Path(first.strip()).parent == Path(small_run.storage.data)
    assert main(["build", str(file)]) == 0
    assert capsys.readouterr().out == first


def test_describe_prints_json_that_scripts_can_read(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(file), "-o", "json", "--rate", "100", "--set", "train.steps=50"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "small"
    assert found["time"]["seconds"] == 50 * 8 / 100
    assert main(["describe", str(file), "--gpu", "abacus"]) == 2
    assert "H100" in capsys.readouterr().err


def test_a_run_goes_through_its_stages_in_its_own_folder(
    small_run: RunFile, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(file)]) == 0
    directory = RunDirectory.of(small_run)
    assert checkpoint.steps(directory.checkpoints)[-1] == 12
    moved = RunDirectory(directory.root.rename(file.with_name("0123abcd")))
    assert main(["evaluate", str(moved.run_file)]) == 0
    assert json.loads(moved.evaluation.read_text())["step"] == 12
    assert capsys.readouterr().out == ""
    assert main(["report", str(moved.run_file)]) == 0
    assert capsys.readouterr().out.strip() == str(moved.report)
    assert main(["compare", str(moved.root), str(moved.root), "-o", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2
    assert not directory.root.exists()


def test_a_folder_that_is_no_run_cannot_be_reported(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(file)]) == 1
    assert "is not a run" in capsys.readouterr().err
    assert main(["compare", str(file.parent)]) == 1
    assert "is not a run" in capsys.readouterr().err


def test_a_stop_by_signal_ends_with_its_number(
    small_run: RunFile, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["train.steps=100000", "evaluate.every_steps=null", "train.checkpoint.every_steps=null"]
    metrics = RunDirectory.of(change(small_run, *overrides)).metrics
    ended = threading.Event()

    def stop() -> None:
        while not ended.wait(0.01):
            if metrics.exists() and metrics.stat().st_size:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    watcher = threading.Thread(target=stop)
    watcher.start()
    try:
        assert main(["train", str(file), *(word for override in overrides for word in ("--set", override))]) == 143
    finally:
        ended.set()
        watcher.join()
    assert "saved at step" in capsys.readouterr().err


def test_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    for name, (_, text) in COMMANDS.items():
        with pytest.raises(SystemExit) as left:
            parser().parse_args([name, "--help"])
        assert left.value.code == 0
        assert text in capsys.readouterr().out
