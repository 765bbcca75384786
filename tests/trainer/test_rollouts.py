"""Several rollouts of a row: the first is the answer without noise, the noise is the row's own, one answer is taken."""

from collections import Counter
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.test_solve import (
    ALL,
    COUNT,
    CPU,
    STEPS,
    FullRun,
    Part,
    expect_same,
    make_split,
    nothing,
    run_in_full,
)
from trainer.data.store import Split
from trainer.data.stream import Rows
from trainer.dist import World
from trainer.evaluators import Judged, Outcome
from trainer.evaluators.exact import Rollouts, Solved, scores
from trainer.evaluators.select import select
from trainer.models import TrainableModel
from trainer.models.trm import build
from trainer.noise import with_noise
from trainer.solve import Indices, Plan, solve
from trmkit.spec.model import TrmModel

PLAN = Plan(STEPS, 7, rollouts=3, noise=0.5, seed=1)


@pytest.fixture(scope="module")
def model() -> TrainableModel:
    """Return a model with a random q-head, so that rows halt at different steps."""
    cfg = TrmModel(
        family="trm", hidden_size=16, num_heads=2, H_cycles=1, L_cycles=1, halt_max_steps=3,
        puzzle_emb_ndim=16, puzzle_emb_len=1, forward_dtype="float32",
    )  # fmt: skip
    torch.manual_seed(3)
    made = build(cfg, 6, 16, 5)
    with torch.no_grad():
        made.inner.q_head.weight.normal_()
    return cast(TrainableModel, made)


@pytest.fixture(scope="module")
def split(model: TrainableModel) -> Split:
    """Return rows whose labels are what the model says without noise after the last step, for most of them."""
    labels = in_full(model, make_split()).preds[-1].copy()
    labels[::4, 3] = labels[::4, 3] % 5 + 1
    return make_split(labels)


def in_full(model: TrainableModel, split: Split) -> FullRun:
    """Work on all rows in the plainest way, for more steps than the model is trained for."""
    trained, model.max_steps = model.max_steps, STEPS
    try:
        return run_in_full(model, split)
    finally:
        model.max_steps = trained


class Listener:
    """An evaluator that keeps what it is told."""

    def __init__(self, judged: Judged | None = None) -> None:
        self.told: dict[int, tuple[Any, Any, int]] = {}

    def add(self, rows: Indices, answers: Any, q_halt: Any, chosen: Indices) -> None:
        for row, answer, q, one in zip(rows.tolist(), answers, q_halt, chosen.tolist(), strict=True):
            assert row not in self.told
            self.told[row] = (answer, q, one)

    def state(self) -> Any:
        return self.told

    def merged(self, states: list[Any]) -> Any:
        return states

    def outcome(self, merged: Any) -> Outcome:
        return Outcome({})


def solved(model: TrainableModel, split: Split, plan: Plan, world: World, listener: Listener | None = None) -> Solved:
    rows = Rows(split, CPU, on_device=False)
    return solve(model, rows, ALL, plan, world, show=ALL, check=nothing, evaluator=listener)


def test_the_first_rollout_is_the_answer_without_noise(model: TrainableModel, split: Split, alone: World) -> None:
    tried, plain = solved(model, split, PLAN, alone), solved(model, split, Plan(STEPS, 7), alone)
    assert tried.rollouts is not None
    assert plain.rollouts is None
    assert np.array_equal(tried.exact, plain.exact)
    np.testing.assert_allclose(tried.q_halt, plain.q_halt, atol=1e-5)
    np.testing.assert_allclose(tried.rollouts.q_halt[:, 0], plain.q_halt[:, -1], atol=1e-5)
    assert (np.ptp(tried.rollouts.q_halt, axis=1) > 1e-3).all(), "the others have noise"


@pytest.mark.parametrize("batch_size", [4, 1000])
def test_the_batch_changes_no_rollout(model: TrainableModel, split: Split, alone: World, batch_size: int) -> None:
    found = solved(model, split, replace(PLAN, batch_size=batch_size), alone)
    expect_same_rollouts(found, solved(model, split, PLAN, alone))


def test_processes_that_share_the_rows_find_the_rollouts_of_one(
    model: TrainableModel, split: Split, alone: World
) -> None:
    results: dict[int, Solved] = {}
    parts = [solved(model, split, PLAN, Part(rank, 2, rank, CPU, results=results)) for rank in range(2)]
    expect_same_rollouts(parts[1], solved(model, split, PLAN, alone))


def expect_same_rollouts(found: Solved, expected: Solved) -> None:
    expect_same(found, expected)
    assert found.rollouts is not None
    assert expected.rollouts is not None
    for name in ("exact", "accuracy", "steps", "answers", "chosen"):
        assert np.array_equal(getattr(found.rollouts, name), getattr(expected.rollouts, name)), name
    np.testing.assert_allclose(found.rollouts.q_halt, expected.rollouts.q_halt, atol=1e-4)


