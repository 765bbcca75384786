"""TRM, the Tiny Recursive Model ("Less is More", arXiv 2510.04871): network, adaptive halting and loss.

Legend: `B` rows, `L` cells, `P` prefix tokens, `T = P + L`, `D` width, `V` kinds of tokens, `N` puzzle identifiers.
Parameter names are those of the reference implementation, so that its checkpoints load.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.base import IGNORED_LABEL, Batch, Carry, Draws, SparseEmbedding, Step
from trainer.models.halting import bootstrapped_target, finished
from trainer.models.layers import Embedding, Linear, RotaryPositions, truncated_normal
from trainer.models.losses import cell_loss
from trainer.models.recursion import Block, Level, States, recur
from trmkit.spec.model import TrmModel

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_DATA = ("inputs", "labels", "puzzle_identifiers")


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
        self.state_names = ("z_L",) if cfg.single_z else ("z_H", "z_L")
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


class TinyRecursiveReasoningModel_ACTV1(nn.Module):  # noqa: N801 - the name users of the reference import
    """The network with adaptive computation time: rows that halted take new data, the others think on."""

    calls_per_update = 1

    def __init__(self, cfg: TrmModel, vocab: int, cells: int, identifiers: int) -> None:
        """Build for puzzles of `cells` cells with `vocab` kinds of tokens and `identifiers` puzzle identifiers."""
        super().__init__()
        self.cfg, self._cells = cfg, cells
        self.max_steps = cfg.halt_max_steps
        self.inner = TinyRecursiveReasoningModel_ACTV1_Inner(cfg, vocab, cells, identifiers)
        self.latent_names = self.inner.state_names

    def blank_batch(self, rows: int, device: torch.device) -> Batch:
        """Return a batch of `rows` empty puzzles."""
        grid = torch.zeros(rows, self._cells, dtype=torch.int32, device=device)
        return {
            "inputs": grid,
            "labels": grid,
            "puzzle_identifiers": torch.zeros(rows, dtype=torch.int32, device=device),
        }

    def initial_carry(self, batch: Batch) -> Carry:
        """Return a carry in which every row is halted, so that the first step takes all of `batch`."""
        rows, device = batch["inputs"].shape[0], batch["inputs"].device
        carry = {
            name: state.clone()
            for name, state in zip(self.inner.state_names, self.inner.initial_states(rows), strict=True)
        }
        carry["steps"] = torch.zeros(rows, dtype=torch.int32, device=device)
        carry["halted"] = torch.ones(rows, dtype=torch.bool, device=device)
        return carry | {name: torch.zeros_like(batch[name]) for name in _DATA}

    def begin(self, batch: Batch) -> Carry:
        """Return a carry in which every row of `batch` is about to take its first step."""
        carry = self.initial_carry(batch)
        return self._refill(carry, batch) | {"halted": torch.zeros_like(carry["halted"])}

    def forward(self, carry: Carry | None, batch: Batch, draws: Draws | None = None) -> Step:
        """Work one supervision step on every row.

        In training mode rows halt by the q-head; in evaluation mode only after `halt_max_steps`.
        """
        carry = self._refill(self.initial_carry(batch) if carry is None else carry, batch)
        states = tuple(carry[name] for name in self.inner.state_names)
        states, logits, q = self.inner(states, carry["inputs"], carry["puzzle_identifiers"])
        steps = carry["steps"] + 1
        last = steps >= self.max_steps
        halted, target = last, None
        if self.training:
            q_continue = None if self.cfg.no_ACT_continue else q[:, 1].detach()
            halted = finished(
                q[:, 0].detach(), q_continue, steps,
                max_steps=self.max_steps, exploration=self.cfg.halt_exploration_prob, draws=draws,
            )  # fmt: skip
            if not self.cfg.no_ACT_continue:
                target = self._value_of_going_on(states, carry, last)
        new = dict(zip(self.inner.state_names, states, strict=True)) | {"steps": steps, "halted": halted}
        new |= {name: carry[name] for name in _DATA}
        return self._score(logits, q, target, new)

    def _refill(self, carry: Carry, batch: Batch) -> Carry:
        halted = carry["halted"]
        fresh = dict(zip(self.inner.state_names, self.inner.initial_states(len(halted)), strict=True))
        fresh |= {"steps": torch.zeros_like(carry["steps"])} | {name: batch[name] for name in _DATA}
        return {name: torch.where(_rows(halted, new), new, carry[name]) for name, new in fresh.items()}

    @torch.no_grad()
    def _value_of_going_on(self, states: States, carry: Carry, last: Tensor) -> Tensor:
        _, _, q = self.inner(states, carry["inputs"], carry["puzzle_identifiers"])
        return bootstrapped_target(last, q[:, 0], q[:, 1])

    def _score(self, logits: Tensor, q: Tensor, target: Tensor | None, carry: Carry) -> Step:
        labels, q_halt = carry["labels"], q[:, 0]
        labelled = labels != IGNORED_LABEL
        preds = logits.detach().argmax(-1)
        right = (preds == labels) & labelled
        correct = right.sum(-1) == labelled.sum(-1)
        lm_loss = cell_loss(logits, labels, self.cfg.loss, _loss_dtype(self.cfg)).sum()
        q_loss = F.binary_cross_entropy_with_logits(q_halt, correct.float(), reduction="sum")
        losses = {"lm_loss": lm_loss, "q_halt_loss": q_loss}
        if target is not None:
            losses["q_continue_loss"] = F.binary_cross_entropy_with_logits(q[:, 1], target, reduction="sum")
        loss = lm_loss + 0.5 * sum(value for name, value in losses.items() if name != "lm_loss")
        final = carry["halted"] & labelled.any(-1)
        per_row = {
            "count": final,
            "accuracy": right.sum(-1).float() / labelled.sum(-1).clamp(min=1),
            "exact_accuracy": correct,
            "q_halt_accuracy": (q_halt >= 0) == correct,
            "steps": carry["steps"],
        }
        metrics = {name: torch.where(final, value, 0).sum() for name, value in per_row.items()}
        metrics |= {name: value.detach() for name, value in losses.items()}
        outputs = {"logits": logits.detach(), "preds": preds, "q_halt": q_halt.detach(), "q_continue": q[:, 1].detach()}
        return Step(loss, carry, outputs, metrics)


def _rows(mask: Tensor, like: Tensor) -> Tensor:
    return mask.view(-1, *(1,) * (like.dim() - 1))


def _loss_dtype(cfg: TrmModel) -> torch.dtype:
    return torch.float64 if cfg.loss == "stablemax" and cfg.loss_dtype == "float64" else torch.float32


def build(cfg: TrmModel, vocab: int, cells: int, identifiers: int) -> TinyRecursiveReasoningModel_ACTV1:
    """Build the model; draws its initial weights from torch's global generator."""
    return TinyRecursiveReasoningModel_ACTV1(cfg, vocab, cells, identifiers)
