"""Layers with gradients written by hand, and token mixing without transposes: the numbers of the plain formulas."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from trainer.models.layers import Linear, SwiGLU, TokenSwiGLU, aligned, cast_once, gated, rms_norm


def plain_norm(x: Tensor, eps: float, axis: int) -> Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(axis, keepdim=True) + eps)).to(x.dtype)


def plain_gate(gate_up: Tensor, axis: int) -> Tensor:
    gate, up = gate_up.chunk(2, dim=axis)
    return F.silu(gate) * up


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("what", ["norm", "gate"])
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=["fp32", "bf16"])
def test_values_and_gradients_are_those_of_the_plain_formula(
    what: str, dtype: torch.dtype, rounding: float, axis: int
) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(3, 10, 8, dtype=dtype), torch.randn(3, 10, 8, dtype=dtype)
    results = []
    for ours in (True, False):
        leaf = x.clone().requires_grad_()
        if what == "norm":
            y = rms_norm(leaf, 1e-5, axis) if ours else plain_norm(leaf, 1e-5, axis)
        else:
            y = gated(leaf, axis) if ours else plain_gate(leaf, axis)
        (y.float() * weight[: y.shape[0], : y.shape[1], : y.shape[2]].float()).sum().backward()
        results.append((y.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1], rtol=rounding, atol=rounding)


def test_mixing_tokens_from_the_left_equals_mixing_them_transposed() -> None:
    torch.manual_seed(0)
    from_left, transposed = TokenSwiGLU(9), SwiGLU(9)
    transposed.load_state_dict(from_left.state_dict())
    x = torch.randn(3, 9, 8)
    expected = transposed(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(from_left(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [1, -1])
def test_a_norm_keeps_its_output_and_a_gate_its_input_and_nothing_else_of_that_size(axis: int) -> None:
    x = torch.randn(2, 16, 16, dtype=torch.bfloat16, requires_grad=True)
    kept: list[int] = []
    with saved_tensors_hooks(lambda tensor: kept.append(tensor.nbytes) or tensor, lambda tensor: tensor):
        rms_norm(x, 1e-5, axis)
        gated(x, axis)
    assert sorted(kept)[-2:] == [x.nbytes, x.nbytes]
    assert sum(kept) < 2.5 * x.nbytes


@pytest.mark.parametrize(("columns", "apart"), [(97, 104), (81, 88), (96, 96)])
def test_aligned_rows_are_the_same_matrix_with_the_same_gradient(columns: int, apart: int) -> None:
    weight = torch.randn(6, columns, dtype=torch.bfloat16, requires_grad=True)
    x = torch.randn(2, columns, 4, dtype=torch.bfloat16)
    rows = aligned(weight)
    assert rows.stride() == (apart, 1)
    assert torch.equal(rows, weight)
    rows.backward(torch.ones_like(rows))
    assert torch.equal(weight.grad, torch.ones_like(weight))
    torch.testing.assert_close(torch.bmm(rows.expand(2, -1, -1), x), torch.bmm(weight.expand(2, -1, -1), x))


def test_a_weight_that_is_cast_once_is_read_anew_at_the_next_use_and_after_an_error() -> None:
    layer, x = Linear(4, 4), torch.ones(1, 4, dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match="in between"), cast_once(layer, torch.bfloat16):
        raise RuntimeError("in between")
    with torch.no_grad():
        with cast_once(layer, torch.bfloat16):
            before = layer(x)
        layer.weight.mul_(2)
        assert torch.equal(layer(x), 2 * before)
        with cast_once(layer, torch.bfloat16):
            assert torch.equal(layer(x), 2 * before)
            assert torch.equal(layer(x.float()), F.linear(x.float(), layer.weight))  # another type than it was cast to
