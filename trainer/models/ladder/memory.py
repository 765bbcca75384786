"""Memory: vectors that take in a segment of tokens at a time, and are read by the tokens of the next one.

Segment s of a document reads m_{s-1}: `h += attend(h, m_{s-1})`; when all its tokens are there,
`m_s = m_{s-1} + attend(m_{s-1}, h of segment s)`. m_{-1} is learned, and every document begins with it. Thoughts read
the memory that the tokens around their anchor read.
Legend: `B` rows, `T` tokens, `S` tokens of a segment, `C = T // S`, `M` memory vectors, `D` width.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainer.models.ladder.blocks import CrossAttention, RMSNorm, ToKeysValues
from trainer.models.layers import truncated_normal
from trainer.models.sight import Sight


class Bank(NamedTuple):
    """The memories that tokens of a row read."""

    vectors: Tensor
    """[B, C + 1, M, D]; the first is what was there before."""
    positions: Tensor
    """Of the last token that each of them took in, within its document, int64 [B, C + 1]; 0 for the learned one."""
    of_tokens: Tensor
    """Which of them each token reads, int64 [B, T]."""

    def shown(self, of_queries: Tensor) -> Tensor:
        """Return bool [B, Q, (C + 1) M]: which vectors queries see that read the memories `of_queries` [B, Q]."""
        count, each = self.vectors.shape[1:3]
        numbers = torch.arange(count, device=of_queries.device).repeat_interleave(each)
        return of_queries[..., None] == numbers


@dataclass
class Remembered:
    """What is kept of what was read."""

    vectors: Tensor
    """The memory now, [B, M, D]."""
    pending: Tensor
    """Tokens of the segment that is not whole yet, [B, S, D]."""
    fill: int = 0
    """How many of them there are."""
    segments: int = 0
    """Segments that were taken in."""

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but `rows`."""
        self.vectors, self.pending = self.vectors[rows], self.pending[rows]


class Memory(nn.Module):
    """The memory of segments."""

    def __init__(self, width: int, heads: int, vectors: int, segment: int, scale: float) -> None:
        super().__init__()
        self.segment = segment
        self.initial = nn.Parameter(truncated_normal(vectors, width, std=1))
        self.norm_read, self.offers_read = RMSNorm(width), ToKeysValues(width, heads, heads)
        self.reads = CrossAttention(width, heads, scale)
        self.norm_write, self.offers_write = RMSNorm(width), ToKeysValues(width, heads, heads)
        self.writes = CrossAttention(width, heads, scale)

    def forward(self, h: Tensor, positions: Tensor, documents: Tensor) -> tuple[Tensor, Bank]:
        """Work on packed rows `h` [B, T, D], `positions` [B, T] in the document; return what tokens are now."""
        rows, tokens, _ = h.shape
        room = tokens // self.segment
        ends = (positions + 1) % self.segment == 0
        number = ends.cumsum(1)
        indices = torch.arange(tokens, device=h.device).expand(rows, -1)
        slots = torch.zeros(rows, room + 1, dtype=torch.int64, device=h.device)
        last = slots.scatter(1, torch.where(ends, number, 0), indices * ends)
        at = positions.gather(1, last)
        vectors = self._run(h, last[:, 1:], at[:, 1:])
        of_tokens = torch.where(positions >= self.segment, number - ends.long(), 0)
        known = torch.where(torch.arange(room + 1, device=h.device) > 0, at, 0)
        bank = Bank(vectors, known, of_tokens)
        return self._tell(h, bank), bank

    def _run(self, h: Tensor, last: Tensor, at: Tensor) -> Tensor:
        """Return [B, C + 1, M, D]: the learned memory, and those after the segments that end at `last` [B, C]."""
        rows, _, width = h.shape
        learned = self.initial.to(h.dtype).expand(rows, -1, -1)
        found = [learned]
        within = torch.arange(1 - self.segment, 1, device=h.device)
        for slot in range(last.shape[1]):
            first = (at[:, slot] < self.segment)[:, None, None]
            before = torch.where(first, learned, found[-1])
            places = (last[:, slot, None] + within).clamp(min=0)  # of a slot that holds nothing: anything
            part = h.gather(1, places[..., None].expand(-1, -1, width))
            found.append(self._write(before, self._read(part, before)))
        return torch.stack(found, 1)

    def _read(self, part: Tensor, memory: Tensor) -> Tensor:
        """Return tokens [B, T, D] that have read one `memory` [B, M, D]."""
        keys, values = self.offers_read(memory, None)
        out: Tensor = part + self.reads(self.norm_read(part), keys, values, _all_of(part, memory), None)
        return out

    def _write(self, memory: Tensor, part: Tensor) -> Tensor:
        keys, values = self.offers_write(part, None)
        out: Tensor = memory + self.writes(self.norm_write(memory), keys, values, _all_of(memory, part), None)
        return out

    def _tell(self, h: Tensor, bank: Bank) -> Tensor:
        """Let tokens read each their own memory."""
        keys, values = self.offers_read(bank.vectors.flatten(1, 2), None)
        sight = Sight(bank.of_tokens, bank.of_tokens[0, :0], beside=bank.shown(bank.of_tokens))
        out: Tensor = h + self.reads(self.norm_read(h), keys, values, sight, None)
        return out

    def read(self, h: Tensor, kept: Remembered) -> tuple[Tensor, Bank]:
        """Do the same for tokens [B, T, D] of one document, that follow what is `kept`."""
        tokens, done = h.shape[1], 0
        memories, positions, of_tokens, told = [kept.vectors], [self._end(kept)], [], []
        while done < tokens:
            count = min(self.segment - kept.fill, tokens - done)
            part = self._read(h[:, done : done + count], kept.vectors)
            told.append(part)
            of_tokens += [len(memories) - 1] * count
            kept.pending[:, kept.fill : kept.fill + count] = part
            kept.fill, done = kept.fill + count, done + count
            if kept.fill == self.segment:
                kept.vectors, kept.fill = self._write(kept.vectors, kept.pending), 0
                kept.segments += 1
                memories.append(kept.vectors)
                positions.append(self._end(kept))
        numbers = (torch.tensor([found], device=h.device) for found in (positions, of_tokens))
        return torch.cat(told, 1), Bank(torch.stack(memories, 1), *numbers)

    def _end(self, kept: Remembered) -> int:
        return max(0, kept.segments * self.segment - 1)

    def empty(self, rows: int, dtype: torch.dtype) -> Remembered:
        """Return what is kept of nothing."""
        vectors = self.initial.to(dtype).expand(rows, -1, -1)
        return Remembered(
            vectors, torch.zeros(rows, self.segment, vectors.shape[-1], dtype=dtype, device=vectors.device)
        )


def _all_of(queries: Tensor, keys: Tensor) -> Sight:
    """Return a sight in which every query sees every key."""
    seen = torch.ones(1, queries.shape[1], keys.shape[1], dtype=torch.bool, device=queries.device)
    none = torch.zeros(1, queries.shape[1], dtype=torch.int64, device=queries.device)
    return Sight(none, none[0, :0], beside=seen)
