"""`trmctl` with the real trainer, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

SMALL = """
name: small
model: {family: trm, hidden_size: 16, num_heads: 2, H_cycles: 2, L_cycles: 1, halt_max_steps: 3,
        puzzle_emb_ndim: 0, puzzle_emb_len: 0, forward_dtype: float32}
data: {source: sudoku-generated, side: 4, train_puzzles: 40, test_puzzles: 24, num_aug: 3}
train: {steps: 12, batch_size: 8, warmup_steps: 2, lr: 1e-3, threads: 1, device: cpu}
evaluate: {every_steps: 6, sample: 16, fit_sample: 8, examples: 4, blank_identifiers: true}
"""


def trmctl(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "trmctl", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_run_on_two_processes_from_the_file_to_the_report(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(SMALL)
    first = trmctl(tmp_path, "run", "--nproc", "2")
    assert first.returncode == 0, first.stderr
    (directory,) = (tmp_path / "runs" / "small").iterdir()
    assert {path.name for path in directory.iterdir()} >= {
        "run.yaml", "environment.json", "metrics.jsonl", "checkpoints", "eval.json", "report.html",
    }  # fmt: skip
    assert json.loads((directory / "environment.json").read_text())["processes"] == 2
    assert json.loads((directory / "eval.json").read_text())["step"] == 12
    relative = directory.relative_to(tmp_path)
    assert first.stdout == f"done, see {relative}/report.html\n"
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    assert trmctl(tmp_path, "run").stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before
    table = trmctl(tmp_path, "compare", str(relative), str(relative), "--page", "both.html")
    assert table.returncode == 0, table.stderr
    assert "test exact" in table.stdout
    assert (tmp_path / "both.html").is_file()


def test_describe_speaks_json_and_allocates_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(SMALL)
    done = trmctl(tmp_path, "describe", "-o", "json", "--set", "model.hidden_size=4096", "--gpu", "H100")
    found = json.loads(done.stdout)
    assert found["parameters"]["trainable"] > 100_000_000
    assert found["time"]["seconds"] > 0
    assert not (tmp_path / "runs").exists()
