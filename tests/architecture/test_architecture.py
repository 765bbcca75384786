"""What holds for the whole code base: what is imported when, what is generated, how long things are."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "numba", "numpy", "kubernetes", "hera", "boto3", "kubeflow", "pydantic", "yaml", "rich"]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def imported(*arguments: str) -> set[str]:
    """Return the top packages that `python -m trmctl` with these arguments imports."""
    lines = run(sys.executable, "-X", "importtime", "-m", "trmctl", *arguments).stderr.splitlines()
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines if line.startswith("import time:")}


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("run", "--help"), ("validate", "--help")])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    found = imported(*arguments)
    assert "click" in found
    assert found.isdisjoint(HEAVY)


def test_checking_a_run_file_imports_no_numbers_library() -> None:
    found = imported("validate", "-c", "configs/arc-demo.yaml")
    assert "pydantic" in found
    assert found.isdisjoint({"torch", "numba", "numpy", "boto3", "rich"})


def test_imports_run_one_way() -> None:
    result = run(str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache")
    assert result.returncode == 0, result.stdout


def test_files_and_functions_are_short() -> None:
    folders = ["trmkit", "trainer", "trmctl", "tests", "tools", "docs", "benchmarks"]
    result = run(sys.executable, "tools/check_sizes.py", *folders)
    assert result.returncode == 0, result.stdout


def test_generated_files_are_up_to_date() -> None:
    result = run(sys.executable, "-m", "docs.generate", "--check")
    assert result.returncode == 0, result.stdout + result.stderr


def python_files() -> list[Path]:
    return [path for folder in ("trmkit", "trainer", "trmctl") for path in (ROOT / folder).rglob("*.py")]


def test_nothing_is_left_to_do_later() -> None:
    words = re.compile("TODO|FIXME|NotImplementedError")
    assert [path for path in python_files() if words.search(path.read_text(encoding="utf-8"))] == []


def test_no_exception_is_caught_unseen() -> None:
    bare = re.compile(r"^\s*except\s*:", re.MULTILINE)
    assert [path for path in python_files() if bare.search(path.read_text(encoding="utf-8"))] == []


def test_nothing_is_pickled() -> None:
    pickle = re.compile(r"^\s*(import|from) (pickle|dill|cloudpickle)\b|\bdcp\.load\(", re.MULTILINE)
    assert [path for path in python_files() if pickle.search(path.read_text(encoding="utf-8"))] == []
