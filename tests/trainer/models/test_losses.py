"""Stablemax cross-entropy: the reference's numbers, and gradients that are finite everywhere."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.models.layers import swiglu_width, truncated_normal
from trainer.models.losses import cell_loss, log_stablemax, stablemax


def test_stablemax_and_its_gradient_equal_the_references(units: Any) -> None:
    recorded = units["stablemax_s"]
    x = recorded["x"].clone().requires_grad_()
    stablemax(x).sum().backward()
    torch.testing.assert_close(stablemax(x).detach(), recorded["s_f64"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(x.grad, recorded["grad_f64"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(stablemax(recorded["x"].float()), recorded["s_f32"], rtol=1e-6, atol=1e-6)


def test_cross_entropy_equals_the_references(units: Any) -> None:
    recorded = units["stablemax_ce"]
    logits = recorded["logits"].clone().requires_grad_()
    torch.testing.assert_close(log_stablemax(logits.double()), recorded["log_stablemax_f64"], rtol=1e-10, atol=1e-10)
    labelled = (recorded["labels"] != -100).sum(-1)
    per_row = cell_loss(logits, recorded["labels"], "stablemax", torch.float64) * labelled.clamp(min=1)
    torch.testing.assert_close(per_row, recorded["loss_f64"].sum(-1), rtol=1e-10, atol=1e-10)
    per_row.sum().backward()
    torch.testing.assert_close(logits.grad, recorded["dlogits_sum"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("network", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
def test_the_gradient_at_a_logit_of_one_is_finite(network: torch.dtype, dtype: torch.dtype) -> None:
    logits = torch.tensor([[[1.0, 0.0, -1.0, 5.0]]], dtype=network, requires_grad=True)
    cell_loss(logits, torch.tensor([[0]]), "stablemax", dtype).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=6), st.data())
def test_float32_agrees_with_float64(values: list[float], data: st.DataObject) -> None:
    label = torch.tensor([[data.draw(st.integers(0, len(values) - 1))]])
    results = []
    for dtype in (torch.float32, torch.float64):
        logits = torch.tensor([[values]], requires_grad=True)
        loss = cell_loss(logits, label, "stablemax", dtype).sum()
        loss.backward()
        assert logits.grad is not None
        results.append((loss.detach().double(), logits.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-3, atol=1e-6)


def test_initial_weights_have_the_asked_for_deviation(units: Any) -> None:
    recorded = units["trunc_normal"]
    torch.manual_seed(recorded["seed"])
    sample = truncated_normal(*recorded["shape"], std=recorded["std"])
    torch.testing.assert_close(sample[: len(recorded["tensor_head"])], recorded["tensor_head"], rtol=1e-6, atol=1e-7)
    assert sample.std().item() == pytest.approx(recorded["sample_std"], rel=1e-5)


@pytest.mark.parametrize(("width", "inner"), [(512, 1536), (97, 512), (916, 2560), (128, 512)])
def test_inner_widths_are_multiples_of_256(width: int, inner: int) -> None:
    assert swiglu_width(width, 4) == inner
