"""Votes: equal to the reference's recorded figures, and to the same rule written down plainly."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.voting import Case, name_of, plain_vote, vote
from trainer.data.augment import augment, undo, variant_names
from trainer.data.grid import UNCHANGED, decode, encode
from trainer.data.store import Metadata, Split
from trainer.evaluators import Judged
from trainer.evaluators.arc_vote import ArcVote
from trainer.evaluators.ballots import Ballots, joined
from trainer.evaluators.vote_kernels import NO_NUMBER, Numbers
from trmkit.errors import DataError
from trmkit.spec.evaluate import EvaluateSection

CANVAS = 4


def fed(judged: Judged, answers: Any, q_halt: Any, rows: Any = None) -> ArcVote:
    """Return an evaluator that has seen some of the rows, or all."""
    evaluator = ArcVote(judged)
    rows = np.arange(len(answers)) if rows is None else rows
    evaluator.add(rows, answers[rows][:, None], q_halt[rows][:, None], np.zeros(len(rows), np.int64))
    return evaluator


def pass_at(evaluator: ArcVote, ballots: Ballots) -> dict[str, float]:
    found: dict[str, float] = evaluator.outcome(ballots).scores["voting"]["pass_at"]
    return found


# The recorded case has no names of variants, and the truths only as hashes: both follow from the numbers.


def variant_of(original: Any, inputs: list[Any], answers: list[Any], hashes: list[str]) -> str:
    """Return turn and colours that make `original` [inputs] of a task, and whose undoing gives the hashed answers."""
    for turn in range(8):
        table = dict[int, int]()
        shapes = [augment(grid, turn, UNCHANGED) for grid in original]
        pairs = {(int(a), int(b)) for x, y in zip(shapes, inputs, strict=True) if x.shape == y.shape
                 for a, b in zip(x.ravel(), y.ravel(), strict=True)}  # fmt: skip
        table.update(pairs)
        if [x.shape for x in shapes] != [y.shape for y in inputs] or len(table) != len(pairs) or table.get(0, 0):
            continue
        free = sorted(set(range(1, 10)) - set(table)), sorted(set(range(1, 10)) - set(table.values()))
        for rest in itertools.permutations(free[1]):
            whole = {0: 0, **table, **dict(zip(free[0], rest, strict=True))}
            name = variant_names("task", [turn], [[whole[colour] for colour in range(10)]])[0]
            if [name_of(undo(name)[1](answer)) for answer in answers] == hashes:
                return name.removeprefix("task")
    raise AssertionError("no variant fits")


@pytest.fixture(scope="module")
def recorded(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Judged, Any, Any]:
    """Return the recorded rows with their names and truths, and the arrays and results as they are."""
    arrays = dict(np.load(vectors / "arc_eval" / "inputs.npz"))
    results = json.loads((vectors / "arc_eval" / "results.json").read_text())
    identifiers, inputs = arrays["puzzle_identifiers"], arrays["batch_inputs"]
    questions = [decode(row) for row in inputs]
    answers = [decode(row) for row in arrays["preds_round1"]]
    names = ["?"] * (int(identifiers.max()) + 1)
    puzzles: dict[str, Any] = {}
    spent: dict[str, int] = {}
    for identifier in dict.fromkeys(identifiers[identifiers > 0].tolist()):
        rows = np.flatnonzero(identifiers == identifier)
        hashes = [name_of(questions[row]) for row in rows]
        known = [name for name, boxes in results["ballots_round1"].items() if set(hashes) <= set(boxes)]
        if known:
            task, originals = known[0], [questions[row] for row in rows]
            puzzles[task] = {"train": [], "test": [{"input": grid.tolist(), "output": [[9]]} for grid in originals]}
            spent[task] = 0
        cast = [results["ballots_round1"][task][name_of(grid)][spent[task]][0] for grid in originals]
        spent[task] += 1
        names[identifier] = task + variant_of(
            originals, [questions[row] for row in rows], [answers[row] for row in rows], cast
        ) * (not known)
        for pair, row in zip(puzzles[task]["test"], rows, strict=True):
            if arrays["candidate_choice"][row] == 0:  # the first candidate of a test input was the truth
                pair["output"] = undo(names[identifier])[1](answers[row]).tolist()
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "test_puzzles.json").write_text(json.dumps(puzzles))
    rows, count = len(identifiers), len(names)
    metadata = Metadata(0, 0, 0, 12, 900, count, len(puzzles), 1.0, rows, ("all",))
    places = np.arange(rows + 1, dtype=np.int32)
    split = Split(metadata, inputs, inputs, identifiers, places, places)
    return Judged(folder, split, np.arange(rows), names, EvaluateSection()), arrays, results["results"]


def expected(results: Any, which: str) -> dict[str, float]:
    return {name.removeprefix("ARC/pass@"): value for name, value in results[which].items()}


def test_one_checkpoints_votes_give_the_reference_figures(recorded: tuple[Judged, Any, Any]) -> None:
    judged, arrays, results = recorded
    for answers, which in (("preds_round1", "round1"), ("preds_round2", "round2_not_aggregated")):
        evaluator = fed(judged, arrays[answers], arrays["q_halt_logits"])
        assert pass_at(evaluator, evaluator.merged([evaluator.state()])) == expected(results, which)


def test_the_reference_figure_after_two_rounds_is_the_ensemble_of_both(recorded: tuple[Judged, Any, Any]) -> None:
    judged, arrays, results = recorded
    rounds = [fed(judged, arrays[name], arrays["q_halt_logits"]) for name in ("preds_round1", "preds_round2")]
    ballots = joined([evaluator.merged([evaluator.state()]) for evaluator in rounds])
    assert pass_at(rounds[0], ballots) == expected(results, "round2_aggregated_votes")


def test_the_submission_is_the_reference_one(recorded: tuple[Judged, Any, Any], vectors: Path) -> None:
    judged, arrays, _ = recorded
    evaluator = fed(judged, arrays["preds_round1"], arrays["q_halt_logits"])
    found = json.loads(evaluator.outcome(evaluator.merged([evaluator.state()])).files["submission.json"])
    assert found == json.loads((vectors / "arc_eval" / "submission_round1.json").read_text())


# Made-up cases


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("votes")


def case_of(folder: Path, seed: int, same_input: bool = False, **options: Any) -> Case:
    """Return three tasks with few different answers and few different q values, so that ties are the rule."""
    draw = np.random.default_rng(seed)
    puzzles, names, inputs, identifiers, answers = {}, ["<blank>"], [], [], []
    for task in "abc":
        tests = [
            {"input": draw.integers(0, 10, draw.integers(1, 4, 2)), "output": draw.integers(0, 10, (2, 2))}
            for _ in range(draw.integers(1, 3))
        ]
        if same_input:
            tests = [tests[0], tests[0] | {"output": tests[0]["output"] % 9}]
        puzzles[task] = {"train": [], "test": [{k: v.tolist() for k, v in pair.items()} for pair in tests]}
        for variant in range(draw.integers(1, 7)):
            turn, table = int(draw.integers(0, 8)), np.array([0, *draw.permutation(np.arange(1, 10))], np.uint8)
            turn, table = (turn, table) if variant else (0, UNCHANGED)
            names += variant_names(task, [turn], [table]) if variant else [task]
            for pair in tests:
                wrong = [(pair["output"] + add) % 10 for add in range(3)] + [draw.integers(0, 10, (1, 3))]
                answer = encode(augment(wrong[draw.integers(0, 4)].astype(np.uint8), turn, table), CANVAS)
                answer[-3:] = draw.integers(0, 12, 3)
                answer[0] = draw.choice([answer[0], 1], p=[0.9, 0.1])  # now and then no grid at all
                inputs.append(encode(augment(pair["input"].astype(np.uint8), turn, table), CANVAS))
                identifiers.append((len(names) - 1) * int(draw.random() > 0.05))
                answers.append(answer)
    (folder / "test_puzzles.json").write_text(json.dumps(puzzles))
    rows = len(inputs)
    metadata = Metadata(0, 0, 0, 12, CANVAS**2, len(names), 3, 1.0, rows, ("all",))
    places = np.arange(rows + 1, dtype=np.int32)
    split = Split(metadata, np.stack(inputs), np.stack(inputs), np.array(identifiers, np.int32), places, places)
    judged = Judged(folder, split, np.arange(rows), names, EvaluateSection(pass_ks=(1, 2, 3), **options))
    return judged, np.stack(answers), draw.choice([-1.0, 0.0, 1.5], rows).astype(np.float32)


@settings(max_examples=60)
@example(seed=295, same_input=True)  # black inputs of tasks one after the other: 1 x 2 cells, and 1 x 1
@given(seed=st.integers(0, 10**6), same_input=st.booleans())
def test_votes_are_those_of_the_rule_written_plainly(folder: Path, seed: int, same_input: bool) -> None:
    case = case_of(folder, seed, same_input)
    assert vote(*case) == plain_vote(*case)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), processes=st.integers(1, 4))
def test_neither_processes_nor_the_order_of_rows_change_the_votes(folder: Path, seed: int, processes: int) -> None:
    judged, answers, q_halt = case_of(folder, seed)
    draw = np.random.default_rng(seed)
    parts = []
    for rank in range(processes):
        evaluator = fed(judged, answers, q_halt, rows=np.empty(0, np.int64))
        for row in draw.permutation(np.arange(len(answers))[rank::processes]):
            evaluator.add(np.array([row]), answers[[row]][:, None], q_halt[[row]][:, None], np.zeros(1, np.int64))
        parts.append(evaluator.state())
    whole = fed(judged, answers, q_halt)
    assert whole.outcome(whole.merged(parts)) == whole.outcome(whole.merged([whole.state()]))


def test_every_rollout_is_a_ballot_and_the_single_pass_takes_the_first_of_the_task_as_it_is(folder: Path) -> None:
    judged, answers, q_halt = case_of(folder, 1)
    evaluator = ArcVote(judged)
    truth = np.asarray(answers)[:, None]
    chosen = np.zeros(len(answers), np.int64)
    evaluator.add(judged.rows, np.repeat(truth, 3, axis=1), np.repeat(q_halt[:, None], 3, axis=1), chosen)
    found = evaluator.outcome(evaluator.merged([evaluator.state()])).scores["voting"]
    once = fed(judged, answers, q_halt)
    single = once.outcome(once.merged([once.state()])).scores["voting"]
    assert found["ballots"] == 3 * single["ballots"] == 3 * int((judged.split.puzzle_identifiers > 0).sum())
    assert found["pass_at"] == single["pass_at"]
    assert found["single_pass"] == single["single_pass"]
    plain = np.array(["|||" not in judged.names[i] for i in judged.split.puzzle_identifiers])
    alone = plain_vote(Judged(folder, judged.split, judged.rows[plain], judged.names, judged.options),
                       answers[plain], q_halt[plain])  # fmt: skip
    assert single["single_pass"]["pass_at"] == {"1": alone[0]["1"]}


def test_attempts_that_lack_repeat_the_last_and_no_answer_is_one_black_cell(folder: Path) -> None:
    judged, answers, q_halt = case_of(folder, 2, attempts=5)
    evaluator = fed(judged, answers, q_halt, rows=np.arange(1))
    found = json.loads(evaluator.outcome(evaluator.merged([evaluator.state()])).files["submission.json"])
    assert {tuple(attempts) for tests in found.values() for attempts in tests} == {
        tuple(f"attempt_{n}" for n in range(1, 6))
    }
    grids = [[attempts[f"attempt_{n}"] for n in range(1, 6)] for tests in found.values() for attempts in tests]
    assert all(grid == listed[0] for listed in grids for grid in listed)
    assert sum(listed[0] == [[0]] for listed in grids) >= len(grids) - 1


def test_the_gallery_tells_place_votes_and_confidence(folder: Path) -> None:
    judged, answers, q_halt = case_of(folder, 3, examples=2)
    evaluator = fed(judged, answers, q_halt)
    outcome = evaluator.outcome(evaluator.merged([evaluator.state()]))
    assert [task["task"] for task in outcome.gallery] == ["a", "b"]
    submission = json.loads(outcome.files["submission.json"])
    for task in outcome.gallery:
        for test, attempts in zip(task["tests"], submission[task["task"]], strict=True):
            assert test["answers"][0]["grid"] == (attempts["attempt_1"] if test["answers"][0]["grid"] else [])
            assert sum(answer["votes"] for answer in test["answers"]) <= test["ballots"]
            assert (test["place"] == 1) == (test["answers"][0]["grid"] == test["truth"])
            assert all(0 < answer["confidence"] < 1 for answer in test["answers"])


@pytest.mark.parametrize("name", ["a|||t8|||0123456789", "a|||t0|||0123456788", "a|||t0", "|||", "a|||t0|||012345678é"])
def test_a_name_that_is_no_variant_is_an_error(folder: Path, name: str) -> None:
    judged, _, _ = case_of(folder, 4)
    judged.names[-1] = name
    with pytest.raises(DataError, match="is not the name of a variant"):
        ArcVote(judged)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(lambda puzzles: puzzles.pop("b"), "does not hold b"),
     (lambda puzzles: puzzles["b"]["test"][0].update(input=[[0, 0, 0, 0]]), "is no test input of its task")],
)  # fmt: skip
def test_puzzles_that_do_not_belong_to_the_rows_are_an_error(
    folder: Path, spoil: Callable[[Any], Any], message: str
) -> None:
    judged, answers, q_halt = case_of(folder, 5)
    puzzles = json.loads((folder / "test_puzzles.json").read_text())
    spoil(puzzles)
    (folder / "test_puzzles.json").write_text(json.dumps(puzzles))
    with pytest.raises(DataError, match=message):
        fed(judged, answers, q_halt)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_the_same_answers_have_the_same_votes_in_the_other_layout(folder: Path, seed: int) -> None:
    judged, answers, q_halt = case_of(folder, seed)
    draw = np.random.default_rng(seed)

    def marked(rows: Any) -> Any:
        found = []
        for grid in map(decode, rows):
            room = CANVAS + 2 - np.array(grid.shape)
            down, right = (int(draw.integers(0, max(1, some + 1 - 2))) for some in room)
            found.append(encode(grid, CANVAS + 2, down, right, "corners") if grid.size else marked_nothing())
        return np.stack(found)

    def marked_nothing() -> Any:
        return draw.integers(0, 2, (CANVAS + 2) ** 2).astype(np.uint8)

    inputs = marked(judged.split.inputs)
    metadata = replace(judged.split.metadata, seq_len=(CANVAS + 2) ** 2, ignore_label_id=None)
    split = replace(judged.split, metadata=metadata, inputs=inputs, labels=inputs)
    other = replace(judged, split=split, layout="corners")
    found, wanted = (fed(one, rows, q_halt) for one, rows in ((other, marked(answers)), (judged, answers)))
    assert found.outcome(found.merged([found.state()])) == wanted.outcome(wanted.merged([wanted.state()]))


def test_only_distinct_grids_are_kept(folder: Path) -> None:
    judged, answers, q_halt = case_of(folder, 6)
    evaluator = fed(judged, answers, q_halt)
    before = len(evaluator.state().candidates.cells)
    for _ in range(3):
        evaluator.add(judged.rows, answers[:, None], q_halt[:, None], np.zeros(len(answers), np.int64))
    assert len(evaluator.state().candidates.cells) == before


def test_names_of_tasks_may_be_in_any_script(tmp_path: Path) -> None:
    puzzle = {"train": [], "test": [{"input": [[1]], "output": [[2]]}]}
    (tmp_path / "test_puzzles.json").write_text(json.dumps({"日": puzzle, "本": puzzle}))
    names = ["<blank>", "日", "日|||t1|||0213456789", "本|||t0|||0123456789"]
    inputs = np.stack([encode(np.array([[colour]], np.uint8), CANVAS) for colour in (1, 2, 1)])
    answers = np.stack([encode(np.array([[colour]], np.uint8), CANVAS) for colour in (2, 1, 3)])
    metadata = Metadata(0, 0, 0, 12, CANVAS * CANVAS, 4, 2, 1.0, 3, ("all",))
    places = np.arange(4, dtype=np.int32)
    split = Split(metadata, inputs, inputs, np.arange(1, 4, dtype=np.int32), places, places)
    judged = Judged(tmp_path, split, np.arange(3), names, EvaluateSection(pass_ks=(1,)))
    evaluator = fed(judged, answers, np.zeros(3, np.float32))
    assert evaluator.tasks == ["日", "本"]
    assert pass_at(evaluator, evaluator.merged([evaluator.state()])) == {"1": 0.5}


@given(st.lists(st.integers(0, 40), max_size=300), st.integers(1, 50))
def test_keys_are_numbered_in_the_order_in_which_they_first_come(drawn: list[int], at_once: int) -> None:
    numbers, known = Numbers(), dict[int, int]()
    keys = np.array([[number % 3, number // 3 << 32] for number in drawn], np.uint64).reshape(-1, 2)
    for start in range(0, len(keys), at_once):
        wanted = [known.setdefault(number, len(known)) for number in drawn[start : start + at_once]]
        assert numbers.enter(keys[start : start + at_once]).tolist() == wanted
    assert len(numbers) == len(known)
    assert numbers.of(keys).tolist() == [known[number] for number in drawn]
    assert numbers.of(np.array([[99, 99]], np.uint64)).tolist() == [NO_NUMBER]


def test_so_many_keys_that_their_table_grows_keep_their_numbers() -> None:
    numbers, keys = Numbers(), np.random.default_rng(0).integers(0, 2**64, (5000, 2), np.uint64)
    first = [numbers.enter(part) for part in np.array_split(keys, 7)]
    assert np.concatenate(first).tolist() == list(range(5000))
    assert numbers.of(keys[::-1]).tolist() == list(range(5000))[::-1]
