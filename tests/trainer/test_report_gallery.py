"""The page of a run whose answers were voted on, or tried several times."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.helpers import change
from tests.trainer.test_report import HOSTILE, expect_self_contained
from trainer.report.gallery import status_of
from trainer.report.page import write_report
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

INTERVAL = {"low": 0.1, "high": 0.9, "method": "Wilson"}


def passed(*shares: float) -> dict[str, Any]:
    ks = ("1", "2")[: len(shares)]
    return {"pass_at": dict(zip(ks, shares, strict=True)), "intervals": dict.fromkeys(ks, INTERVAL)}


def task(name: str, *places: int | None) -> dict[str, Any]:
    tests = [
        {
            "question": [[1]],
            "truth": [[2, 3]],
            "answers": [{"grid": [[2, 3]] if place == 1 else [[2, 4]], "votes": 3, "confidence": 0.25}],
            "place": place,
            "ballots": 7,
        }
        for place in places
    ]
    return {"task": name, "demonstrations": [[[[1]], [[2]]]], "tests": tests}


def evaluation(**changed: Any) -> dict[str, Any]:
    compute = [{"steps": 1, "rollouts": 1, "calls": 1.0, "exact_accuracy": 0.25},
               {"steps": 2, "rollouts": 1, "calls": 2.0, "exact_accuracy": 0.5},
               {"steps": 2, "rollouts": 2, "calls": 4.0, "exact_accuracy": 0.75}]  # fmt: skip
    test = {
        "count": 40, "exact_accuracy": 0.5, "accuracy": 0.9, "steps": 2.0, "interval": INTERVAL, "compute": compute,
        "exact_accuracy_by_step": [0.25, 0.5], "calibration": {"bins": []}, "puzzles": {"count": 4, "solved": 1},
        "voting": {"tasks": 3, "test_inputs": 4, "ballots": 80, **passed(0.25, 0.5), "single_pass": passed(0.125)},
        "ensemble": {"steps": [6, 9], "ballots": 160, **passed(0.75, 1.0)},
        "paths": {"count": 40, "valid": 0.7, "shortest": 0.6, "exact": 0.5,
                  "intervals": dict.fromkeys(("valid", "shortest", "exact"), INTERVAL)},
    }  # fmt: skip
    return {
        "step": 9, "weights": "raw", "supervision_steps": 2, "early_exit": None, "seconds": 1.0, "examples": [],
        "scope": {"unit": "tasks", "scored": 3, "total": 400}, "sets": {"test": test},
        "rollouts": {"count": 2, "noise": 0.5, "select": "q_halt"},
        "grid": {"kind": "arc", "height": 3, "width": 3},
        "gallery": [task("one", 1), task("two", 1, 4), task(HOSTILE, None, 1)],
        **changed,
    }  # fmt: skip


@pytest.fixture
def directory(small_run: RunFile) -> RunDirectory:
    made = RunDirectory.of(small_run)
    made.root.mkdir(parents=True)
    made.run_file.write_text(dump(small_run))
    return made


def words_of(directory: RunDirectory, content: dict[str, Any]) -> str:
    directory.evaluation.write_text(json.dumps(content))
    return " ".join(expect_self_contained(write_report(directory).read_text()).text.split())


def test_single_pass_vote_and_ensemble_stand_under_names_of_their_own(directory: RunDirectory) -> None:
    words = words_of(directory, evaluation())
    assert "Single pass the answer to each task as it is, without any vote 12.5 % (10.0–90.0)" in words
    assert "Vote of this checkpoint 80 ballots 25.0 % (10.0–90.0) 50.0 % (10.0–90.0)" in words
    assert "Ensemble of checkpoints 160 ballots of the checkpoints 6, 9; not the score of one model 75.0 %" in words
    assert "Scored on 3 of 400 tasks of the test set." in words
    assert "2 rollouts with noise 0.5, chosen by the q-head" in words
    assert "Shortest and no other path is shorter 60.0 % (10.0–90.0)" in words


def test_every_task_shows_demonstrations_truth_and_answers_with_their_votes(directory: RunDirectory) -> None:
    words = words_of(directory, evaluation())
    text = directory.report.read_text()
    assert re.findall(r'data-status="(\w+)" data-name="([^"]*)"', text) == [
        ("right", "one"), ("found", "two"), ("wrong", "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;")
    ]  # fmt: skip
    for title in ("All 3", "Right 1", "Found, not first 1", "Wrong 1"):
        assert title in words
    assert words.count("3 of 7 votes, 25 % sure") == 5
    assert "test 2: the truth is answer 4" in words
    assert "test 1: the truth got no vote" in words
    assert text.count('<rect class="wrong"') == 2
    assert words.count("answer 1 ✓") == 3


def test_what_compute_buys_is_a_line_for_steps_and_one_for_rollouts(directory: RunDirectory) -> None:
    words = words_of(directory, evaluation())
    assert "Accuracy against compute" in words
    assert "more steps" in words
    assert "more rollouts" in words
    once = evaluation()
    del once["sets"]["test"]["compute"][2]
    assert "more rollouts" not in words_of(directory, once).replace("or more rollouts of all steps", "")


def test_scores_written_before_there_were_votes_are_still_shown(directory: RunDirectory) -> None:
    old = evaluation()
    for name in ("gallery", "scope", "rollouts"):
        del old[name]
    for name in ("voting", "ensemble", "interval", "compute", "paths"):
        del old["sets"]["test"][name]
    words = words_of(directory, old)
    assert "50.0 % exactly right of 40 " in words
    assert "Votes" not in words
    assert "<script>" not in directory.report.read_text()


def test_a_cluster_that_nobody_asked_for_is_not_printed(directory: RunDirectory, small_run: RunFile) -> None:
    assert "cluster:" in directory.run_file.read_text()
    words = words_of(directory, evaluation())
    assert "cluster:" not in words
    assert "seed: 0" in words
    assert "storage:" in words
    directory.run_file.write_text(dump(change(small_run, "cluster.nodes=2")))
    assert "nodes: 2" in words_of(directory, evaluation())


@pytest.mark.parametrize(
    ("places", "status"), [((1,), "right"), ((1, 1), "right"), ((1, 2), "found"), ((2, None), "wrong")]
)
def test_a_task_is_right_when_the_truth_is_first_for_every_test_input(
    places: tuple[int | None, ...], status: str
) -> None:
    assert status_of(task("x", *places)) == status


def test_the_script_fetches_nothing_and_writes_text_alone() -> None:
    script = (Path(__file__).parents[2] / "trainer/report/templates/gallery.js").read_text()
    assert re.search("fetch|XMLHttp|import|eval|innerHTML|http", script) is None


def test_the_page_says_of_how_many_tasks_the_gallery_is_a_part(directory: RunDirectory) -> None:
    content = evaluation()
    assert "Every task that was scored." in words_of(directory, content)
    content["sets"]["test"]["voting"]["tasks"] = 1400
    words = words_of(directory, content)
    assert "3 of 1,400 tasks that were scored, evenly spread, not chosen" in words
    assert "what is counted below are these 3 (evaluate.examples)" in words
