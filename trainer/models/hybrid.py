"""The hybrid: TRM's core, told by a frozen language model what the task is about.

A reader has made vectors of the task's text (`features` in the run file); they come with each row, and nothing here
knows the reader. Ways to use them are argued in docs/hybrid.md. What is injected keeps the scale of a token embedding:
a raw hidden state, some fifty times as large, would leave nothing of the grid after the first norm.
Legend: `B` rows, `L` cells, `P` prefix tokens, `T = P + L`, `D` width, `V` kinds of tokens, `S` vectors of a text, `F`
numbers of each, `h` heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.act import ActModel
from trainer.models.base import IGNORED_LABEL, Batch
from trainer.models.core import RecursiveNetwork
from trainer.models.layers import Embedding, Linear, rms_norm
from trainer.models.recursion import States
from trmkit.spec.model import HybridModel

EOS = 1
"""The token where a grid ends (`trainer.data.grid.EOS`, which would load a compiler)."""


class TextPrefix(nn.Module):
    """Tokens made of a text's vector, through a bottleneck."""

    def __init__(self, text_width: int, bottleneck: int, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.down, self.up = Linear(text_width, bottleneck), Linear(bottleneck, tokens * width)

    def forward(self, vector: Tensor) -> Tensor:
        """Map [B, F] to [B, tokens, D], with the scale of a token embedding."""
        made: Tensor = self.up(self.down(vector)).view(len(vector), self.tokens, -1)
        return made * float(made.shape[-1] ** -0.5)


class TextAttention(nn.Module):
    """Every token looks at all vectors of the text; what it sees has the scale of a token embedding."""

    def __init__(self, text_width: int, width: int, heads: int, tokens: int, eps: float) -> None:
        super().__init__()
        self.heads, self.eps = heads, eps
        self.places = Embedding(tokens, width, std=1.0)
        self.text_proj = Linear(text_width, width)
        self.q_proj, self.kv_proj, self.o_proj = Linear(width, width), Linear(width, 2 * width), Linear(width, width)

    def forward(self, x: Tensor, text: Tensor, seen: Tensor, places: Tensor | None = None) -> Tensor:
        """Return [B, T, D] for tokens `x` [B, T, D], vectors `text` [B, S, F], of which `seen` [B, S] are there.

        `places` [B, T] are those of the tokens, if they are not one after another.
        """
        rows, _, width = x.shape
        table = self.places.embedding_weight.to(x.dtype)
        asked = rms_norm(x, self.eps) + (table if places is None else F.embedding(places, table))
        keys, values = self.kv_proj(rms_norm(self.text_proj(text), self.eps)).chunk(2, dim=-1)
        q, k, v = (part.view(rows, -1, self.heads, width // self.heads).transpose(1, 2)
                   for part in (self.q_proj(asked), keys, values))  # fmt: skip
        allowed = seen | ~seen.any(-1, keepdim=True)  # a row without any vector sees zeros, not an empty sum
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed[:, None, None, :])
        seen_of_it: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(x.shape))
        return rms_norm(seen_of_it, self.eps) * float(width**-0.5)


class HybridTRM_Inner(RecursiveNetwork):  # noqa: N801 - the name its first description gave it
    """The network: one call is all the recursion of one supervision step."""

    def __init__(self, cfg: HybridModel, vocab: int, cells: int, identifiers: int) -> None:
        ways, width = cfg.conditioning, cfg.hidden_size
        super().__init__(cfg, cells, cfg.puzzle_emb_len + ("text_prefix" in ways) * cfg.text_prefix_len)
        self.grid_embed = Embedding(vocab, width, std=width**-0.5)
        self.add_heads(vocab, identifiers, halting=cfg.halt_max_steps > 1)
        self.z_projection = Linear(cfg.text_hidden_size, width) if "text_add" in ways else None
        self.text_prefix = (
            TextPrefix(cfg.text_hidden_size, cfg.text_bottleneck, cfg.text_prefix_len, width)
            if "text_prefix" in ways
            else None
        )
        self.text_xattn = (
            TextAttention(cfg.text_hidden_size, width, cfg.num_heads, self.tokens, cfg.rms_norm_eps)
            if "text_xattn" in ways
            else None
        )
        self.add_level(("z_H", "z_L"))

    def embed(self, row: Batch, places: Tensor | None = None) -> Tensor:
        """Return what is injected at every step, [B, T, D]: vectors of puzzle and text in front, then the cells."""
        x: Tensor = self.grid_embed(row["inputs"], self.dtype)
        front = [self.puzzle_prefix(row["puzzle_identifiers"])]
        text, seen, vector = self.read(row["text"]) if "text" in row else (x, x, x)
        if self.text_prefix is not None:
            front.append(self.text_prefix(vector))
        x = torch.cat([*(part for part in front if part is not None), x], dim=1)
        added = x
        if self.z_projection is not None:
            added = added + (self.z_projection(vector) * x.shape[-1] ** -0.5)[:, None]
        if self.text_xattn is not None:
            added = added + self.text_xattn(x, text, seen, places)
        return self.injected(added, places)

    def read(self, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return `text` [B, S, F] at unit scale, which of its vectors are there [B, S], and one for all [B, F]."""
        wide = text.float()
        seen = wide.abs().sum(-1) > 0
        unit = rms_norm(wide, self.cfg.rms_norm_eps)
        mean = unit.sum(1) / seen.sum(1, keepdim=True).clamp(min=1)
        return unit.to(self.dtype), seen, rms_norm(mean, self.cfg.rms_norm_eps).to(self.dtype)

    def forward(self, states: States, row: Batch) -> tuple[States, Tensor, Tensor | None]:
        """Return the new states (detached), logits [B, L, V], and q values float32 [B, 2], None without a q-head."""
        places = self.places(row.get("positions"))
        return self.think(states, self.embed(row, places), places)


class HybridTRMModel(ActModel):
    """The network with adaptive computation time; with one supervision step there is nothing to halt, and no q-head."""

    inner: HybridTRM_Inner
    cfg: HybridModel

    def __init__(self, cfg: HybridModel, vocab: int, cells: int, identifiers: int) -> None:
        """Build for puzzles of `cells` cells with `vocab` kinds of tokens and `identifiers` puzzle identifiers."""
        super().__init__(cfg, cells)
        self.inner = HybridTRM_Inner(cfg, vocab, cells, identifiers)
        if cfg.text_width is not None:
            self.data = (*self.data, "text")

    def blank_batch(self, rows: int, device: torch.device) -> Batch:
        """Return a batch of `rows` empty puzzles without a text."""
        batch = super().blank_batch(rows, device)
        if self.cfg.text_width is not None:
            shape = (rows, self.cfg.text_vectors, self.cfg.text_width)
            batch["text"] = torch.zeros(shape, dtype=torch.float16, device=device)
        return batch

    def think(self, states: States, row: Batch) -> tuple[States, Tensor, Tensor | None]:
        """Return new states (detached), logits [B, L, V], and q values float32 [B, 2] or None."""
        thought: tuple[States, Tensor, Tensor | None] = self.inner(states, row)
        return thought

    def trained(self, labels: Tensor) -> Tensor:
        """Return the labels [B, L] that the loss is of."""
        return labels if self.cfg.include_eos else torch.where(labels == EOS, IGNORED_LABEL, labels)


def build(cfg: HybridModel, vocab: int, cells: int, identifiers: int) -> HybridTRMModel:
    """Build the model; draws its initial weights from torch's global generator."""
    return HybridTRMModel(cfg, vocab, cells, identifiers)