def test_another_seed_is_another_noise_and_the_same_seed_the_same(
    model: TrainableModel, split: Split, alone: World
) -> None:
    one, again, other = (solved(model, split, replace(PLAN, seed=seed), alone).rollouts for seed in (1, 1, 2))
    assert one is not None
    assert again is not None
    assert other is not None
    assert np.array_equal(one.q_halt, again.q_halt)
    assert np.array_equal(one.q_halt[:, 0], other.q_halt[:, 0])
    assert (np.abs(one.q_halt - other.q_halt)[:, 1:] > 1e-6).all()


@pytest.mark.parametrize("early_exit", [None, 0.0])
def test_an_evaluator_gets_every_row_once_with_all_its_rollouts(
    model: TrainableModel, split: Split, alone: World, early_exit: float | None
) -> None:
    listener = Listener()
    found = solved(model, split, replace(PLAN, early_exit=early_exit, select="vote"), alone, listener)
    assert found.rollouts is not None
    assert sorted(listener.told) == list(range(COUNT))
    labels = np.asarray(split.labels)
    for row, (answers, q_halt, chosen) in listener.told.items():
        assert answers.shape == (3, 16)
        assert np.array_equal(((answers == labels[row]) | (labels[row] == 0)).all(axis=1), found.rollouts.exact[row])
        assert np.array_equal(q_halt, found.rollouts.q_halt[row])
        assert chosen == found.rollouts.chosen[row]
        assert np.array_equal(found.predictions[row], answers[chosen])


def test_more_steps_than_in_training_go_on_with_the_recursion(
    model: TrainableModel, split: Split, alone: World
) -> None:
    assert model.max_steps < STEPS
    found, model_steps = solved(model, split, Plan(STEPS, 7), alone), in_full(model, split)
    np.testing.assert_allclose(found.q_halt, model_steps.q_halt.T, atol=1e-5)
    assert found.exact.shape == (COUNT, STEPS)
    assert 0 < found.exact[:, -1].sum() < COUNT


def test_noise_has_its_deviation_and_is_a_function_of_all_four_numbers() -> None:
    states = {"z_H": torch.zeros(6, 50, 40), "z_L": torch.zeros(6, 50, 40), "steps": torch.ones(6)}
    draws = [None, (1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 4, 4), (1, 3, 3, 4), (2, 2, 3, 4)]
    noisy = with_noise(states, ("z_H", "z_L"), 0.25, draws)
    assert not states["z_H"].any()
    assert not noisy["z_H"][0].any()
    assert torch.equal(noisy["steps"], states["steps"])
    assert noisy["z_H"][1:].std() == pytest.approx(0.25, rel=0.02)
    pieces = [noisy[name][row] for name in ("z_H", "z_L") for row in range(1, 6)]
    assert len({tuple(piece.ravel()[:5].tolist()) for piece in pieces}) == 10
    turned = with_noise({name: value[:2] for name, value in states.items()}, ("z_H", "z_L"), 0.25, draws[:0:-1][-2:])
    assert torch.equal(turned["z_H"][1], noisy["z_H"][1])


@given(
    answers=st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=5),
    q=st.lists(st.sampled_from([-1.0, 0.0, 2.0]), min_size=20, max_size=20),
    first=st.integers(1, 4),
)
def test_the_taken_answer_is_that_of_the_rule(answers: list[list[int]], q: list[float], first: int) -> None:
    q_halt = np.array(q[: 4 * len(answers)], np.float32).reshape(-1, 4)
    named = np.array(answers, np.int64)
    surest, elected = (select(q_halt, named, first, by) for by in ("q_halt", "vote"))
    for row in range(len(answers)):
        logits, votes = q_halt[row, :first].tolist(), Counter(answers[row][:first])
        assert surest[row] == logits.index(max(logits))
        rank = [(votes[answers[row][k]], logits[k], -k) for k in range(first)]
        assert elected[row] == rank.index(max(rank))


def test_scores_are_those_of_the_answers_taken_and_the_table_tells_what_fewer_rollouts_give() -> None:
    exact = np.array([[0, 1, 0, 1], [1, 0, 0, 0]], bool)
    q_halt = np.array([[0, 1, 2, 3], [2, 0, 3, 1]], np.float32)
    steps = np.array([[1, 2, 2, 2], [2, 2, 2, 2]], np.int32)
    rollouts = Rollouts(
        exact, exact.astype(np.float32), q_halt, steps, np.arange(8).reshape(2, 4), np.array([3, 2]), "q_halt"
    )
    by_step = np.array([[0, 0], [0, 1]], bool)
    found = scores(Solved(by_step, by_step.astype(np.float32), q_halt[:, :2], steps[:, 0], {}, rollouts))
    assert found["exact_accuracy"] == found["accuracy"] == 0.5
    assert found["exact_accuracy_by_step"] == [0, 0.5]
    table = [(entry["steps"], entry["rollouts"], entry["calls"], entry["exact_accuracy"]) for entry in found["compute"]]
    assert table == [(1, 1, 1, 0), (2, 1, 1.5, 0.5), (2, 1, 1.5, 0.5), (2, 2, 3.5, 1.0), (2, 4, 7.5, 0.5)]
