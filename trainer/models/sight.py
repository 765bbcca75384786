"""Who sees whom: causal attention among the documents of a row, and what of the past is kept while reading.

Legend: `B` rows (1 where all are alike), `Q` queries, `K` keys, `h` heads, `g` heads of keys, `d` width of a head.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 1024
"""Queries that are worked on at once, so that no Q x K mask of a long text is ever whole in memory."""
EXPLICIT = 1 << 20
"""On a CPU, up to so many pairs of a query and a key, matrix products and a softmax beat the fused kernel."""
NEVER = -1e30
"""Added to the score of a pair that is not to be seen; finite, so that no gradient is ever 0 x infinity."""

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines [B, T, d / 2] (float32) of the places of tokens."""


class Sight:
    """Which keys each query sees: those of its own document up to its own place, or of a window before it."""

    def __init__(
        self,
        queries: Tensor,
        keys: Tensor,
        documents: tuple[Tensor, Tensor] | None = None,
        *,
        each: int = 1,
        window: int = 0,
        first: int | None = None,
        beside: Tensor | None = None,
    ) -> None:
        """Take the places in the row of queries [B, Q] and keys [K], and both's documents, where there are several.

        `each`: queries that stand at a place, one after the other. `window`: keys a query sees, 0 for all. `first`: the
        place of the first of queries in a row, if that is what they are; keys after a block of them are not even
        looked at. `beside` (bool [B, Q, M]): which of M further keys, before the others, they see.
        """
        self._queries, self._keys, self._documents = queries, keys, documents
        self._each, self._window, self._first, self._beside = each, window, first, beside
        self._all: Tensor | None = None
        self._sum: Tensor | None = None
        total = queries.shape[1] * each
        if total <= BLOCK and not self.whole(total):  # small enough to be made once for all layers
            self._all = self._make(slice(0, total), self.reach(slice(0, total), self._total_keys()))
            self._sum = torch.where(self._all, 0.0, NEVER) if queries.device.type == "cpu" else None

    def _total_keys(self) -> int:
        return self._keys.shape[0] + (0 if self._beside is None else self._beside.shape[-1])

    def reach(self, rows: slice, keys: int) -> int:
        """Return how many of `keys` the queries of `rows` can see at all."""
        return keys if self._first is None else min(keys, self._first + rows.stop)

    def whole(self, queries: int) -> bool:
        """Say whether there is nothing to hide from `queries` queries: from one alone, at the end of everything."""
        return self._first is not None and queries == 1 and self._documents is None and not self._window

    def mask(self, rows: slice, reach: int) -> Tensor:
        """Return bool [B, 1, q, reach]: what the queries of `rows`, counted one by one, see."""
        return self._make(rows, reach) if self._all is None else self._all

    def bias(self, rows: slice, reach: int) -> Tensor:
        """Return the same as a float32 to be added to scores."""
        return torch.where(self.mask(rows, reach), 0.0, NEVER) if self._sum is None else self._sum

    def _make(self, rows: slice, reach: int) -> Tensor:
        first, last = rows.start // self._each, -(-rows.stop // self._each)
        queries, extra = self._queries[:, first:last, None], 0 if self._beside is None else self._beside.shape[-1]
        keys = self._keys[None, None, : reach - extra]
        seen = keys <= queries
        if self._window:
            seen = seen & (keys > queries - self._window)
        if self._documents is not None:
            of_queries, of_keys = self._documents
            seen = seen & (of_keys[:, None, : reach - extra] == of_queries[:, first:last, None])
        if self._beside is not None:
            beside = self._beside[:, first:last]
            seen = torch.cat((beside, seen.expand(beside.shape[0], -1, -1)), dim=-1)
        if self._each > 1:
            seen = seen.repeat_interleave(self._each, dim=1)
            seen = seen[:, rows.start - first * self._each : rows.stop - first * self._each]
        return seen[:, None]


class View(NamedTuple):
    """What a layer knows of the tokens it works on."""

    sight: Sight | None
    """For attention."""
    rotation: Rotation | None
    documents: Tensor | None
    """Of the tokens [B, T]; None: all of a row are of one."""


@dataclass
class KeysValues:
    """Keys and values of what was read, in room taken once; [B, g, most, d] each."""

    keys: Tensor
    values: Tensor
    length: int = 0

    @classmethod
    def empty(cls, rows: int, heads: int, most: int, width: int, like: Tensor, dtype: torch.dtype) -> "KeysValues":
        """Return room for `most` tokens of `rows` texts, on the device of `like`."""
        room = torch.zeros(2, rows, heads, most, width, dtype=dtype, device=like.device)
        return cls(room[0], room[1])

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Take in [B, g, T, d] each; return all there are now."""
        end = self.length + keys.shape[2]
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but `rows`."""
        self.keys, self.values = self.keys[rows], self.values[rows]


def rotate(x: Tensor, rotation: Rotation | None) -> Tensor:
    """Turn `x` [B, T, h, d] by the places of its tokens, in float32; return it in its own type."""
    if rotation is None:
        return x
    cos, sin = (part[:, :, None] for part in rotation)
    low, high = x.float().chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, sight: Sight) -> Tensor:
    """Return softmax(q k' / sqrt(d)) v, [B, h, Q, d], of what `sight` lets `q` [B, h, Q, d] see of [B, g, K, d]."""
    shared = q.shape[1] // k.shape[1]
    if shared > 1:
        k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
    queries, keys = q.shape[2], k.shape[2]
    found = []
    for start in range(0, queries, BLOCK):
        rows = slice(start, min(start + BLOCK, queries))
        reach = sight.reach(rows, keys)
        found.append(_block(q[:, :, rows], k[:, :, :reach], v[:, :, :reach], sight, rows))
    return found[0] if len(found) == 1 else torch.cat(found, dim=2)


def _block(q: Tensor, k: Tensor, v: Tensor, sight: Sight, rows: slice) -> Tensor:
    reach, queries = k.shape[2], q.shape[2]
    whole = sight.whole(queries)
    if q.device.type != "cpu" or queries * reach > EXPLICIT:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=None if whole else sight.mask(rows, reach))
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-2, -1))
    if not whole:
        scores = scores + sight.bias(rows, reach)
    return torch.matmul(scores.softmax(-1, dtype=torch.float32).to(v.dtype), v)
