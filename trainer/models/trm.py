"""TRM, the Tiny Recursive Model ("Less is More", arXiv 2510.04871): its network; halting and loss are in `act`.

Legend: `B` rows, `L` cells, `P` prefix tokens, `T = P + L`, `D` width, `V` kinds of tokens, `N` puzzle identifiers.
Parameter names are those of the reference implementation, so that its checkpoints load.
"""

import torch
from torch import Tensor

from trainer.models.act import ActModel
from trainer.models.base import Batch
from trainer.models.core import RecursiveNetwork
from trainer.models.layers import Embedding
from trainer.models.recursion import States
from trmkit.spec.model import TrmModel


class TinyRecursiveReasoningModel_ACTV1_Inner(RecursiveNetwork):  # noqa: N801 - the name users of the reference import
    """The network: one call is all the recursion of one supervision step."""

    def __init__(self, cfg: TrmModel, vocab: int, cells: int, identifiers: int) -> None:
        super().__init__(cfg, cells, cfg.puzzle_emb_len)
        self.embed_tokens = Embedding(vocab, cfg.hidden_size, std=cfg.hidden_size**-0.5)
        self.add_heads(vocab, identifiers)
        self.add_level(("z_L",) if cfg.single_z else ("z_H", "z_L"))

    def embed(self, inputs: Tensor, identifiers: Tensor, places: Tensor | None = None) -> Tensor:
        """Return what is injected at every step, [B, T, D]: puzzle vector, padded to the prefix, then the cells."""
        x: Tensor = self.embed_tokens(inputs, self.dtype)
        prefix = self.puzzle_prefix(identifiers)
        return self.injected(x if prefix is None else torch.cat((prefix, x), dim=1), places)

    def forward(
        self, states: States, inputs: Tensor, identifiers: Tensor, positions: Tensor | None = None
    ) -> tuple[States, Tensor, Tensor]:
        """Return the new states (detached), logits [B, L, V], and q values float32 [B, 2] (halt, continue).

        `positions` [B, L] are the cells' numbers on the canvas, where `inputs` [B, L] are a window of it.
        """
        places = self.places(positions)
        states, logits, q = self.think(states, self.embed(inputs, identifiers, places), places)
        assert q is not None
        return states, logits, q


class TinyRecursiveReasoningModel_ACTV1(ActModel):  # noqa: N801 - the name users of the reference import
    """The network with adaptive computation time."""

    inner: TinyRecursiveReasoningModel_ACTV1_Inner

    def __init__(self, cfg: TrmModel, vocab: int, cells: int, identifiers: int) -> None:
        """Build for puzzles of `cells` cells with `vocab` kinds of tokens and `identifiers` puzzle identifiers."""
        super().__init__(cfg, cells)
        self.inner = TinyRecursiveReasoningModel_ACTV1_Inner(cfg, vocab, cells, identifiers)

    def think(self, states: States, row: Batch) -> tuple[States, Tensor, Tensor | None]:
        """Return new states (detached), logits [B, L, V], and q values float32 [B, 2]."""
        thought: tuple[States, Tensor, Tensor] = self.inner(
            states, row["inputs"], row["puzzle_identifiers"], row.get("positions")
        )
        return thought


def build(cfg: TrmModel, vocab: int, cells: int, identifiers: int) -> TinyRecursiveReasoningModel_ACTV1:
    """Build the model; draws its initial weights from torch's global generator."""
    return TinyRecursiveReasoningModel_ACTV1(cfg, vocab, cells, identifiers)
