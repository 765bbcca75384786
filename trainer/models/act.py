"""Adaptive computation time: rows that halted take new data at the next step, the others think on.

What thinks is a network of the model's own (`inner`); here is which rows it works on, when they halt, and the loss.
Legend: `B` rows, `L` cells, `T` tokens, `D` width, `V` kinds of tokens.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.base import IGNORED_LABEL, Batch, Carry, Draws, Step
from trainer.models.halting import bootstrapped_target, finished
from trainer.models.losses import cell_loss, certainty
from trainer.models.recursion import States
from trainer.models.targets import interpolated, step_weight
from trmkit.spec.model import RecursiveCore
from trmkit.spec.recursion import RecursionSection


class Inner(Protocol):
    """A network of which one call is all the recursion of one supervision step."""

    state_names: tuple[str, ...]
    depth: tuple[int, int]
    """Cycles while training."""
    last_only: bool
    """Whether a gradient is taken of the last updates alone."""

    def initial_states(self, rows: int, cells: int | None = None) -> States:
        """Return the states a new row starts from, each [B, T, D], with so many `cells` if not all."""


class ActModel(nn.Module):
    """A recursive network with adaptive computation time."""

    calls_per_update = 1
    data: tuple[str, ...] = ("inputs", "labels", "puzzle_identifiers")
    """What a batch has, and a row keeps while it is worked on."""
    inner: Inner

    def __init__(self, cfg: RecursiveCore, cells: int) -> None:
        """Begin a model for puzzles of `cells` cells; who inherits sets `inner`."""
        super().__init__()
        self.cfg, self._cells = cfg, cells
        self.max_steps = cfg.halt_max_steps
        self.objective = RecursionSection()

    @property
    def latent_names(self) -> tuple[str, ...]:
        """The states in the carry that noise may be added to."""
        return self.inner.state_names

    def think(self, states: States, row: Batch) -> tuple[States, Tensor, Tensor | None]:
        """Return new states (detached), logits [B, L, V], and q values float32 [B, 2] (halt, continue) or None."""
        raise TypeError(f"{type(self).__name__} does not say how it thinks")

    def pursue(self, objective: RecursionSection) -> None:
        """Train by `objective` from here on, but for its depth, which changes: see `deepen`."""
        self.objective = objective
        self.inner.last_only = objective.backprop == "last"

    def deepen(self, H_cycles: int, L_cycles: int) -> None:
        """Train with so many cycles from here on."""
        self.inner.depth = (H_cycles, L_cycles)

    def trained(self, labels: Tensor) -> Tensor:
        """Return the labels [B, L] that the loss is of; scores are always of all."""
        return labels

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
        (rows, cells), device = batch["inputs"].shape, batch["inputs"].device
        carry = {
            name: state.clone()
            for name, state in zip(self.inner.state_names, self.inner.initial_states(rows, cells), strict=True)
        }
        carry["steps"] = torch.zeros(rows, dtype=torch.int32, device=device)
        carry["halted"] = torch.ones(rows, dtype=torch.bool, device=device)
        return carry | {name: torch.zeros_like(batch[name]) for name in self._kept(batch)}

    def _kept(self, batch: Batch) -> tuple[str, ...]:
        """Return what a row keeps while it is worked on; of a window of its canvas that is where its cells are, too."""
        return (*self.data, "positions") if "positions" in batch else self.data

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
        states, logits, q = self.think(states, carry)
        steps = carry["steps"] + 1
        last = steps >= self.max_steps
        halted, target = last, None
        if self.training and q is not None and self.objective.targets == "answer":
            q_continue = None if self.cfg.no_ACT_continue else q[:, 1].detach()
            halted = finished(
                q[:, 0].detach(), q_continue, steps,
                max_steps=self.max_steps, exploration=self.cfg.halt_exploration_prob, draws=draws,
            )  # fmt: skip
            if not self.cfg.no_ACT_continue:
                target = self._value_of_going_on(states, carry, last)
        new = dict(zip(self.inner.state_names, states, strict=True)) | {"steps": steps, "halted": halted}
        new |= {name: carry[name] for name in self._kept(carry)}
        return self._score(logits, q, target, new)

    def _refill(self, carry: Carry, batch: Batch) -> Carry:
        halted = carry["halted"]
        start = self.inner.initial_states(*batch["inputs"].shape)
        fresh = dict(zip(self.inner.state_names, start, strict=True))
        fresh |= {"steps": torch.zeros_like(carry["steps"])} | {name: batch[name] for name in self._kept(batch)}
        return {name: torch.where(_rows(halted, new), new, carry[name]) for name, new in fresh.items()}

    @torch.no_grad()
    def _value_of_going_on(self, states: States, carry: Carry, last: Tensor) -> Tensor:
        _, _, q = self.think(states, carry)
        assert q is not None
        return bootstrapped_target(last, q[:, 0], q[:, 1])

    def _score(self, logits: Tensor, q: Tensor | None, target: Tensor | None, carry: Carry) -> Step:
        labels = carry["labels"]
        labelled = labels != IGNORED_LABEL
        preds = logits.detach().argmax(-1)
        right = (preds == labels) & labelled
        correct = right.sum(-1) == labelled.sum(-1)
        by_row = {"lm_loss": cell_loss(logits, self._targets(carry), self.cfg.loss, _loss_dtype(self.cfg))}
        outputs = {"logits": logits.detach(), "preds": preds}
        if q is None:
            outputs["q_halt"] = certainty(outputs["logits"])
        else:
            outputs |= {"q_halt": q[:, 0].detach(), "q_continue": q[:, 1].detach()}
            by_row["q_halt_loss"] = F.binary_cross_entropy_with_logits(q[:, 0], correct.float(), reduction="none")
        if q is not None and target is not None:
            by_row["q_continue_loss"] = F.binary_cross_entropy_with_logits(q[:, 1], target, reduction="none")
        loss = self._weighed(by_row, carry["steps"])
        final = carry["halted"] & labelled.any(-1)
        per_row = {
            "count": final,
            "accuracy": right.sum(-1).float() / labelled.sum(-1).clamp(min=1),
            "exact_accuracy": correct,
            "steps": carry["steps"],
        }
        if q is not None:
            per_row["q_halt_accuracy"] = (outputs["q_halt"] >= 0) == correct
        metrics = {name: torch.where(final, value, 0).sum() for name, value in per_row.items()}
        metrics |= {name: value.detach().sum() for name, value in by_row.items()}
        return Step(loss, carry, outputs, metrics)

    def _targets(self, carry: Carry) -> Tensor:
        labels = carry["labels"]
        if self.training and self.objective.targets == "interpolated":
            labels = interpolated(carry["inputs"], labels, carry["steps"], self.max_steps)
        return self.trained(labels)

    def _weighed(self, by_row: dict[str, Tensor], steps: Tensor) -> Tensor:
        """Return the sum of the losses [B] of all rows, each weighed by its kind and, in training, its row's step."""
        if self.training and self.objective.step_decay < 1:
            weight = step_weight(steps, self.objective.step_decay)
            by_row = {name: value * weight for name, value in by_row.items()}
        sums = {name: value.sum() for name, value in by_row.items()}
        return sums.pop("lm_loss") + 0.5 * sum(sums.values())


def _rows(mask: Tensor, like: Tensor) -> Tensor:
    return mask.view(-1, *(1,) * (like.dim() - 1))


def _loss_dtype(cfg: RecursiveCore) -> torch.dtype:
    return torch.float64 if cfg.loss == "stablemax" and cfg.loss_dtype == "float64" else torch.float32
