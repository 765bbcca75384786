"""Answers judged by what they are: paths of mazes, rules of Sudokus; and the intervals of scores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.maze import ALPHABET
from trainer.data.store import Metadata, Split
from trainer.evaluators import Evaluator, Judged, Outcome, evaluator_for
from trainer.evaluators.intervals import of_mean, of_rows, wilson
from trmkit.spec.evaluate import EvaluateSection

MAZE = """
S  #
 #  
 # G
    
"""  # noqa: W291, W293 - blanks are free cells


def tokens(text: str) -> list[int]:
    lines = [line.ljust(4)[:4] for line in text.strip("\n").split("\n")]
    return [ALPHABET[character] for line in lines for character in line]


def evaluator(kind: str, questions: Any, labels: Any) -> Evaluator:
    rows, cells = np.shape(questions)
    places = np.arange(rows + 1, dtype=np.int32)
    metadata = Metadata(0, 0, 0, 12, cells, 1, rows, 1.0, rows, ("all",))
    split = Split(metadata, np.array(questions), np.array(labels), np.zeros(rows, np.int32), places, places)
    made = evaluator_for(kind, Judged(Path("nowhere"), split, np.arange(rows), [], EvaluateSection()))
    assert made is not None
    return made


def outcome(kind: str, questions: Any, labels: Any, answers: Any) -> Outcome:
    made = evaluator(kind, questions, labels)
    listed = np.array(answers)
    made.add(
        np.arange(len(listed)), listed[:, None], np.zeros((len(listed), 1), np.float32), np.zeros(len(listed), int)
    )
    return made.outcome(made.merged([made.state()]))


KNOWN = """
Soo#
 #oo
 # G
    
