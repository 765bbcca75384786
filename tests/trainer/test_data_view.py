"""Built data sets are listed, shown in numbers, and drawn."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from trainer.__main__ import main
from trainer.data import build
from trmkit.spec.data import ArcData, SudokuGeneratedData

RUN = """
name: small
model: {{family: trm}}
data: {{source: sudoku-generated, side: 4, train_puzzles: 5, test_puzzles: 3, num_aug: 2}}
train: {{steps: 1}}
storage: {{data: {root}}}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with two data sets: Sudokus, and ARC tasks with a name that is markup."""
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    pairs = [{"input": [[k, 0]], "output": [[0, k]]} for k in (1, 2, 3)]
    (tasks / "<b>one&.json").write_text(json.dumps({"train": pairs[:2], "test": pairs[2:]}))
    large = [{"input": [[1] * 9], "output": [[1]]}]
    (tasks / "large.json").write_text(json.dumps({"train": large, "test": large}))
    root = tmp_path / "data"
    arc: dict[str, Any] = {"source": "arc", "collections": [str(tasks)], "test": str(tasks), "canvas": 4, "num_aug": 5}
    build(ArcData.model_validate(arc), root)
    build(SudokuGeneratedData(source="sudoku-generated", side=4, train_puzzles=5, test_puzzles=3, num_aug=2), root)
    return root


def out(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["data", *arguments]) == 0
    return capsys.readouterr().out.strip()


def test_data_sets_are_listed_with_source_rows_and_size(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arc, sudoku = json.loads(out(capsys, "list", "--root", str(root), "-o", "json"))
    assert (arc["source"], sudoku["source"]) == ("arc", "sudoku-generated")
    assert sudoku["rows"] == {"train": 15, "test": 3}
    assert sudoku["bytes"] == sum(path.stat().st_size for path in Path(sudoku["folder"]).rglob("*") if path.is_file())
    assert sudoku["built"].endswith("Z")
    head, *lines = out(capsys, "list", "--root", str(root)).splitlines()
    assert head.split()[:2] == ["FOLDER", "SOURCE"]
    assert [line.split()[1] for line in lines] == ["arc", "sudoku-generated"]
    assert out(capsys, "list", "--root", str(root / "none")) == f"no data set in {root}/none/"


@pytest.mark.parametrize("which", ["name", "folder", "run file"])
def test_one_is_shown_by_name_folder_or_run_file(
    root: Path, tmp_path: Path, which: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(RUN.format(root=root))
    [folder] = root.glob("sudoku-*")
    where = {
        "name": ["sudoku", "--root", str(root)],
        "folder": [str(folder)],
        "run file": ["-c", f"{tmp_path}/run.yaml"],
    }
    shown = json.loads(out(capsys, "show", *where[which], "-o", "json"))
    assert shown["folder"] == str(folder)
    assert shown["grid"] == "sudoku, 4 x 4"
    assert shown["splits"]["train"] == {"rows": 15, "puzzles": 15, "groups": 5, "cells": 16, "vocabulary": 6}
    assert shown["section"]["train_puzzles"] == 5


def test_what_was_left_out_and_some_names_are_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, "show", "arc", "--root", str(root))
    assert "large: has a grid of side 9" in text
    assert "such as <blank>, <b>one&" in text


def test_the_preview_draws_originals_and_augmentations_and_escapes_names(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert out(capsys, "preview", "arc", "--root", str(root), "--out", str(page)) == str(page)
    text = page.read_text()
    assert "<b>one" not in text
    assert "&lt;b&gt;one&amp;|||t" in text
    assert text.count("<svg") == 2 * 2 * 4
    assert out(capsys, "preview", "sudoku", "--root", str(root), "--rows", "2", "--out", str(page)) == str(page)
    assert page.read_text().count("<svg") == 2 * 2 * 3 + 2 * 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show"], "which data set"),
        (["show", "maze"], "there is no data set 'maze'\n  next: those in .* are: arc-"),
        (["show", ""], "2 data sets in .* begin with ''"),
    ],
)
def test_an_unclear_name_is_refused_with_what_there_is(
    root: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:

    assert main(["data", *arguments, "--root", str(root)]) == 1
    assert re.search(said, capsys.readouterr().err)


def test_a_run_file_whose_data_is_not_built_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(RUN.format(root=tmp_path / "nothing"))
    assert main(["data", "show", "-c", f"{tmp_path}/run.yaml"]) == 1
    assert "is not built\n  next: python -m trainer build" in capsys.readouterr().err
