"""Thoughts: vectors beside the tokens that read what came before an anchor, a few rounds long, and tell the tokens.

An anchor stands at every `thought_stride`-th token of a document and at the end of its prompt. Its Z thoughts start as
learned vectors; every round adds what they read of the tokens up to the anchor, and a SwiGLU of themselves. Every token
is told the mean of the thoughts of the last anchor of its document that is not after it, so nothing looks ahead.
With `adaptive` thought each anchor decides after each round whether to stop; the equations are at `Halting`.
Legend: `B` rows (1 where all are alike), `T` tokens, `A` anchors, `Z` thoughts of each, `D` width, `k` rounds from 1.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.models.ladder.blocks import CrossAttention, RMSNorm, ToKeysValues, scaled
from trainer.models.ladder.halting import Halting, Ledger
from trainer.models.layers import Linear, SwiGLU, truncated_normal
from trainer.models.sight import Rotation, Sight


class Anchors(NamedTuple):
    """Where thoughts stand."""

    places: Tensor
    """Of each anchor in the row, int64 [B, A]; those that are none stand at 0, and nobody asks them."""
    valid: Tensor
    """Bool [B, A]: which of them are anchors."""
    of_tokens: Tensor
    """Int64 [B, T]: the anchor each token is told of, counted from 1; 0 is what was known before."""


class Thought(NamedTuple):
    """What was thought."""

    told: Tensor
    """What each anchor tells the tokens, [B, A, D]."""
    ponder: Tensor
    """What the thinking of each anchor costs, float32 [B, A]."""
    steps: Tensor
    """Rounds of each anchor, expected or made, float32 [B, A]."""


def find_anchors(positions: Tensor, documents: Tensor, prompt_ends: Tensor, stride: int) -> Anchors:
    """Place the anchors of packed rows; `positions` [B, T] count within the document.

    There is room for `T / stride` anchors and half as many at ends of prompts, both rounded up. Those at every
    `stride`-th token always fit; of prompts that end elsewhere the first ones have one, enough where documents are two
    strides long in the mean, and what follows a later one is told of the anchor before it.
    On a CPU, where looking costs nothing, room that no row needs is left out.
    """
    rows, tokens = positions.shape
    room = -(-tokens // stride)
    ends_room = -(-room // 2)
    regular = (positions + 1) % stride == 0
    ends = prompt_ends & ~regular
    stands = regular | (ends & (ends.cumsum(1) <= ends_room))
    number = stands.cumsum(1)
    indices = torch.arange(tokens, device=positions.device).expand(rows, -1)
    slots = torch.zeros(rows, room + ends_room + 1, dtype=torch.int64, device=positions.device)
    used = max(1, int(number.max())) if positions.device.type == "cpu" else room + ends_room
    places = slots.scatter(1, torch.where(stands, number, 0), indices * stands)[:, 1 : used + 1]
    valid = torch.arange(1, used + 1, device=positions.device) <= number[:, -1:]
    before = torch.cat((torch.zeros_like(slots[:, :1]), places), 1).gather(1, number)
    mine = (number > 0) & (documents.gather(1, before) == documents)
    return Anchors(places, valid, torch.where(mine, number, 0))


class Core(nn.Module):
    """One round: thoughts read the tokens, then think for themselves. The same weights in every round."""

    repeated = True

    def __init__(self, width: int, heads: int, inner: int, dropout: float, scale: float) -> None:
        super().__init__()
        self.norm_read, self.reads = RMSNorm(width), CrossAttention(width, heads, scale)
        self.norm_mlp, self.mlp = RMSNorm(width), SwiGLU(width, inner=inner)
        scaled(self.mlp.down_proj, scale)
        self.dropout = dropout

    def forward(self, z: Tensor, keys: Tensor, values: Tensor, sight: Sight, rotation: Rotation | None) -> Tensor:
        """Map thoughts [B, A Z, D] to the same."""
        read = self.reads(self.norm_read(z), keys, values, sight, rotation)
        z = z + F.dropout(read, self.dropout, self.training)
        return z + F.dropout(self.mlp(self.norm_mlp(z)), self.dropout, self.training)


class Thoughts(nn.Module):
    """The thoughts of all anchors."""

    def __init__(
        self, width: int, heads: int, kv_heads: int, inner: int, *,
        each: int, rounds: int, halting: Halting | None, dropout: float,
    ) -> None:  # fmt: skip
        """Take the sizes of a block; `each` anchor has so many thoughts, `rounds` long while training."""
        super().__init__()
        scale = (2 * rounds) ** -0.5
        self.each, self.rounds, self.halting = each, rounds, halting
        self.initial = nn.Parameter(truncated_normal(each, width, std=1))
        self.offers = ToKeysValues(width, heads, kv_heads)
        self.core = Core(width, heads, inner, dropout, scale)
        self.tells = scaled(Linear(width, width), 2**-0.5)
        self.recompute = False

    def forward(
        self, keys: Tensor, values: Tensor, sight: Sight, rotation: Rotation | None, like: Tensor, rounds: int
    ) -> Thought:
        """Think for the anchors of `sight`, whose queries have the `rotation`, in the shape of `like` [B, A, D]."""
        rows, anchors, width = like.shape
        start = self.initial.to(like.dtype).expand(rows, anchors, -1, -1).reshape(rows, -1, width)
        z, ledger = start, Ledger(self.halting, rows, anchors, like.device, rounds, training=self.training)
        mean = torch.zeros(rows, anchors, width, dtype=torch.float32, device=like.device)
        for k in range(1, rounds + 1):
            if self.recompute and torch.is_grad_enabled():
                z = checkpoint(self.core, z, keys, values, sight, rotation, use_reentrant=False)
            elif self.training:
                z = self.core(z, keys, values, sight, rotation)
            else:
                z = self.core.forward(z, keys, values, sight, rotation)
            now = z.view(rows, anchors, self.each, width).float().mean(2)
            mean = mean + ledger.weigh(now, k) * now
            if ledger.done():
                break
        return Thought(self.tells(mean.to(like.dtype)), ledger.ponder, ledger.steps)
