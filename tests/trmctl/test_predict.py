"""`trmctl predict` finds the model, hands the puzzle on, and passes the answer and the exit code back."""

import io
import json
import sys
from pathlib import Path

import pytest

from tests.trmctl.conftest import Run
from trmctl.stages import Trainer, run_one

RUN = """\
name: small
model: {family: trm, hidden_size: 16, num_heads: 2, H_cycles: 1, L_cycles: 1, halt_max_steps: 2,
        puzzle_emb_ndim: 0, puzzle_emb_len: 0, forward_dtype: float32}
data: {source: sudoku-generated, side: 4, train_puzzles: 8, test_puzzles: 2, num_aug: 0}
train: {steps: 1, batch_size: 8, threads: 1, device: cpu}
"""
PUZZLE = "1.3.3.1.2.4.4.2."


def test_a_puzzle_is_answered_from_the_command_line_a_file_and_stdin(
    trmctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.yaml").write_text(RUN)
    assert run_one(Trainer().command("train", "run.yaml")) == 0
    line = trmctl("predict", "small", PUZZLE, "-o", "json")
    assert line.code == 0
    answers = json.loads(line.out)["answers"]
    assert [len(answer["text"]) for answer in answers] == [16]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{PUZZLE}\n{PUZZLE}\n".encode())))
    [checkpoint] = (tmp_path / "runs" / "small").glob("*/checkpoints/step_00000001")
    stdin = trmctl("predict", str(checkpoint), "-")
    assert stdin.code == 0
    assert [text.split(":")[0] for text in stdin.out.splitlines() if text.startswith("line")] == ["line 1", "line 2"]
    (tmp_path / "puzzles.txt").write_text(f"{PUZZLE}\n.x..............\n")
    file = trmctl("predict", "small", "puzzles.txt")
    assert (file.code, file.out) == (1, "")
    assert file.err.startswith("error: puzzles.txt: line 2, column 2: 'x' is no digit up to 4 and no blank\n")


def test_an_unknown_run_is_refused_before_anything_starts(trmctl: Run) -> None:
    result = trmctl("predict", "x", PUZZLE)
    assert result.code == 1
    assert "error: there is no run 'x'" in result.err


@pytest.mark.parametrize("command", [("predict", PUZZLE), ("evaluate",), ("report",)])
def test_a_run_in_a_store_is_to_be_fetched_first(trmctl: Run, command: tuple[str, ...]) -> None:
    name, *more = command
    result = trmctl(name, "s3://bucket/prefix/demo/1a2b3c4d", *more)
    assert result.code == 1
    assert "next: trmctl fetch s3://bucket/prefix/demo/1a2b3c4d" in result.err
