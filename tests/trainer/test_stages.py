"""All stages run in one go, and what is done already is not done again."""

from pathlib import Path

import pytest

from tests.trainer.helpers import change
from trainer.__main__ import main
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


def test_a_run_is_built_trained_scored_and_reported_once(
    small_run: RunFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yml"
    file.write_text(dump(small_run))
    directory = RunDirectory.of(small_run)
    assert main(["run", str(file)]) == 0
    assert str(directory.report) in capsys.readouterr().err
    scored = directory.evaluation.stat().st_mtime_ns
    assert main(["run", str(file)]) == 0
    assert directory.evaluation.stat().st_mtime_ns == scored
    assert "step 3/12" not in capsys.readouterr().err
    file.write_text(dump(change(small_run, "evaluate.blank_identifiers=true")))
    assert main(["run", str(file)]) == 0
    assert "test_blank" in directory.evaluation.read_text()


def test_single_stages_can_be_asked_for(small_run: RunFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yml"
    file.write_text(dump(small_run))
    assert main(["run", str(file), "--stages", "build,train"]) == 0
    directory = RunDirectory.of(small_run)
    assert (directory.checkpoints / "step_00000012").is_dir()
    assert not directory.evaluation.exists()
    with pytest.raises(SystemExit) as ended:
        main(["run", str(file), "--stages", "bake"])
    assert ended.value.code == 2
    assert "there is no stage 'bake'" in capsys.readouterr().err
