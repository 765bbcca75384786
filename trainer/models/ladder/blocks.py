"""The layers of the ladder: pre-norm blocks of a mixer and a SwiGLU, and the stack that goes through them.

Legend: `B` rows, `T` tokens, `D` width, `h` heads, `g` heads of keys, `d = D / h`.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.models.layers import Linear, SwiGLU, rms_norm
from trainer.models.sight import KeysValues, Rotation, Sight, View, attend, rotate

EPS = 1e-6


class Kept(Protocol):
    """What a mixer keeps of what it has read."""

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but `rows`."""


class Mixer(Protocol):
    """What tokens are mixed by. It is also an `nn.Module`."""

    def __call__(self, x: Tensor, view: View, kept: Kept | None) -> Tensor:
        """Map [B, T, D] to [B, T, D]; with `kept`, the tokens follow what it holds, and it takes them in."""

    def empty(self, rows: int, most: int, like: Tensor, dtype: torch.dtype) -> Kept:
        """Return what is kept of nothing, with room for `most` tokens of `rows` texts."""


class RMSNorm(nn.Module):
    """Root mean square norm with a weight, in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., width] to the same in its own type."""
        return (rms_norm(x.float(), EPS) * self.weight).to(x.dtype)


class ToKeysValues(nn.Module):
    """What a source of tokens offers to those that attend to it."""

    def __init__(self, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.kv_heads, self.head = kv_heads, width // heads
        self.norm = RMSNorm(width)
        self.kv_proj = Linear(width, 2 * kv_heads * self.head)

    def forward(self, source: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor]:
        """Return keys and values [B, g, T, d] of [B, T, D]."""
        return keys_values(self.kv_proj(self.norm(source)), self.kv_heads, rotation)


def keys_values(projected: Tensor, heads: int, rotation: Rotation | None) -> tuple[Tensor, Tensor]:
    """Part [B, T, 2 g d] into keys, turned by their places, and values, [B, g, T, d] each."""
    rows, tokens, _ = projected.shape
    k, v = projected.view(rows, tokens, 2, heads, -1).unbind(2)
    return rotate(k, rotation).transpose(1, 2), v.transpose(1, 2)


class CrossAttention(nn.Module):
    """Attention to keys and values that were made elsewhere."""

    def __init__(self, width: int, heads: int, scale: float) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = Linear(width, width)
        self.o_proj = scaled(Linear(width, width), scale)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, sight: Sight, rotation: Rotation | None) -> Tensor:
        """Map queries [B, Q, D] to [B, Q, D]."""
        rows, queries, width = x.shape
        q = rotate(self.q_proj(x).view(rows, queries, self.heads, -1), rotation).transpose(1, 2)
        out: Tensor = self.o_proj(attend(q, keys, values, sight).transpose(1, 2).reshape(rows, queries, width))
        return out


class Attention(CrossAttention):
    """Causal attention among tokens, with grouped heads of keys (arXiv 2305.13245) where there are fewer of them."""

    def __init__(self, width: int, heads: int, kv_heads: int, scale: float) -> None:
        super().__init__(width, heads, scale)
        self.kv_heads = kv_heads
        self.kv_proj = Linear(width, 2 * kv_heads * (width // heads))

    def forward(self, x: Tensor, view: View, kept: Kept | None) -> Tensor:  # type: ignore[override]
        """Map [B, T, D] to [B, T, D]."""
        keys, values = keys_values(self.kv_proj(x), self.kv_heads, view.rotation)
        if isinstance(kept, KeysValues):
            keys, values = kept.append(keys, values)
        assert view.sight is not None
        return super().forward(x, keys, values, view.sight, view.rotation)

    def empty(self, rows: int, most: int, like: Tensor, dtype: torch.dtype) -> KeysValues:
        """Return room for keys and values."""
        return KeysValues.empty(rows, self.kv_heads, most, self.q_proj.weight.shape[0] // self.heads, like, dtype)


class Block(nn.Module):
    """`x + mix(norm(x))`, then `x + SwiGLU(norm(x))`."""

    repeated = True

    def __init__(self, mixer: nn.Module, width: int, inner: int, dropout: float, scale: float) -> None:
        """Take a `Mixer` and the inner width of the SwiGLU; `scale` is of what is added."""
        super().__init__()
        self.norm_mixer, self.mixer = RMSNorm(width), mixer
        self.norm_mlp, self.mlp = RMSNorm(width), SwiGLU(width, inner=inner)
        scaled(self.mlp.down_proj, scale)
        self.dropout = dropout

    def forward(self, x: Tensor, view: View, kept: Kept | None) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        x = x + F.dropout(self.mixer(self.norm_mixer(x), view, kept), self.dropout, self.training)
        return x + F.dropout(self.mlp(self.norm_mlp(x)), self.dropout, self.training)


class Stack(nn.Module):
    """Layers that follow each other, gone through as often as asked."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(blocks)
        self.recompute = False

    def forward(self, x: Tensor, view: View) -> Tensor:
        """Map [B, T, D] to [B, T, D] once through, training or scoring whole rows."""
        for layer in self.layers:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(layer, x, view, None, use_reentrant=False)
            else:
                x = layer(x, view, None)
        return x

    def read(self, x: Tensor, view: View, kept: list[Kept]) -> Tensor:
        """Do the same for tokens that follow what is `kept` of each layer.

        Blocks are not used compiled, for the number of tokens is another each time.
        """
        for layer, own in zip(self.layers, kept, strict=True):
            x = layer.forward(x, view, own)
        return x


def scaled(linear: Linear, scale: float) -> Linear:
    """Scale the initial weights of `linear` and return it."""
    with torch.no_grad():
        linear.weight.mul_(scale)
    return linear
