"""Rows leave when the q-head says so, and nothing but their number of steps depends on that."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch

from trainer.data.store import Metadata, Split
from trainer.data.stream import Rows
from trainer.dist import World
from trainer.evaluators.exact import Solved, scores
from trainer.models import TrainableModel
from trainer.models.base import Carry
from trainer.models.trm import build
from trainer.solve import Indices, Plan, solve
from trmkit.spec.model import TrmModel

CELLS, VOCAB, IDENTIFIERS, COUNT, STEPS = 16, 6, 5, 30, 5
CPU = torch.device("cpu")


@dataclass(frozen=True)
class FullRun:
    """What the model says of every row after each of `STEPS` steps, none leaving early."""

    preds: npt.NDArray[np.int64]
    """[M, n, L]"""
    q_halt: npt.NDArray[np.float32]
    """[M, n]"""


@pytest.fixture(scope="module")
def model() -> TrainableModel:
    """Return a model whose q-head and puzzle table are random, so that rows halt at different steps."""
    cfg = TrmModel(
        family="trm", hidden_size=16, num_heads=2, H_cycles=1, L_cycles=1, halt_max_steps=9,
        puzzle_emb_ndim=16, puzzle_emb_len=1, forward_dtype="float32",
    )  # fmt: skip
    torch.manual_seed(3)
    made = build(cfg, VOCAB, CELLS, IDENTIFIERS)
    with torch.no_grad():
        made.inner.q_head.weight.normal_()
        assert made.inner.puzzle_emb is not None
        made.inner.puzzle_emb.weights.normal_()
    return cast(TrainableModel, made)


def make_split(labels: npt.NDArray[np.int64] | None = None, identifiers: npt.NDArray[np.int32] | None = None) -> Split:
    """Return `COUNT` random rows; labels equal to 0 are ignored."""
    draw = np.random.default_rng(4)
    inputs = draw.integers(1, VOCAB, (COUNT, CELLS))
    names = draw.integers(1, IDENTIFIERS, COUNT).astype(np.int32)
    metadata = Metadata(0, 0, 0, VOCAB, CELLS, IDENTIFIERS, COUNT, 1.0, COUNT, ("all",))
    steps = np.arange(COUNT + 1, dtype=np.int32)
    return Split(
        metadata,
        inputs,
        inputs if labels is None else labels,
        names if identifiers is None else identifiers,
        steps,
        steps,
    )


@pytest.fixture(scope="module")
def full(model: TrainableModel) -> FullRun:
    return run_in_full(model, make_split())


@pytest.fixture(scope="module")
def split(full: FullRun) -> Split:
    """Return rows of which some are right from the first step on, some only at a later one, most never."""
    labels = full.preds[np.arange(COUNT) % STEPS, np.arange(COUNT)].copy()
    labels[::3, 5] = labels[::3, 5] % (VOCAB - 1) + 1
    return make_split(labels)


def run_in_full(model: TrainableModel, split: Split) -> FullRun:
    """Work on all rows in one batch, in the plainest way."""
    batch = Rows(split, CPU, on_device=False).get(torch.arange(COUNT))
    carry: Carry | None = None
    preds, q_halt = [], []
    model.eval()
    with torch.no_grad():
        for _ in range(STEPS):
            step = model(carry, batch)
            carry = step.carry
            preds.append(step.outputs["preds"].numpy())
            q_halt.append(step.outputs["q_halt"].numpy())
    return FullRun(np.stack(preds), np.stack(q_halt))


def threshold_of(full: FullRun) -> float:
    """Return a threshold that lies far from every q value, so that rounding moves none across it."""
    values = np.sort(full.q_halt.ravel())
    middle = values[len(values) // 2 : len(values) * 9 // 10]
    at = int(np.diff(middle).argmax())
    return float(middle[at] + middle[at + 1]) / 2


def nothing() -> None:
    pass


def solved(model: TrainableModel, split: Split, wanted: Indices, world: World, **plan: Any) -> Solved:
    options = {"steps": STEPS, "batch_size": 7} | plan
    return solve(model, Rows(split, CPU, on_device=False), wanted, Plan(**options), world, show=wanted, check=nothing)


ALL: Indices = np.arange(COUNT)


def test_rows_that_leave_early_have_the_numbers_of_a_full_run_cut_there(
    model: TrainableModel, full: FullRun, split: Split, alone: World
) -> None:
    threshold = threshold_of(full)
    found = solved(model, split, ALL, alone, early_exit=threshold)
    labelled = np.asarray(split.labels) != 0
    halting = full.q_halt > threshold
    assert len({tuple(row) for row in halting.T}) > 3, "rows halt at different steps"
    for row in ALL:
        steps = int(halting[:, row].argmax()) + 1 if halting[:, row].any() else STEPS
        assert found.steps[row] == steps
        assert np.array_equal(found.predictions[row], full.preds[steps - 1, row])
        for step in range(STEPS):
            right = (full.preds[min(step, steps - 1), row] == split.labels[row])[labelled[row]]
            assert found.exact[row, step] == right.all()
            assert found.accuracy[row, step] == np.float32(right.mean())
            assert found.q_halt[row, step] == pytest.approx(full.q_halt[min(step, steps - 1), row], abs=1e-5)
    assert 0 < found.exact[:, -1].sum() < COUNT


@pytest.mark.parametrize("batch_size", [1, 7, COUNT])
def test_a_row_that_has_to_settle_leaves_once_its_answer_stays_the_same(
    model: TrainableModel, full: FullRun, split: Split, alone: World, batch_size: int
) -> None:
    same = np.zeros((STEPS, COUNT), np.bool_)
    same[1:] = (full.preds[1:] == full.preds[:-1]).all(-1)
    threshold = threshold_of(replace(full, q_halt=full.q_halt[same]))
    found = solved(model, split, ALL, alone, early_exit=threshold, settled=True, batch_size=batch_size)
    leaving = (full.q_halt > threshold) & same
    leaving[-1] = True
    expected = leaving.argmax(0) + 1
    assert len(set(expected.tolist())) > 1, "rows settle at different steps"
    assert (expected >= 2).all()
    assert np.array_equal(found.steps, expected)
    for row in ALL:
        assert np.array_equal(found.predictions[row], full.preds[expected[row] - 1, row])


def test_without_early_exit_every_row_takes_every_step(
    model: TrainableModel, full: FullRun, split: Split, alone: World
) -> None:
    found = solved(model, split, ALL, alone)
    assert (found.steps == STEPS).all()
    np.testing.assert_allclose(found.q_halt, full.q_halt.T, atol=1e-5)
    by_step = [(full.preds[step] == split.labels).sum() for step in range(STEPS)]
    assert len(set(by_step)) > 1, "the answer changes from step to step"
    exact = [
        [(full.preds[step, row] == split.labels[row])[split.labels[row] != 0].all() for step in range(STEPS)]
        for row in ALL
    ]
    assert np.array_equal(found.exact, exact)


@pytest.mark.parametrize("batch_size", [1, 4, COUNT, 1000])
@pytest.mark.parametrize("early", [True, False])
def test_the_batch_size_changes_no_number(
    model: TrainableModel, full: FullRun, split: Split, alone: World, batch_size: int, early: bool
) -> None:
    threshold = threshold_of(full) if early else None
    expect_same(
        solved(model, split, ALL, alone, early_exit=threshold, batch_size=batch_size),
        solved(model, split, ALL, alone, early_exit=threshold),
    )


def test_the_rows_asked_for_come_back_in_their_order(
    model: TrainableModel, full: FullRun, split: Split, alone: World
) -> None:
    threshold = threshold_of(full)
    whole = solved(model, split, ALL, alone, early_exit=threshold)
    wanted: Indices = np.array([20, 3, 11, 4, 29, 8, 0, 13, 17])
    found = solved(model, split, wanted, alone, early_exit=threshold, batch_size=4)
    assert np.array_equal(found.steps, whole.steps[wanted])
    assert np.array_equal(found.accuracy, whole.accuracy[wanted])
    assert found.predictions.keys() == set(wanted.tolist())


def test_the_blank_identifier_takes_the_place_of_every_other(model: TrainableModel, split: Split, alone: World) -> None:
    blanked = solved(model, split, ALL, alone, blank_identifier=0)
    blank = make_split(np.asarray(split.labels), np.zeros(COUNT, np.int32))
    expect_same(blanked, solved(model, blank, ALL, alone))
    named = solved(model, split, ALL, alone)
    assert not np.allclose(blanked.q_halt, named.q_halt, atol=1e-2)


@dataclass(frozen=True)
class Part(World):
    """One of several processes whose results meet in `results`; the last to come gets them all."""

    results: dict[int, Any] = field(default_factory=dict)

    def largest(self, value: int) -> int:
        return value

    def gather_objects(self, value: Any) -> list[Any]:
        self.results[self.rank] = value
        whole = len(self.results) == self.size
        return [self.results[rank] for rank in range(self.size)] if whole else [value]


@pytest.mark.parametrize("count", [COUNT, COUNT - 1, 1])
def test_processes_that_share_the_rows_give_the_answer_of_one(
    model: TrainableModel, full: FullRun, split: Split, alone: World, count: int
) -> None:
    threshold = threshold_of(full)
    results: dict[int, Solved] = {}
    parts = [
        solved(model, split, ALL[:count], Part(rank, 2, rank, CPU, results=results), early_exit=threshold)
        for rank in range(2)
    ]
    assert len(parts[0].steps) == (count + 1) // 2
    expect_same(parts[1], solved(model, split, ALL[:count], alone, early_exit=threshold))


def test_a_row_without_labels_is_worked_on_like_any_other(model: TrainableModel, split: Split, alone: World) -> None:
    labels = np.array(split.labels)
    labels[7] = 0
    found = solved(model, make_split(labels), ALL[6:9], alone)
    assert found.accuracy[1].tolist() == [0] * STEPS
    assert found.exact[1].all()
    assert np.isfinite(found.accuracy).all()


def test_no_rows_give_no_numbers(model: TrainableModel, split: Split, alone: World) -> None:
    found = solved(model, split, ALL[:0], alone)
    assert found.exact.shape == (0, STEPS)
    assert scores(found) == {"count": 0}


def test_the_model_is_left_as_it_was_also_when_the_work_is_interrupted(
    model: TrainableModel, split: Split, alone: World
) -> None:
    class Interrupted(Exception):  # noqa: N818 - not an error
        pass

    calls = []

    def check() -> None:
        calls.append(model.max_steps)
        if len(calls) == 3:
            raise Interrupted

    rows = Rows(split, CPU, on_device=False)
    model.train()
    try:
        with pytest.raises(Interrupted):
            solve(model, rows, ALL, Plan(STEPS, 7), alone, show=ALL, check=check)
        assert model.training
    finally:
        model.eval()
    assert calls == [STEPS] * 3
    assert model.max_steps == 9


def expect_same(found: Solved, expected: Solved) -> None:
    assert np.array_equal(found.steps, expected.steps)
    assert np.array_equal(found.exact, expected.exact)
    assert np.array_equal(found.accuracy, expected.accuracy)
    np.testing.assert_allclose(found.q_halt, expected.q_halt, atol=1e-5)
    assert found.predictions.keys() == expected.predictions.keys()
    assert all(np.array_equal(cells, expected.predictions[row]) for row, cells in found.predictions.items())
