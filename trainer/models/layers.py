"""The layers that recursive models are made of. Weights are float32 and cast to the type of their input.

Legend: `B` rows, `T` tokens, `D` width, `h` heads, `d = D / h`, `I` inner width of a SwiGLU.
Formulas: "Less is More", arXiv 2510.04871, and its public reference implementation (behaviour, not code).
"""

import math

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


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """Divide `x` by its root mean square along the last axis, in float32; no weight."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


class Linear(nn.Module):
    """A linear map without bias unless asked for, started from a truncated normal of std 1/sqrt(inputs)."""

    bias: Tensor | None

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(truncated_normal(outputs, inputs, std=inputs**-0.5))
        if bias:
            self.bias = nn.Parameter(torch.zeros(outputs))
        else:
            self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., inputs] to [..., outputs] in the type of `x`."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


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
        cos, sin = self.cos[:, None, :half], self.sin[:, None, :half]
        low, high = torch.split(x.float(), half, dim=-1)
        return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1).to(x.dtype)


class Attention(nn.Module):
    """Multi-head attention in which every token sees every token; no mask, no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv_proj = Linear(width, 3 * width)
        self.o_proj = Linear(width, width)

    def forward(self, x: Tensor, positions: RotaryPositions | None) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        rows, tokens, width = x.shape
        q, k, v = self.qkv_proj(x).view(rows, tokens, 3, self.heads, width // self.heads).unbind(2)
        if positions is not None:
            q, k = positions(q), positions(k)
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
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        out: Tensor = self.down_proj(F.silu(gate) * up)
        return out
