"""What the networks share that improve an answer and a reasoning state by one small stack of blocks.

Legend: `B` rows, `L` cells, `P` prefix tokens, `T = P + L`, `D` width, `V` kinds of tokens.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.base import SparseEmbedding
from trainer.models.layers import Embedding, Linear, Positions, RotaryPositions, truncated_normal
from trainer.models.recursion import Block, Level, States, recur
from trmkit.spec.model import RecursiveCore

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class RecursiveNetwork(nn.Module):
    """A network of which one call is all the recursion of one supervision step.

    Who inherits makes its embeddings, then calls `add_heads` and `add_level`: in this order initial weights are drawn.
    """

    lm_head: Linear
    q_head: Linear | None
    puzzle_emb: SparseEmbedding | None

    def __init__(self, cfg: RecursiveCore, cells: int, prefix: int) -> None:
        """Begin a network for `cells` cells behind `prefix` tokens."""
        super().__init__()
        self.cfg, self.dtype, self.prefix = cfg, _DTYPES[cfg.forward_dtype], prefix
        self.tokens = cells + prefix
        self.state_names: tuple[str, ...] = ("z_H", "z_L")
        self.depth = (cfg.H_cycles, cfg.L_cycles)
        """Cycles while training; in evaluation mode they are always those of the section."""
        self.last_only = False
        """Whether a gradient is taken of the last updates alone."""

    def add_heads(self, vocab: int, identifiers: int, *, halting: bool = True) -> None:
        """Make what reads the answer, and the table of puzzle vectors if there is one."""
        cfg = self.cfg
        self.lm_head = Linear(cfg.hidden_size, vocab)
        self.q_head = Linear(cfg.hidden_size, 2, bias=True) if halting else None
        self.puzzle_emb = SparseEmbedding(identifiers, cfg.puzzle_emb_ndim) if cfg.puzzle_emb_ndim else None
        if self.q_head is not None:
            with torch.no_grad():
                self.q_head.weight.zero_()
                cast(Tensor, self.q_head.bias).fill_(-5)

    def add_level(self, state_names: tuple[str, ...]) -> None:
        """Make positions, the stack of blocks, and the vectors that states start from."""
        cfg, tokens, width = self.cfg, self.tokens, self.cfg.hidden_size
        if cfg.pos_encodings == "learned":
            self.embed_pos = Embedding(tokens, width, std=width**-0.5)
        rotary = cfg.pos_encodings == "rope" and not cfg.mlp_t
        self.rotary_emb = RotaryPositions(tokens, width // cfg.num_heads, cfg.rope_theta) if rotary else None
        make = (width, cfg.num_heads, tokens, cfg.expansion, cfg.rms_norm_eps)
        self.L_level = Level([Block(*make, mlp_t=cfg.mlp_t) for _ in range(cfg.L_layers)])
        self.state_names = state_names
        for name in state_names:
            self.register_buffer(f"{name[-1]}_init", truncated_normal(width, std=1, dtype=self.dtype))

    def initial_states(self, rows: int, cells: int | None = None) -> States:
        """Return the states a new row starts from, each [B, T, D], as views of the fixed initial vectors.

        `cells` are those that are worked on, if not all.
        """
        tokens = self.tokens if cells is None else self.prefix + cells
        shape = (rows, tokens, self.cfg.hidden_size)
        return tuple(getattr(self, f"{name[-1]}_init").expand(shape) for name in self.state_names)

    def puzzle_prefix(self, identifiers: Tensor) -> Tensor | None:
        """Return the vectors of `identifiers` [B], padded to tokens [B, puzzle_emb_len, D]; None without a table."""
        if self.puzzle_emb is None:
            return None
        vectors = self.puzzle_emb(identifiers).to(self.dtype)
        length, width = self.cfg.puzzle_emb_len, self.cfg.hidden_size
        return F.pad(vectors, (0, length * width - vectors.shape[-1])).view(-1, length, width)

    def places(self, positions: Tensor | None) -> Tensor | None:
        """Return the places [B, T] of all tokens, of rows with cells at `positions` [B, L]; None: one after another."""
        if positions is None:
            return None
        prefix = torch.arange(self.prefix, device=positions.device, dtype=positions.dtype)
        return torch.cat((prefix.expand(len(positions), -1), self.prefix + positions), dim=1)

    def injected(self, x: Tensor, places: Tensor | None = None) -> Tensor:
        """Return embedded tokens [B, T, D] as they are injected: with learned positions if any, at unit scale."""
        if self.cfg.pos_encodings == "learned":
            table = self.embed_pos.embedding_weight.to(self.dtype)
            x = math.sqrt(0.5) * (x + (table if places is None else F.embedding(places, table)))
        return math.sqrt(self.cfg.hidden_size) * x

    def think(self, states: States, x: Tensor, places: Tensor | None = None) -> tuple[States, Tensor, Tensor | None]:
        """Return the new states (detached), logits [B, L, V], and q values float32 [B, 2] (halt, continue) or None."""
        positions: Positions | None = self.rotary_emb
        if self.rotary_emb is not None and places is not None:
            positions = self.rotary_emb.at(places)
        H_cycles, L_cycles = self.depth if self.training else (self.cfg.H_cycles, self.cfg.L_cycles)
        with self.L_level.weights_in(self.dtype):
            states = recur(
                lambda state, injected: self.L_level(state, injected, positions),
                states, x, H_cycles, L_cycles, last_only=self.last_only,
            )  # fmt: skip
        answer = states[0]
        logits = self.lm_head(answer)[:, self.prefix :]
        q = None if self.q_head is None else self.q_head(answer[:, 0]).float()
        return tuple(state.detach() for state in states), logits, q
