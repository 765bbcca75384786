"""Adaptive thinking: its equations, what it costs, and that the cost teaches."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.models.texts import batch, make
from trainer.models import TrainableModel
from trainer.models.ladder.halting import Halting, Ledger

KINDS = pytest.mark.parametrize("kind", ["survival", "graves", "pondernet"])


class Fixed(Halting):
    """Stops with given chances."""

    def __init__(self, chances: list[float], kind: Any, fewest: int = 1) -> None:
        super().__init__(4, kind, fewest, 0.2)
        self.chances, self.round = chances, 0

    def forward(self, mean: Tensor) -> Tensor:
        self.round += 1
        return torch.full((*mean.shape[:2], 1), self.chances[self.round - 1])


def decide(chances: list[float], kind: str, *, training: bool = True, fewest: int = 1) -> tuple[list[float], Ledger]:
    ledger = Ledger(Fixed(chances, kind, fewest), 1, 1, torch.device("cpu"), len(chances), training=training)
    weights = []
    for k in range(1, len(chances) + 1):
        weights.append(float(ledger.weigh(torch.zeros(1, 1, 4), k)))
        if ledger.done():
            break
    return weights, ledger


@KINDS
@pytest.mark.parametrize("training", [True, False])
def test_weights_are_chances_of_stopping_and_add_up_to_one(kind: str, training: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        chances = torch.rand(6, generator=draw).tolist()
        weights, _ = decide(chances, kind, training=training, fewest=2)
        assert sum(weights) == pytest.approx(1, abs=1e-6)
        assert weights[0] == 0
        assert min(weights) >= 0


def test_survival_costs_the_expected_number_of_rounds() -> None:
    weights, ledger = decide([0.25, 0.5, 0.1], "survival")
    assert weights == pytest.approx([0.25, 0.375, 0.375])
    assert float(ledger.ponder) == pytest.approx(0.25 * 1 + 0.375 * 2 + 0.375 * 3)
    assert float(ledger.steps) == pytest.approx(float(ledger.ponder))


def test_graves_costs_the_rounds_and_the_remainder() -> None:
    weights, ledger = decide([0.3, 0.4, 0.6, 0.2], "graves")
    assert weights == pytest.approx([0.3, 0.4, 0.3, 0])
    assert float(ledger.ponder) == pytest.approx(3 + 0.3)
    assert float(ledger.steps) == 3


def test_pondernet_costs_the_divergence_from_a_geometric_prior() -> None:
    weights, ledger = decide([0.0, 0.5, 0.4, 0.3], "pondernet", fewest=2)
    prior = [0.2, 0.2 * 0.8, 0.2 * 0.64]
    expected = sum(w * math.log(w / (p / sum(prior))) for w, p in zip(weights[1:], prior, strict=True))
    assert float(ledger.ponder) == pytest.approx(expected, rel=1e-5)


def test_while_scoring_an_anchor_that_is_almost_sure_to_have_stopped_is_done() -> None:
    weights, ledger = decide([0.9, 0.95, 0.5, 0.5], "survival", training=False)
    assert weights == pytest.approx([0.9, 0.1])
    assert ledger.done()
    assert float(ledger.steps) == 2


def ponder_gradient(model: TrainableModel) -> Tensor:
    """Return the gradient of what thinking costs alone."""
    given = batch()
    given["label_weight"].zero_()
    step = model.train()(None, given)
    assert float(step.metrics["lm_loss"]) == 0
    step.loss.backward()
    grad = model.get_parameter("thoughts.halting.head.weight").grad
    assert grad is not None
    return grad


@KINDS
def test_the_cost_of_thinking_alone_moves_the_head_that_halts(kind: str) -> None:
    model = make("act", halting=kind)
    if kind == "graves":  # the remainder's gradient is zero where the first chance above the threshold is the last
        model.get_parameter("thoughts.halting.head.bias").data.fill_(-2)
    assert ponder_gradient(model).abs().max() > 0


def test_a_higher_price_makes_thinking_shorter() -> None:
    def rounds(price: float) -> float:
        model = make("act", lambda_ponder=price).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for seed in range(15):
            step = model(None, batch(seed=seed))
            optimizer.zero_grad()
            (step.loss / 3).backward()
            optimizer.step()
        return float(step.metrics["steps"]) / 3

    assert rounds(3.0) < rounds(0.0) - 0.05


def test_rounds_of_rows_are_between_the_fewest_and_the_most() -> None:
    model = make("act")
    for mode in (model.train(), model.eval()):
        with torch.no_grad():
            steps = float(mode(None, batch()).metrics["steps"]) / 3
        assert 2 <= steps <= 4
