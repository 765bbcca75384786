"""The layers that recursive models are made of. Weights are float32 and read in the type of their input.

Legend: `B` rows, `T` tokens, `D` width, `h` heads, `d = D / h`, `I` inner width of a SwiGLU.
Formulas: "Less is More", arXiv 2510.04871, and its public reference implementation (behaviour, not code).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STD_OF_CUT_NORMAL = 0.8796256610342398
"""Standard deviation of a unit normal cut at +-2."""

EXPLICIT_ATTENTION_TOKENS = 1024
"""On a CPU, up to this many tokens, two matrix products and a softmax beat the fused kernel (forward + backward)."""


def truncated_normal(*shape: int, std: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a normal sample cut at two sigma whose own standard deviation is `std`, as JAX's initialisers do."""
    if std == 0:
        return torch.zeros(shape, dtype=dtype)
    scale = std / _STD_OF_CUT_NORMAL
    edge = math.erf(math.sqrt(2))
    sample = torch.empty(shape, dtype=dtype).uniform_(-edge, edge)
    return sample.erfinv_().mul_(math.sqrt(2) * scale).clamp_(-2 * scale, 2 * scale)


def rms_norm(x: Tensor, eps: float, axis: int = -1) -> Tensor:
    """Divide `x` by its root mean square along an axis, in float32; no weight."""
    normed: Tensor = _RmsNorm.apply(x, eps, axis)  # type: ignore[no-untyped-call]
    return normed


class _RmsNorm(torch.autograd.Function):
    """With r the reciprocal root, y = x r, and the gradient is r (g - y mean(g y)).

    So only y and r are kept, and y is kept anyway by whatever multiplies it: autograd would keep x in float32, too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, axis: int) -> Tensor:
        wide = x.float()
        r = torch.rsqrt(wide.square().mean(axis, keepdim=True) + eps)
        y = (wide * r).to(x.dtype)
        ctx.save_for_backward(y, r)
        ctx.axis = axis
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        y, r = ctx.saved_tensors
        wide, grad = y.float(), grad.float()
        along = (grad * wide).mean(ctx.axis, keepdim=True)
        return torch.addcmul(grad, wide, along, value=-1).mul_(r).to(y.dtype), None, None


class Linear(nn.Module):
    """A linear map without bias unless asked for, started from a truncated normal of std 1/sqrt(inputs)."""

    bias: Tensor | None

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.cast: Tensor | None = None
        """A copy of the weight in another type, made for all of its uses: see `cast_once`."""
        self.weight = nn.Parameter(truncated_normal(outputs, inputs, std=inputs**-0.5))
        if bias:
            self.bias = nn.Parameter(torch.zeros(outputs))
        else:
            self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., inputs] to [..., outputs] in the type of `x`."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight_in(x.dtype), bias)

    def weight_in(self, dtype: torch.dtype) -> Tensor:
        """Return the weight in `dtype`."""
        if self.cast is None or self.cast.dtype != dtype:
            return self.weight.to(dtype)
        cast: Tensor = _Cast.apply(self.weight, self.cast)  # type: ignore[no-untyped-call]
        return cast


class _Cast(torch.autograd.Function):
    """A weight in another type, from a copy that is there; the gradient of each use is cast back, as without one."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, copy: Tensor) -> Tensor:
        ctx.dtype = weight.dtype
        return copy.view_as(copy)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.to(ctx.dtype), None


