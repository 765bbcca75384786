"""The commands that hand on to the trainer, up to the point where it starts."""

from pathlib import Path

import pytest

from tests.trmctl.conftest import Run
from trmctl.stages import run_one
from trmkit.errors import StoreError
from trmkit.store.local import write_whole


@pytest.mark.parametrize("command", [("report", "x"), ("compare", "x", "y"), ("evaluate", "x")])
def test_an_unknown_run_is_refused_before_anything_starts(trmctl: Run, command: tuple[str, ...]) -> None:
    result = trmctl(*command)
    assert result.code == 1
    assert "error: there is no run 'x'" in result.err


@pytest.mark.parametrize("command", ["run", "describe"])
def test_a_wrong_run_file_is_refused_before_anything_starts(trmctl: Run, command: str) -> None:
    result = trmctl(command, "--set", "train.lr=fast")
    assert result.code == 2
    assert "--set train.lr=fast: train.lr: expected a number" in result.err


def test_comparing_needs_two_runs(trmctl: Run) -> None:
    assert trmctl("compare", "one").code == 2


@pytest.mark.parametrize("option", [("--sample", "0"), ("--checkpoint", "newest")])
def test_evaluate_refuses_what_it_cannot_do_before_anything_starts(trmctl: Run, option: tuple[str, str]) -> None:
    assert trmctl("evaluate", "x", *option).code == 2


def test_evaluate_hands_its_options_to_the_trainer(trmctl: Run, tmp_path: Path) -> None:
    directory = tmp_path / "runs" / "little" / "0123abcd"
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "run.yaml").write_text((tmp_path / "run.yaml").read_text())
    options = ("--checkpoint", "best", "--sample", "3", "--set", "evaluate.batch_size=2")
    result = trmctl("evaluate", "little", *options)
    assert result.code == 1
    assert "no best checkpoint is known" in result.err
    wrong = trmctl("evaluate", "little", "--set", "evaluate.batchsize=2")
    assert wrong.code == 2
    assert "evaluate.batchsize" in wrong.err


def test_the_exit_code_of_a_signal_is_128_and_its_number() -> None:
    assert run_one(["sh", "-c", "exit 3"]) == 3
    assert run_one(["sh", "-c", "kill -KILL $$"]) == 137


def test_a_file_is_whole_or_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_whole(path, "one")
    write_whole(path, "two")
    assert path.read_text() == "two"
    assert [item.name for item in path.parent.iterdir()] == ["b.txt"]
    with pytest.raises(StoreError, match="cannot be written"):
        write_whole(path / "c", "three")


def test_data_sets_are_listed_and_a_wrong_run_file_is_refused_before(trmctl: Run) -> None:
    assert trmctl("data", "list").out == "no data set in data/\n"
    assert trmctl("data", "show", "-c", "run.yaml", "--set", "train.lr=fast").code == 2
