"""The commands that need no trainer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trmctl.conftest import GOOD, Run
from trmctl.cli import COMMANDS, cli
from trmkit import __version__
from trmkit.spec.load import load, loads

CONFIGS = Path(__file__).parents[2] / "configs"


def test_help_lists_every_command(trmctl: Run) -> None:
    result = trmctl("--help")
    assert result.code == 0
    assert all(f"  {name} " in result.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_help_is_the_first_line_of_the_commands_own(name: str, trmctl: Run) -> None:
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.name == name
    assert (command.help or "").splitlines()[0] == COMMANDS[name]
    assert trmctl(name, "-h").code == 0


def test_the_version_is_printed(trmctl: Run) -> None:
    assert trmctl("--version").out == f"trmctl {__version__}\n"


def test_a_wrong_command_is_refused_with_a_suggestion(trmctl: Run) -> None:
    result = trmctl("vaildate")
    assert (result.code, result.out) == (2, "")
    assert "there is no command 'vaildate'; did you mean 'validate'?" in result.err


def test_a_wrong_option_is_refused(trmctl: Run) -> None:
    result = trmctl("validate", "--nope")
    assert result.code == 2
    assert "No such option" in result.err


def test_validate_says_ok_with_name_and_id(trmctl: Run) -> None:
    result = trmctl("validate")
    assert result.code == 0
    assert result.out.startswith("ok: little (")
    assert trmctl("validate", "-o", "name").out.startswith("little/")


def test_validate_prints_the_resolved_file(trmctl: Run) -> None:
    assert loads(trmctl("validate", "-o", "yaml").out) == loads(GOOD)
    assert json.loads(trmctl("validate", "-o", "json").out)["train"]["lr"] == 1e-4


def test_validate_says_everything_wrong_on_stderr(trmctl: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(GOOD.replace("steps", "stesp"), encoding="utf-8")
    result = trmctl("validate", "-c", "bad.yaml", "--set", "train.lr=fast")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: bad.yaml: ")
    assert "bad.yaml:5: train.stesp: unknown key; did you mean 'steps'?" in result.err
    assert "--set train.lr=fast: train.lr: expected a number" in result.err
    assert "\n  next: " in result.err


def test_a_missing_run_file_is_said(trmctl: Run) -> None:
    result = trmctl("validate", "-c", "absent.yaml")
    assert result.code == 2
    assert result.err.startswith("error: absent.yaml: there is no such file\n  next: ")


def test_schema_is_json_on_stdout(trmctl: Run) -> None:
    assert json.loads(trmctl("schema").out)["properties"]["train"]


def test_explain_prints_a_key(trmctl: Run) -> None:
    result = trmctl("explain", "train.lr")
    assert "Peak learning rate." in result.out
    assert "number above 0" in result.out
    assert json.loads(trmctl("explain", "train.lr", "-o", "json").out)["explain"][0]["default"] == "0.0001"


def test_explain_prints_a_section_without_cutting_it(trmctl: Run) -> None:
    lines = trmctl("explain", "train").out.splitlines()
    assert lines[0] == "train"
    assert any(line.startswith("batch_size") and line.endswith("must divide it.") for line in lines)


def test_explain_lists_names(trmctl: Run) -> None:
    assert "seed" in trmctl("explain", "-o", "name").out.splitlines()
    assert "explain:" in trmctl("explain", "train.lr", "-o", "yaml").out


def test_explain_suggests(trmctl: Run) -> None:
    result = trmctl("explain", "train.lrr")
    assert result.code == 2
    assert "did you mean 'lr'?" in result.err


def test_init_writes_a_run_file_and_its_schema(trmctl: Run, tmp_path: Path) -> None:
    result = trmctl("init", "new.yaml", "--template", "sudoku-4x4")
    assert (result.code, result.out) == (0, "")
    lines = (tmp_path / "new.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# yaml-language-server: $schema=runfile.schema.json"
    assert json.loads((tmp_path / "runfile.schema.json").read_text(encoding="utf-8")) == json.loads(
        trmctl("schema").out
    )
    assert load(tmp_path / "new.yaml") == load(CONFIGS / "sudoku-4x4.yaml")


def test_init_does_not_overwrite_unless_forced(trmctl: Run, tmp_path: Path) -> None:
    result = trmctl("init")
    assert result.code == 2
    assert "run.yaml exists" in result.err
    assert (tmp_path / "run.yaml").read_text(encoding="utf-8") == GOOD
    assert trmctl("init", "--force").code == 0
    assert load(tmp_path / "run.yaml").name == "arc-demo"


def test_init_suggests_a_template(trmctl: Run) -> None:
    result = trmctl("init", "x.yaml", "--template", "arcdemo")
    assert result.code == 2
    assert "did you mean 'arc-demo'?" in result.err
    assert trmctl("init", "--list").out.splitlines() == sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def test_init_into_a_folder_that_cannot_be_made_is_an_error(trmctl: Run) -> None:
    result = trmctl("init", "run.yaml/x.yaml")
    assert result.code == 1
    assert "cannot be written" in result.err


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trmctl", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_process_leaves_with_the_exit_code_and_no_traceback() -> None:
    result = python("validate", "-c", "absent.yaml")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in python("validate", "-c", "absent.yaml", TRM_DEBUG="1").stderr


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m trmctl schema | head -c 1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.stdout == "{"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_shows_an_example(trmctl: Run, name: str) -> None:
    assert "Example" in trmctl(name, "--help").out
