"""Answers that are told what is wrong with them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.trainer.helpers import change, train_alone
from trainer.correction import feedback
from trainer.dist import World
from trainer.evaluate import evaluate
from trainer.features.prompts import Prompt
from trmkit.errors import SpecError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

TRUTH = np.arange(6).reshape(2, 3)


def test_what_is_wrong_is_the_size_or_the_first_five_wrong_cells() -> None:
    assert feedback(TRUTH[:1], TRUTH) == "it has 1 x 3 cells instead of 2 x 3."
    wrong = TRUTH.copy()
    wrong[1, 2] = wrong[0, 1] = 9
    assert feedback(wrong, TRUTH) == "2 cells are wrong: row 1, column 2; row 2, column 3."
    assert feedback(TRUTH + 1, TRUTH).count("row") == 5


def test_what_is_wrong_stands_between_the_question_and_the_request() -> None:
    prompt = Prompt((("1", "2"),), "3")
    told = replace(prompt, feedback="it has no cells.").text()
    assert told.replace("Your last output grid is wrong: it has no cells.\n\n", "") == prompt.text()
    assert told.index("Test Input") < told.index("is wrong") < told.index("write its output")


def test_more_attempts_are_scored_apart_and_never_score_less(reading_run: RunFile, alone: World) -> None:
    run = change(reading_run, "evaluate.self_correction=3")
    train_alone(run)
    test = evaluate(run, RunDirectory.of(run), alone)["sets"]["test"]
    within = test["self_correction"]["exact_by_attempt"]
    assert within[0] == test["exact_accuracy"]
    assert within == sorted(within)
    assert len(within) == 3
    plain = evaluate(reading_run, RunDirectory.of(run), alone)["sets"]["test"]
    assert "self_correction" not in plain
    assert json.dumps(plain["voting"]) == json.dumps(test["voting"])
    assert set(plain["grids"]) == {"exact", "shape", "pixels"}


def test_only_a_model_that_reads_can_be_told(small_run: RunFile) -> None:
    with pytest.raises(SpecError, match="only a model that reads text"):
        change(small_run, "evaluate.self_correction=2")
