"""`make observe`, as somebody types it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.full
def test_a_run_is_observed_from_its_start_to_its_end(tmp_path: Path) -> None:
    for name in ("configs", "helm"):
        shutil.copytree(ROOT / name, tmp_path / name)
    keys = ["train.steps=10", "train.threads=1", "evaluate.every_steps=10", "evaluate.sample=10"]
    command = [sys.executable, "-m", "tools.observe", "--once", "--no-open", *keys]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "the page is at http://127.0.0.1:" in done.stderr
    assert list(tmp_path.glob("runs/observe/runs/sudoku-4x4/*/report.html"))
