"""Optimizers, schedule and average give the reference's numbers."""

import math
from typing import Any

import pytest
import torch

from trainer.dist import World
from trainer.models.base import SparseEmbedding
from trainer.optim import adam_atan2
from trainer.optim.adam_atan2 import AdamATan2
from trainer.optim.ema import WeightAverage
from trainer.optim.schedule import learning_rate
from trainer.optim.sign_sgd import SparseSignSGD, sign_sgd


@pytest.mark.parametrize(("key", "rtol"), [("adam_atan2_f32", 2e-6), ("adam_atan2_f64", 1e-12)])
def test_adam_atan2_equals_the_references(units: Any, key: str, rtol: float) -> None:
    recorded = units[key]
    p = torch.nn.Parameter(recorded["param0"].clone())
    optimizer = AdamATan2([p], lr=0.0, betas=tuple(recorded["betas"]), weight_decay=recorded["weight_decay"])
    for step in recorded["steps"]:
        optimizer.param_groups[0]["lr"] = step["lr"]
        p.grad = step["grad"].clone()
        optimizer.step()
        torch.testing.assert_close(p.detach(), step["param"], rtol=rtol, atol=1e-9)
        torch.testing.assert_close(optimizer.state[p]["exp_avg"], step["exp_avg"], rtol=1e-5, atol=1e-12)
        torch.testing.assert_close(optimizer.state[p]["exp_avg_sq"], step["exp_avg_sq"], rtol=1e-5, atol=1e-12)


def test_adam_atan2_does_not_depend_on_the_scale_of_gradients() -> None:
    results = []
    for scale in (1.0, 1024.0):
        p = torch.nn.Parameter(torch.linspace(-1, 1, 7))
        optimizer = AdamATan2([p], lr=0.1)
        for step in range(5):
            p.grad = torch.sin(torch.arange(7.0) + step) * scale
            optimizer.step()
        results.append(p.detach().clone())
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-7)


def test_a_weight_without_a_gradient_so_far_is_only_decayed_and_the_least_gradient_moves_one() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = AdamATan2([p], lr=0.1, weight_decay=0.5)
    p.grad = torch.tensor([0.0, 1e-30, 1.0])
    optimizer.step()
    torch.testing.assert_close(p.detach(), 0.95 - torch.tensor([0.0, math.pi / 2, math.atan(0.1)]))


def test_large_weights_are_updated_as_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    start, grad, results = torch.randn(40, 5), torch.randn(40, 5), []
    for size in (7, 1 << 15):
        monkeypatch.setattr(adam_atan2, "PIECE", size)
        weights = [torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone().t())]
        for p, g in zip(weights, (grad, grad.t()), strict=True):
            p.grad = g.clone()
        AdamATan2(weights, lr=0.1).step()
        results.append([p.detach() for p in weights])
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][0], results[1][1].t())


def test_sign_sgd_equals_the_references(units: Any) -> None:
    recorded = units["signsgd"]
    weights = recorded["weights0"].clone()
    sign_sgd(weights, recorded["ids"], recorded["grad"], recorded["lr"], recorded["weight_decay"])
    torch.testing.assert_close(weights, recorded["weights1"], rtol=1e-6, atol=1e-8)


def test_only_the_rows_of_the_batch_change_in_the_table(alone: World) -> None:
    table = SparseEmbedding(6, 3).train()
    table.weights.fill_(1.0)
    identifiers = torch.tensor([4, 1, 4])
    (table(identifiers) * torch.tensor([[1.0], [1.0], [-3.0]])).sum().backward()
    SparseSignSGD(table, weight_decay=0.5, world=alone).step(lr=0.1)
    expected = torch.ones(6, 3)
    expected[1] = 0.95 - 0.1
    expected[4] = 0.95 + 0.1
    torch.testing.assert_close(table.weights, expected)
    assert table.touched == []


def test_the_average_equals_the_references(units: Any) -> None:
    first, *later = units["ema"]["seq"]
    model = torch.nn.Linear(4, 3)
    model.load_state_dict(first["params"])
    average = WeightAverage(model, units["ema"]["mu"])
    for name, value in first["shadow"].items():
        average.shadow[name].copy_(value)
    for n, recorded in enumerate(later, 1):
        model.load_state_dict(recorded["params"])
        average.update(n)
        for name, value in recorded["shadow"].items():
            torch.testing.assert_close(average.shadow[name], value, rtol=1e-6, atol=1e-7)


def test_an_average_with_a_warm_up_soon_forgets_where_it_began_and_ends_as_one_without() -> None:
    model = torch.nn.Linear(1, 1)
    average = WeightAverage(model, 0.9, warmup=True)
    expected = model.weight.detach().clone()
    for n in range(1, 120):
        model.weight.data.fill_(n)
        average.update(n)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
        torch.testing.assert_close(average.shadow["weight"], expected)
    assert average.decay(1) == pytest.approx(2 / 11)
    assert average.decay(80) == average.decay(10**6) == WeightAverage(model, 0.9).decay(1) == 0.9


def test_the_average_is_in_the_model_only_inside_the_block() -> None:
    model = torch.nn.Linear(2, 2)
    average = WeightAverage(model, 0.5)
    raw = model.weight.detach().clone() + 1
    model.weight.data.copy_(raw)
    average.update(1)
    with average.in_place():
        torch.testing.assert_close(model.weight.detach(), raw - 0.5)
    assert torch.equal(model.weight.detach(), raw)
    torch.testing.assert_close(average.shadow["weight"], raw - 0.5)


def test_the_schedule_equals_the_references(units: Any) -> None:
    for recorded in units["lr_schedule"]:
        settings = {"peak": recorded["base_lr"], "warmup": recorded["warmup"], "total": recorded["total"]}
        for step, expected in zip(recorded["steps"], recorded["lr"], strict=True):
            found = learning_rate(step, min_ratio=recorded["min_ratio"], **settings)
            assert found == pytest.approx(float(expected), rel=1e-9, abs=1e-15)
