"""Blocks as one writes their formulas down first, to be compared with ours.

Tokens are transposed for a linear layer over the last axis, attention is the library's, gradients are autograd's.
"""

import copy
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models import TrainableModel
from trainer.models.layers import RotaryPositions, SwiGLU
from trainer.models.recursion import Block, Level


def plainly(model: TrainableModel) -> TrainableModel:
    """Return a copy of `model` with the same weights, of which every block computes by the plain formulas."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        if isinstance(module, Level):
            module.layers = nn.ModuleList(PlainBlock(block) for block in module.layers)
    return model


class PlainBlock(nn.Module):
    """The plain rendering of a block."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, positions: RotaryPositions | None) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        block = self.block
        if block.uses_mlp_t:
            x = x.transpose(1, 2)
            x = rms(x + swiglu(x, block.mlp_t)).transpose(1, 2)
        else:
            x = rms(x + self._attention(x, positions))
        return rms(x + swiglu(x, block.mlp))

    def _attention(self, x: Tensor, positions: RotaryPositions | None) -> Tensor:
        mixer = self.block.self_attn
        rows, tokens, width = x.shape
        weight = mixer.qkv_proj.weight.to(x.dtype)
        q, k, v = F.linear(x, weight).view(rows, tokens, 3, mixer.heads, -1).unbind(2)
        if positions is not None:
            q, k = (rotate(part, positions.cos, positions.sin) for part in (q, k))
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return F.linear(mixed.transpose(1, 2).reshape(rows, tokens, width), mixer.o_proj.weight.to(x.dtype))


def rms(x: Tensor) -> Tensor:
    """Divide by the root mean square of the last axis."""
    wide = x.to(torch.float32)
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


def swiglu(x: Tensor, layer: SwiGLU) -> Tensor:
    """Return `down(silu(gate) * up)` over the last axis."""
    gate, up = F.linear(x, layer.gate_up_proj.weight.to(x.dtype)).chunk(2, dim=-1)
    return F.linear(F.silu(gate) * up, layer.down_proj.weight.to(x.dtype))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn [B, T, h, d] by its positions."""
    low, high = x.chunk(2, dim=-1)
    turned = torch.cat((-high, low), dim=-1)
    return ((x.float() * cos.unsqueeze(-2)) + (turned.float() * sin.unsqueeze(-2))).to(x.dtype)


class PlainUpdate:
    """Adam-atan2 and the weight average, tensor by tensor, as the formulas are written."""

    def __init__(self, lr: float, decay: float, mu: float) -> None:
        self._lr, self._decay, self._mu = lr, decay, mu
        self._moments: dict[str, tuple[Tensor, Tensor]] = {}
        self.average: dict[str, Tensor] = {}
        self._updates = 0

    @torch.no_grad()
    def __call__(self, named: Iterable[tuple[str, Tensor]]) -> None:
        """Move every tensor that has a gradient, and drop that."""
        self._updates += 1
        one, two = 1 - 0.9**self._updates, math.sqrt(1 - 0.95**self._updates)
        for name, p in named:
            if p.grad is None:
                continue
            mean, square = self._moments.setdefault(name, (torch.zeros_like(p), torch.zeros_like(p)))
            average = self.average.setdefault(name, p.detach().clone())
            p.mul_(1 - self._lr * self._decay)
            mean.lerp_(p.grad, 0.1)
            square.lerp_(p.grad * p.grad, 0.05)
            p.sub_(torch.atan2(mean, square.sqrt() / two) * (self._lr / one))
            self.average[name] = (1 - self._mu) * p + self._mu * average
            p.grad = None