"""  # noqa: W293
CASES = {
    KNOWN: (True, True, True),
    "Soo#\n #o \n #oG\n    ": (True, True, False),
    "S  #\no#  \no# G\nooo ": (False, False, False),  # ends beside the goal
    "S  #\no#  \no# G\noooo": (True, False, False),
    "Soo#\no#o \n #oG\n    ": (False, False, False),  # a branch
    "Soo#\n #o \n #oG\n  oo": (False, False, False),  # a tail
    "Soo#\n #o \n #oG\no   ": (False, False, False),  # a loose cell
    "Soo#\n #oo\n #oG\n    ": (False, False, False),  # a block of four
    "Soo \n #o \n #oG\n    ": (False, False, False),  # takes a wall away
    "ooo#\n #o \n #oG\n    ": (False, False, False),  # draws over the start
    MAZE: (False, False, False),
}


def test_a_path_is_valid_when_it_is_one_line_and_shortest_when_no_other_is_shorter() -> None:
    answers = [tokens(text) for text in CASES]
    found = outcome("maze", [tokens(MAZE)] * len(CASES), [tokens(KNOWN)] * len(CASES), answers)
    holds = np.array(list(CASES.values()))
    assert found.scores["paths"]["count"] == len(CASES)
    for index, name in enumerate(("valid", "shortest", "exact")):
        assert found.scores["paths"][name] == pytest.approx(holds[:, index].mean())
    words = {(True, True, True): None, (True, True, False): "another path, as short",
             (True, False, False): "a path, but not the shortest", (False, False, False): "no path"}  # fmt: skip
    assert [found.remarks.get(row) for row in range(len(CASES))] == [words[case] for case in CASES.values()]


def test_neighbours_are_not_across_the_edge_and_start_beside_goal_needs_no_path() -> None:
    around = tokens("#  S\nG  #\n    \n    ")
    beside = tokens("SG  \n    \n    \n    ")
    found = outcome("maze", [around, beside], [around, beside], [around, beside])
    assert found.scores["paths"]["shortest"] == found.scores["paths"]["valid"] == 0.5


@given(st.integers(0, 10**6), st.integers(1, 3))
def test_processes_and_batches_change_no_check(seed: int, processes: int) -> None:
    draw = np.random.default_rng(seed)
    questions = [tokens(MAZE)] * 12
    answers = np.array([tokens(list(CASES)[index]) for index in draw.integers(0, len(CASES), 12)])
    whole = outcome("maze", questions, [tokens(KNOWN)] * 12, answers)
    made, states = evaluator("maze", questions, [tokens(KNOWN)] * 12), []
    for rank in range(processes):
        part = evaluator("maze", questions, [tokens(KNOWN)] * 12)
        for row in draw.permutation(np.arange(12)[rank::processes]):
            tried = np.stack([answers[0], answers[row]])[None]
            part.add(np.array([row]), tried, np.zeros((1, 2), np.float32), np.array([1]))
        states.append(part.state())
    assert made.outcome(made.merged(states)) == whole


SUDOKU = np.array([1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1]) + 1


def test_a_sudoku_is_valid_when_rules_and_givens_hold() -> None:
    question = np.where(np.arange(16) < 4, SUDOKU, 1)
    other = np.array([1, 2, 3, 4, 4, 3, 1, 2, 2, 1, 4, 3, 3, 4, 2, 1]) + 1
    twice, blank, changed = SUDOKU.copy(), SUDOKU.copy(), np.where(SUDOKU < 4, 5 - SUDOKU, SUDOKU)
    twice[5], blank[7], changed = twice[4], 1, (SUDOKU - 1) % 4 + 2
    boxes_only = np.array([1, 2, 3, 4, 2, 3, 4, 1, 3, 4, 1, 2, 4, 1, 2, 3]) + 1
    answers = [SUDOKU, other, twice, blank, changed, boxes_only]
    found = outcome("sudoku", [question] * 6, [SUDOKU] * 6, answers)
    valid = [True, True, False, False, False, False]
    assert found.scores["rules"]["valid"] == pytest.approx(sum(valid) / 6)
    assert found.scores["rules"]["exact"] == pytest.approx(1 / 6)
    assert found.remarks == {1: "another solution"}


def test_an_evaluator_that_saw_nothing_has_no_scores() -> None:
    made = evaluator("sudoku", [SUDOKU], [SUDOKU])
    assert made.outcome(made.merged([made.state()])) == Outcome({})


def test_wilsons_interval_is_the_textbook_one() -> None:
    found = wilson(8, 10)
    assert (found["low"], found["high"]) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 5)["low"] == 0
    assert wilson(5, 5)["high"] == 1
    assert wilson(0, 5)["high"] == pytest.approx(0.4345, abs=1e-4)
    assert wilson(5, 5)["low"] == pytest.approx(1 - wilson(0, 5)["high"])


def test_task_scores_of_nought_and_one_have_wilsons_interval_and_means_a_seeded_bootstrap() -> None:
    assert of_mean(np.array([0.0, 1, 1])) == wilson(2, 3)
    halves = np.tile([0.0, 0.5, 1.0, 1.0], 25)
    found = of_mean(halves)
    assert found == of_mean(halves)
    assert found["method"] == "bootstrap over tasks"
    deviation = 1.96 * halves.std() / 10
    assert found["low"] == pytest.approx(halves.mean() - deviation, abs=0.015)
    assert found["high"] == pytest.approx(halves.mean() + deviation, abs=0.015)


def test_rows_that_rise_and_fall_together_are_not_taken_for_independent() -> None:
    right = np.repeat(np.tile([True, False], 10), 50)
    single, together = of_rows(right, np.arange(1000)), of_rows(right, np.repeat(np.arange(20), 50))
    assert (single["method"], together["method"]) == ("Wilson", "bootstrap over tasks")
    assert together["high"] - together["low"] > 5 * (single["high"] - single["low"])
    assert of_rows(np.zeros(1000, bool), np.repeat(np.arange(20), 50)) == wilson(0, 20), "20 tasks tell no more"
