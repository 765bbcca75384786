"""Adaptive computation time: a row thinks on until its network is sure, or has had its steps.

What thinks is a network of the model's own (`inner`); here is when rows halt, and the loss.
Legend: `B` rows, `L` cells, `T` tokens, `D` width, `V` kinds of tokens.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.models.base import Batch, Carry, Draws, Step
from trainer.models.halting import bootstrapped_target, finished
from trainer.models.losses import cell_loss, certainty
from trainer.models.recursion import States
from trainer.models.rows import PuzzleRows, marks, sums
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


class ActModel(PuzzleRows):
    """A recursive network with adaptive computation time."""

    calls_per_update = 1
    inner: Inner

    def __init__(self, cfg: RecursiveCore, cells: int) -> None:
        """Begin a model for puzzles of `cells` cells; who inherits sets `inner`."""
        super().__init__(cells)
        self.cfg = cfg
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

    def fresh_states(self, rows: int, cells: int) -> dict[str, Tensor]:
        """Return by name the states a new row starts from."""
        return dict(zip(self.inner.state_names, self.inner.initial_states(rows, cells), strict=True))

    def forward(self, carry: Carry | None, batch: Batch, draws: Draws | None = None) -> Step:
        """Work one supervision step on every row.

        In training mode rows halt by the q-head; in evaluation mode only after `halt_max_steps`.
        """
        carry = self.refilled(carry, batch)
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
        new |= {name: carry[name] for name in self.kept(carry)}
        return self._score(logits, q, target, new)

    @torch.no_grad()
    def _value_of_going_on(self, states: States, carry: Carry, last: Tensor) -> Tensor:
        _, _, q = self.think(states, carry)
        assert q is not None
        return bootstrapped_target(last, q[:, 0], q[:, 1])

    def _score(self, logits: Tensor, q: Tensor | None, target: Tensor | None, carry: Carry) -> Step:
        preds = logits.detach().argmax(-1)
        per_row = marks(preds, carry["labels"]) | {"steps": carry["steps"]}
        by_row = {"lm_loss": cell_loss(logits, self._targets(carry), self.cfg.loss, _loss_dtype(self.cfg))}
        outputs = {"logits": logits.detach(), "preds": preds}
        if q is None:
            outputs["q_halt"] = certainty(outputs["logits"])
        else:
            outputs |= {"q_halt": q[:, 0].detach(), "q_continue": q[:, 1].detach()}
            correct = per_row["exact_accuracy"]
            per_row["q_halt_accuracy"] = (outputs["q_halt"] >= 0) == correct
            by_row["q_halt_loss"] = F.binary_cross_entropy_with_logits(q[:, 0], correct.float(), reduction="none")
        if q is not None and target is not None:
            by_row["q_continue_loss"] = F.binary_cross_entropy_with_logits(q[:, 1], target, reduction="none")
        loss = self._weighed(by_row, carry["steps"])
        metrics = sums(carry["halted"] & per_row["count"], per_row)
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


def _loss_dtype(cfg: RecursiveCore) -> torch.dtype:
    return torch.float64 if cfg.loss == "stablemax" and cfg.loss_dtype == "float64" else torch.float32
