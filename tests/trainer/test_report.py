"""The pages: one file each, nothing fetched, nothing executed but our filter, the numbers of eval.json."""

import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.helpers import change, train_alone
from trainer.dist import World
from trainer.evaluate import evaluate
from trainer.report.compare import compare_runs
from trainer.report.grids import draw
from trainer.report.page import write_report
from trmkit.errors import DataError
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
HOSTILE = '<script>alert("1")</script>'
OURS = files("trainer.report").joinpath("templates/gallery.js").read_text().strip()
"""The one script a page may hold."""
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects what a page asks a browser to do."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.handlers: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name.rpartition(":")[2] in ("href", "src", "srcset", "action", "data", "poster"):
                self.targets.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data.strip())
        else:
            self.text += data + " "


def expect_self_contained(text: str) -> Page:
    page = Page(text)
    assert page.open == []
    assert all(target.startswith("#") for target in page.targets)
    assert page.handlers == []
    assert all(script == OURS for script in page.scripts)
    assert page.tags.count("script") == len(page.scripts) <= 1
    assert {"link", "iframe", "object", "embed", "img", "base", "form"}.isdisjoint(page.tags)
    assert set(re.findall(r"""https?://[^"'\s<)]*""", text)) <= NAMESPACES
    assert all(link.startswith("#") for link in re.findall(r"""url\(["']?([^)"']*)""", text))
    assert "@import" not in text
    return page


def scored(run: RunFile, alone: World) -> RunDirectory:
    directory = trained(run)
    evaluate(run, directory, alone)
    return directory


def trained(run: RunFile) -> RunDirectory:
    train_alone(run)
    directory = RunDirectory.of(run)
    directory.run_file.write_text(dump(run))
    return directory


def test_a_report_is_one_file_with_the_numbers_of_eval_json(small_run: RunFile, alone: World) -> None:
    directory = scored(change(small_run, "evaluate.blank_identifiers=true"), alone)
    assert write_report(directory) == directory.report
    found = json.loads(directory.evaluation.read_text())
    page = expect_self_contained(directory.report.read_text())
    words = " ".join(page.text.split())
    for scores in found["sets"].values():
        assert f"{100 * scores['exact_accuracy']:.1f} % exactly right of {scores['count']} " in words
        puzzles = scores["puzzles"]
        assert f"{100 * scores['accuracy']:.1f} % of their cells · {puzzles['solved']} of {puzzles['count']}" in words
    assert "scored after update 12 with averaged (EMA) weights, 3 supervision steps" in words
    assert "hidden_size: 16" in words
    for title in ("Loss", "Whole puzzles right", "Right after each step", "Does it know?"):
        assert title in words
    assert page.tags.count("figure") == 3 * len(found["examples"])
    assert not list(directory.root.glob("*.tmp"))


def test_hostile_names_are_text(small_run: RunFile, alone: World) -> None:
    directory = scored(small_run, alone)
    moved = RunDirectory(directory.root.rename(directory.root.with_name("<img src=x onerror=alert(1)>")))
    environment = json.loads(moved.environment.read_text())
    moved.environment.write_text(json.dumps(environment | {"commit": HOSTILE, HOSTILE: HOSTILE}))
    evaluation = json.loads(moved.evaluation.read_text())
    named = [example | {"puzzle": HOSTILE} for example in evaluation["examples"]]
    moved.evaluation.write_text(json.dumps(evaluation | {"examples": named}))
    page = expect_self_contained(write_report(moved).read_text())
    assert page.text.count(HOSTILE) == len(named) + 3
    assert "<img src=x onerror=alert(1)>" in page.text


@pytest.mark.parametrize("text", ["{", "[]", '{"sets": 3}', '{"sets": {}, "grid": {}, "examples": {}}'])
def test_scores_of_another_kind_are_refused(small_run: RunFile, text: str) -> None:
    directory = RunDirectory.of(small_run)
    directory.root.mkdir(parents=True)
    directory.run_file.write_text(dump(small_run))
    directory.evaluation.write_text(text)
    with pytest.raises(DataError, match=r"eval\.json"):
        write_report(directory)


def test_a_report_before_evaluation_shows_the_training(small_run: RunFile) -> None:
    directory = trained(small_run)
    page = expect_self_contained(write_report(directory).read_text())
    assert "Not evaluated yet" in page.text
    assert page.tags.count("svg") == 4
    assert "figure" not in page.tags


def test_a_report_before_the_first_line_of_log_shows_the_run_file(small_run: RunFile) -> None:
    directory = RunDirectory.of(small_run)
    directory.root.mkdir(parents=True)
    directory.run_file.write_text(dump(small_run))
    page = expect_self_contained(write_report(directory).read_text())
    assert "svg" not in page.tags
    assert "hidden_size: 16" in page.text


