"""The commands that hand on to the trainer, up to the point where it starts."""

from pathlib import Path

import pytest

from tests.trmctl.conftest import Run
from trmctl.stages import run_one
from trmkit.errors import StoreError
from trmkit.store.local import write_whole


@pytest.mark.parametrize("command", [("report", "x"), ("compare", "x", "y")])
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
