"""TRM, the Tiny Recursive Model ("Less is More", arXiv 2510.04871): its network; halting and loss are in `act`.

Legend: `B` rows, `L` cells, `P` prefix tokens, `T = P + L`, `D` width, `V` kinds of tokens, `N` puzzle identifiers.
Parameter names are those of the reference implementation, so that its checkpoints load.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.act import ActModel
from trainer.models.base import Batch, SparseEmbedding
from trainer.models.layers import Embedding, Linear, RotaryPositions, truncated_normal
from trainer.models.recursion import Block, Level, States, recur
from trmkit.spec.model import TrmModel

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class TinyRecursiveReasoningModel_ACTV1_Inner(nn.Module):  # noqa: N801 - the name users of the reference import
    """The network: one call is all the recursion of one supervision step."""

    def __init__(self, cfg: TrmModel, vocab: int, cells: int, identifiers: int) -> None:
        super().__init__()
        self.cfg, self.dtype = cfg, _DTYPES[cfg.forward_dtype]
        width, self.prefix = cfg.hidden_size, cfg.puzzle_emb_len
        self.tokens = tokens = cells + self.prefix
        self.embed_tokens = Embedding(vocab, width, std=width**-0.5)
        self.lm_head = Linear(width, vocab)
        self.q_head = Linear(width, 2, bias=True)
        self.puzzle_emb = SparseEmbedding(identifiers, cfg.puzzle_emb_ndim) if cfg.puzzle_emb_ndim else None
        if cfg.pos_encodings == "learned":
            self.embed_pos = Embedding(tokens, width, std=width**-0.5)
        rotary = cfg.pos_encodings == "rope" and not cfg.mlp_t
        self.rotary_emb = RotaryPositions(tokens, width // cfg.num_heads, cfg.rope_theta) if rotary else None
        make = (width, cfg.num_heads, tokens, cfg.expansion, cfg.rms_norm_eps)
        self.L_level = Level([Block(*make, mlp_t=cfg.mlp_t) for _ in range(cfg.L_layers)])
        self.state_names: tuple[str, ...] = ("z_L",) if cfg.single_z else ("z_H", "z_L")
        for name in self.state_names:
            self.register_buffer(f"{name[-1]}_init", truncated_normal(width, std=1, dtype=self.dtype))
        with torch.no_grad():
            self.q_head.weight.zero_()
            cast(Tensor, self.q_head.bias).fill_(-5)

    def initial_states(self, rows: int) -> States:
        """Return the states a new row starts from, each [B, T, D], as views of the fixed initial vectors."""
        shape = (rows, self.tokens, self.cfg.hidden_size)
        return tuple(getattr(self, f"{name[-1]}_init").expand(shape) for name in self.state_names)

    def embed(self, inputs: Tensor, identifiers: Tensor) -> Tensor:
        """Return what is injected at every step, [B, T, D]: puzzle vector, padded to the prefix, then the cells."""
        x: Tensor = self.embed_tokens(inputs, self.dtype)
        if self.puzzle_emb is not None:
            vectors = self.puzzle_emb(identifiers).to(self.dtype)
            room = self.prefix * self.cfg.hidden_size - vectors.shape[-1]
            x = torch.cat((F.pad(vectors, (0, room)).view(-1, self.prefix, self.cfg.hidden_size), x), dim=1)
        if self.cfg.pos_encodings == "learned":
            x = math.sqrt(0.5) * (x + self.embed_pos.embedding_weight.to(self.dtype))
        return math.sqrt(self.cfg.hidden_size) * x

    def forward(self, states: States, inputs: Tensor, identifiers: Tensor) -> tuple[States, Tensor, Tensor]:
        """Return the new states (detached), logits [B, L, V], and q values float32 [B, 2] (halt, continue)."""
        x = self.embed(inputs, identifiers)
        states = recur(
            lambda state, injected: self.L_level(state, injected, self.rotary_emb),
            states, x, self.cfg.H_cycles, self.cfg.L_cycles,
        )  # fmt: skip
        answer = states[0]
        logits = self.lm_head(answer)[:, self.prefix :]
        q = self.q_head(answer[:, 0]).float()
        return tuple(state.detach() for state in states), logits, q


class TinyRecursiveReasoningModel_ACTV1(ActModel):  # noqa: N801 - the name users of the reference import
    """The network with adaptive computation time."""

    inner: TinyRecursiveReasoningModel_ACTV1_Inner

    def __init__(self, cfg: TrmModel, vocab: int, cells: int, identifiers: int) -> None:
        """Build for puzzles of `cells` cells with `vocab` kinds of tokens and `identifiers` puzzle identifiers."""
        super().__init__(cfg, cells)
        self.inner = TinyRecursiveReasoningModel_ACTV1_Inner(cfg, vocab, cells, identifiers)

    def think(self, states: States, row: Batch) -> tuple[States, Tensor, Tensor | None]:
        """Return new states (detached), logits [B, L, V], and q values float32 [B, 2]."""
        thought: tuple[States, Tensor, Tensor] = self.inner(states, row["inputs"], row["puzzle_identifiers"])
        return thought


def build(cfg: TrmModel, vocab: int, cells: int, identifiers: int) -> TinyRecursiveReasoningModel_ACTV1:
    """Build the model; draws its initial weights from torch's global generator."""
    return TinyRecursiveReasoningModel_ACTV1(cfg, vocab, cells, identifiers)
