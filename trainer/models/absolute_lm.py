"""The control of the ladder: a GPT-2 (learned absolute positions, LayerNorm, GELU, biases), and nothing of a rung's.

It has no vectors for positions beyond its context, and says so: that is what it is there to show.
Legend: `B` rows, `T` tokens, `D` width, `h` heads, `V` kinds of tokens.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.models.base import Batch, Carry, Draws, Step
from trainer.models.layers import Embedding, Linear
from trainer.models.sight import KeysValues, Sight, attend
from trainer.models.text_step import PackedText, Pondered, positions_within, text_step
from trmkit.spec.ladder import LadderModel

SIZES = {"pico": (64, 2, 4), "nano": (512, 6, 8)}
"""Width, layers, heads."""
DROPOUT, STD = 0.1, 0.02
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Norm(nn.LayerNorm):
    """LayerNorm in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., D] to the same in its own type."""
        return super().forward(x.float()).to(x.dtype)


class Block(nn.Module):
    """Attention, then GELU of four times the width; each reads a norm of what it adds to."""

    repeated = True

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_mlp = Norm(width), Norm(width)
        self.qkv_proj, self.o_proj = Linear(width, 3 * width, bias=True), Linear(width, width, bias=True)
        self.up_proj, self.down_proj = Linear(width, 4 * width, bias=True), Linear(4 * width, width, bias=True)
        for linear in (self.qkv_proj, self.o_proj, self.up_proj, self.down_proj):
            nn.init.normal_(linear.weight, std=STD)
        with torch.no_grad():
            for linear in (self.o_proj, self.down_proj):
                linear.weight.mul_((2 * layers) ** -0.5)

    def forward(self, x: Tensor, sight: Sight, kept: KeysValues | None) -> Tensor:
        """Map [B, T, D] to [B, T, D]; with `kept`, the tokens follow what it holds, and it takes them in."""
        rows, tokens, width = x.shape
        qkv = self.qkv_proj(self.norm_attention(x)).view(rows, tokens, 3, self.heads, -1)
        q, keys, values = (part.transpose(1, 2) for part in qkv.unbind(2))
        if kept is not None:
            keys, values = kept.append(keys, values)
        mixed = attend(q, keys, values, sight).transpose(1, 2).reshape(rows, tokens, width)
        x = x + F.dropout(self.o_proj(mixed), self.dropout, self.training)
        inner = F.gelu(self.up_proj(self.norm_mlp(x)), approximate="tanh")
        return x + F.dropout(self.down_proj(inner), self.dropout, self.training)


@dataclass
class Reading:
    """What is kept of the texts read so far."""

    most: int
    layers: list[KeysValues]
    position: int = 0

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but `rows`."""
        for layer in self.layers:
            layer.keep(rows)


class AbsoluteLM(PackedText):
    """The control."""

    rounds: int | None = None

    def __init__(self, cfg: LadderModel, vocab: int, cells: int) -> None:
        """Build for rows of `cells` tokens out of `vocab`."""
        super().__init__()
        self.cfg, self.context, self._cells, self.dtype = cfg, cfg.longest, cells, DTYPES[cfg.forward_dtype]
        self.width, layers, heads = SIZES[cfg.size]
        self.dropout = DROPOUT if cfg.dropout is None else cfg.dropout
        self.embed_tokens = Embedding(vocab, self.width, std=STD)
        self.embed_positions = Embedding(self.context, self.width, std=STD)
        self.layers = nn.ModuleList([Block(self.width, layers, heads, self.dropout) for _ in range(layers)])
        self.norm = Norm(self.width)
        self.recompute = False

    def undecayed(self) -> set[str]:
        """Return the names of the parameters that weight decay is not for."""
        return {name for name, p in self.named_parameters() if p.dim() < 2 or name.endswith("embedding_weight")}

    def forward(self, carry: Carry | None, batch: Batch, draws: Draws | None = None) -> Step:
        """Work a step on packed rows; positions count within the document."""
        documents = batch["documents"]
        places = torch.arange(documents.shape[1], device=documents.device)
        sight = Sight(places[None], places, (documents, documents), first=0)
        x = self._embed(batch["inputs"], positions_within(documents))
        for layer in self.layers:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(layer, x, sight, None, use_reentrant=False)
            else:
                x = layer(x, sight, None)
        none = torch.zeros(len(x), device=x.device)
        return text_step(self._logits(x), batch, Pondered(none, none + 1))

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = self.embed_tokens(tokens, self.dtype) + self.embed_positions(positions, self.dtype)
        return F.dropout(x, self.dropout, self.training)

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(x), self.embed_tokens.embedding_weight.to(x.dtype)).float()

    def start(self, rows: int, most: int) -> Reading:
        """Return an empty reading of `rows` texts with room for `most` tokens each."""
        if most > self.context:
            raise ValueError(f"{most} tokens are more than the {self.context} positions there are vectors for")
        like, heads = self.embed_tokens.embedding_weight, SIZES[self.cfg.size][2]
        made = [KeysValues.empty(rows, heads, most, self.width // heads, like, self.dtype) for _ in self.layers]
        return Reading(most, made)

    @torch.no_grad()
    def read(self, tokens: Tensor, reading: Reading, *, prompt_ends: bool = False) -> Tensor:
        """Read `tokens` [B, T] after what was read; return logits [B, T, V] (float32); prompts end like any text.

        ValueError: there is no room for them.
        """
        first, end = reading.position, reading.position + tokens.shape[1]
        if end > reading.most:
            raise ValueError(f"{end} tokens are more than the {reading.most} there is room for")
        places = torch.arange(end, device=tokens.device)
        sight = Sight(places[None, first:], places, first=first)
        x = self._embed(tokens, places[first:])
        for layer, kept in zip(self.layers, reading.layers, strict=True):
            x = layer.forward(x, sight, kept)
        reading.position = end
        return self._logits(x)


def build(cfg: LadderModel, vocab: int, cells: int, identifiers: int) -> AbsoluteLM:
    """Build the model; draws its initial weights from torch's global generator."""
    return AbsoluteLM(cfg, vocab, cells)