def test_a_folder_that_is_no_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a run"):
        write_report(RunDirectory(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_eval_json_is_an_error_that_names_it(small_run: RunFile) -> None:
    directory = trained(small_run)
    directory.evaluation.write_text('{"step": 1')
    with pytest.raises(DataError, match=r"eval\.json"):
        write_report(directory)


def test_cells_that_differ_from_the_truth_are_framed() -> None:
    truth = [[1, 2], [2, 1]]
    text = draw([[1, 2], [1, 2]], "arc", "prediction", truth=truth)
    frames = re.findall(r'class="wrong" x="([\d.]+)" y="([\d.]+)"', text)
    assert [(int(float(x)), int(float(y))) for x, y in frames] == [(0, 1), (1, 1)]
    assert "wrong" not in draw(truth, "arc", "prediction", truth=truth)
    assert "wrong" not in draw([[1]], "arc", "prediction", truth=truth)
    assert "no grid" in draw([], "arc", "prediction", truth=truth)


def test_the_digits_that_were_given_are_bold_and_blanks_are_empty() -> None:
    text = draw([[1, 0], [3, 4]], "sudoku", "prediction", given=[[1, 0], [0, 0]])
    assert re.findall(r"<text[^>]*>(\d)", text) == ["1", "3", "4"]
    assert re.findall(r'class="given">(\d)', text) == ["1"]


@pytest.mark.parametrize("kind", ["sudoku", "arc", "maze", "sequence"])
def test_a_cell_that_is_no_number_is_never_drawn(kind: str) -> None:
    cells: Any = [["</svg><script>"]]
    with pytest.raises((TypeError, ValueError)):
        draw(cells, kind, "prediction")


def test_every_wrong_cell_of_a_report_is_framed_and_counted(small_run: RunFile, alone: World) -> None:
    directory = scored(small_run, alone)
    text = write_report(directory).read_text()
    wrong = []
    for row in json.loads(directory.evaluation.read_text())["examples"]:
        pairs = [pair for rows in zip(row["prediction"], row["truth"], strict=True) for pair in zip(*rows, strict=True)]
        wrong.append(sum(a != b for a, b in pairs))
    assert sum(wrong) > 0
    assert text.count('<rect class="wrong"') == sum(wrong)
    assert re.findall(r"(\d+) of 16 cells wrong", text) == [str(count) for count in wrong if count]


def test_a_comparison_lists_the_keys_that_differ_and_no_others(
    small_run: RunFile, tmp_path: Path, alone: World
) -> None:
    other = change(small_run, "train.lr=2e-3", "seed=5", "evaluate.examples=1", "cluster.nodes=2")
    directories = [scored(run, alone) for run in (small_run, other)]
    page = tmp_path / "compare.html"
    found = json.loads(compare_runs(directories, "json", page))
    assert found["differences"] == {"train.lr": [0.001, 0.002], "evaluate.examples": [4, 1], "seed": [0, 5]}
    for run, directory in zip(found["runs"], directories, strict=True):
        sets = json.loads(directory.evaluation.read_text())["sets"]
        assert run["run"] == f"small/{directory.root.name}"
        assert run["updates"] == 12
        assert run["results"]["test cells"] == sets["test"]["accuracy"]
        assert run["results"]["fit exact"] == sets["fit"]["exact_accuracy"]
    table = compare_runs(directories, "table")
    assert re.search(r"^train\.lr +0\.001 +0\.002$", table, re.MULTILINE)
    assert "hidden_size" not in table
    words = " ".join(expect_self_contained(page.read_text()).text.split())
    assert "train.lr 0.001 0.002" in words
    assert all(run["run"] in words for run in found["runs"])


def test_a_run_without_scores_can_be_compared(small_run: RunFile, tmp_path: Path, alone: World) -> None:
    done = scored(small_run, alone)
    begun = RunDirectory.of(change(small_run, "seed=3"))
    begun.root.mkdir(parents=True)
    begun.run_file.write_text(dump(change(small_run, "seed=3")))
    table = compare_runs([done, begun], "table", tmp_path / "compare.html")
    assert re.search(r"^updates +12 +0$", table, re.MULTILINE)
    assert re.search(r"^test exact +\S+ +–$", table, re.MULTILINE)
    expect_self_contained((tmp_path / "compare.html").read_text())


def test_the_same_experiment_twice_differs_in_nothing(small_run: RunFile, tmp_path: Path) -> None:
    directory = trained(small_run)
    found = json.loads(compare_runs([directory, directory], "json", tmp_path / "compare.html"))
    assert found["differences"] == {}
    assert "they are the same experiment" in (tmp_path / "compare.html").read_text()


def test_a_folder_that_is_no_run_cannot_be_compared(small_run: RunFile, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a run"):
        compare_runs([trained(small_run), RunDirectory(tmp_path / "none")], "table")