@contextmanager
def cast_once(module: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Within, weights of `module` are cast to `dtype` once, not at each of their uses. No number changes by it.

    Weights of which every process holds a share are left alone: their blocks gather them, and let go of them after.
    """
    linears = [part for part in module.modules() if isinstance(part, Linear) and type(part.weight) is nn.Parameter]
    linears = [part for part in linears if part.weight.dtype != dtype]
    try:
        for part in linears:
            part.cast = part.weight.detach().to(dtype)
        yield
    finally:
        for part in linears:
            part.cast = None


class Embedding(nn.Module):
    """A table of vectors, started from a truncated normal of the given std."""

    def __init__(self, rows: int, width: int, std: float) -> None:
        super().__init__()
        self.embedding_weight = nn.Parameter(truncated_normal(rows, width, std=std))

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """Return [..., width] in `dtype` for integer `tokens`."""
        return F.embedding(tokens.long(), self.embedding_weight.to(dtype))


class RotaryPositions(nn.Module):
    """Cosines and sines of rotary positions 0..T-1, float32 [T, d]; both halves of d hold the same frequencies."""

    cos: Tensor
    sin: Tensor

    def __init__(self, tokens: int, width: int, theta: float) -> None:
        super().__init__()
        frequencies = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
        angles = torch.outer(torch.arange(tokens, dtype=torch.float32), frequencies)
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rotate `x` [B, T, h, d] in float32 and return it in its own type."""
        half = x.shape[-1] // 2
        return rotated(x, self.cos[:, None, :half], self.sin[:, None, :half])

    def at(self, places: Tensor) -> "Rotation":
        """Return what rotates tokens that are at `places` [B, T], instead of one after the other."""
        half = self.cos.shape[-1] // 2
        return Rotation(self.cos[places, None, :half], self.sin[places, None, :half])


class Rotation(NamedTuple):
    """Cosines and sines of rows whose tokens are at places of their own, float32 [B, T, 1, d / 2]."""

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate `x` [B, T, h, d] in float32 and return it in its own type."""
        return rotated(x, self.cos, self.sin)


Positions = RotaryPositions | Rotation


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the halves of `x` [B, T, h, d] by angles [T or B x T, 1, d / 2]; float32 inside."""
    low, high = torch.split(x.float(), x.shape[-1] // 2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1).to(x.dtype)


class Attention(nn.Module):
    """Multi-head attention in which every token sees every token; no mask, no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv_proj = Linear(width, 3 * width)
        self.o_proj = Linear(width, width)

    def forward(self, x: Tensor, positions: Positions | None) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        rows, tokens, width = x.shape
        heads = self.qkv_proj(x).view(rows, tokens, 3 * self.heads, width // self.heads)
        q_and_k, v = heads.split((2 * self.heads, self.heads), dim=2)
        if positions is not None:
            q_and_k = positions(q_and_k)
        q, k = q_and_k.chunk(2, dim=2)
        mixed = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(rows, tokens, width))
        return out


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k' / sqrt(d)) v for [B, h, T, d]; the fused kernel on a GPU, matrix products on a CPU."""
    if q.device.type != "cpu" or q.shape[-2] > EXPLICIT_ATTENTION_TOKENS:
        return F.scaled_dot_product_attention(q, k, v)
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-2, -1))
    return torch.matmul(scores.softmax(-1), v)


def swiglu_width(width: int, expansion: float) -> int:
    """Return the inner width: 2/3 of `expansion * width`, rounded up to a multiple of 256."""
    return math.ceil(max(1, round(expansion * width * 2 / 3)) / 256) * 256


class SwiGLU(nn.Module):
    """`down(silu(gate(x)) * up(x))` over the last axis."""

    def __init__(self, width: int, expansion: float = 4.0, *, inner: int | None = None) -> None:
        """Take the inner width from `expansion`, unless it is given."""
        super().__init__()
        inner = swiglu_width(width, expansion) if inner is None else inner
        self.gate_up_proj = Linear(width, 2 * inner)
        self.down_proj = Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., width] to [..., width]."""
        out: Tensor = self.down_proj(gated(self.gate_up_proj(x), -1))
        return out


class TokenSwiGLU(SwiGLU):
    """The same over the tokens of [B, T, D], with weights that multiply from the left: nothing is transposed."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        gate_up = from_left(self.gate_up_proj.weight_in(x.dtype), x)
        return from_left(self.down_proj.weight_in(x.dtype), gated(gate_up, 1))


def from_left(weight: Tensor, x: Tensor) -> Tensor:
    """Return `weight` [outputs, T] times each of `x` [B, T, D].

    A batched product that reads one weight again and again: `torch.matmul` would transpose `x` to make it a single one.
    """
    if x.is_cuda:
        weight = aligned(weight)
    return torch.bmm(weight.expand(len(x), -1, -1), x)


def aligned(weight: Tensor) -> Tensor:
    """Return the same matrix in memory in which every row begins at a multiple of 16 bytes.

    A GPU's fast kernels load 16 bytes at once, and rows of 97 or 81 tokens in bfloat16 would shut them out.
    """
    columns = weight.shape[1]
    room = -columns % (16 // weight.element_size())
    return F.pad(weight, (0, room))[:, :columns] if room else weight


def gated(gate_up: Tensor, axis: int) -> Tensor:
    """Return `silu(gate) * up` for the halves of `gate_up` along an axis."""
    product: Tensor = _Gated.apply(gate_up, axis)  # type: ignore[no-untyped-call]
    return product


class _Gated(torch.autograd.Function):
    """Keeps `gate_up` alone: autograd would keep silu(gate), too."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor, axis: int) -> Tensor:
        ctx.save_for_backward(gate_up)
        ctx.axis = axis
        gate, up = gate_up.chunk(2, dim=axis)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=ctx.axis)
        to_gate = torch.ops.aten.silu_backward(grad * up, gate)
        return torch.cat((to_gate, F.silu(gate).mul_(grad)), dim=ctx.axis), None
