"""Deep recursion: a convolutional encoder and decoder that reads its own answer and latent state, again and again.

The recursion with detached steps is TRM's (arXiv 2510.04871). A convolutional network on a canvas, a vector for each
task and training at test time are those of VARC, "ARC Is a Vision Problem!" (arXiv 2511.14761), which has no recursion.
Legend: `B` rows, `L = S * S` cells of a canvas of side `S`, `P` the side padded to a multiple of 8, `V` kinds of
tokens; `y` is the answer so far (logits, [B, V, P, P]), `z` the latent state ([B, latent, P/8, P/8]).
"""

from math import gcd, isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.models.base import IGNORED_LABEL, Batch, Carry, Draws, SparseEmbedding, Step
from trainer.models.conv import GROUPS, STRIDE, Conv, Decoder, Encoder
from trainer.models.layers import Linear
from trainer.models.losses import certainty
from trainer.models.rows import PuzzleRows, marks, over, sums
from trmkit.errors import SpecError
from trmkit.spec.model import DeepRecursionModel

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EMPTY = 0
"""The token of an empty cell, of every kind of puzzle."""
STATES = ("y", "z")
FEWEST = 4
"""Numbers that must be normalised together: of one nothing is left, and of two a sign."""


class Refinement(nn.Module):
    """One step: the question, the answer so far and the latent state, to a better answer and the next state."""

    repeated = True

    def __init__(self, cfg: DeepRecursionModel, vocab: int) -> None:
        super().__init__()
        base, latent = cfg.base_channels, cfg.latent_channels
        self.combine, self.feedback, self.dtype = cfg.combine, cfg.feedback, _DTYPES[cfg.forward_dtype]
        self.task_proj, self.output_proj = Conv(vocab, base, 1, bias=True), Conv(vocab, base, 1, bias=True)
        inputs = base if cfg.combine == "sum" else 2 * base
        self.encoder = Encoder(inputs, base, latent, cfg.n_res_blocks, cfg.bottleneck_blocks, cfg.dropout)
        self.z_proj = Conv(latent, latent, 1)
        self.decoder = Decoder(vocab, base, latent, cfg.n_res_blocks, cfg.dropout)
        self.film = Linear(cfg.puzzle_emb_ndim, 2 * latent) if cfg.puzzle_emb_ndim else None
        self.token = Linear(cfg.puzzle_emb_ndim, base) if cfg.puzzle_emb_ndim else None
        self.recompute = False

    def forward(self, question: Tensor, y: Tensor, z: Tensor, task: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the new `y` and `z` (float32); `question` is one-hot [B, V, P, P], `task` [B, W] or None."""
        if self.recompute and torch.is_grad_enabled():
            states: tuple[Tensor, Tensor] = checkpoint(self._step, question, y, z, task, use_reentrant=False)
            return states
        return self._step(question, y, z, task)

    def _step(self, question: Tensor, y: Tensor, z: Tensor, task: Tensor | None) -> tuple[Tensor, Tensor]:
        answer = (y.softmax(1) if self.feedback == "softmax" else y).to(self.dtype)
        asked, said = self.task_proj(question.to(self.dtype)), self.output_proj(answer)
        if task is not None and self.token is not None:
            asked = asked + self.token(task.to(self.dtype))[:, :, None, None]
        seen = asked + said if self.combine == "sum" else torch.cat((asked, said), dim=1)
        latent, skips = self.encoder(seen)
        latent = latent + self.z_proj(z.to(self.dtype))
        if task is not None and self.film is not None:
            scale, shift = self.film(task.to(self.dtype))[:, :, None, None].chunk(2, dim=1)
            latent = latent * (1 + scale) + shift
        return self.decoder(latent, skips).float(), latent.float()


class DeepRecursiveNetwork(nn.Module):
    """The network: `n_outer` times `n_inner` steps, with nothing but numbers passed from one outer step to the next."""

    def __init__(self, cfg: DeepRecursionModel, vocab: int, canvas: int, tasks: int) -> None:
        """Build for a canvas of this side; of `tasks` tasks it has a vector each, if `cfg` says so."""
        super().__init__()
        self.cfg, self.vocab, self.canvas = cfg, vocab, canvas
        self.side = -(-canvas // STRIDE) * STRIDE
        self.shapes = {
            "y": (vocab, self.side, self.side),
            "z": (cfg.latent_channels, self.side // STRIDE, self.side // STRIDE),
        }
        self.step = Refinement(cfg, vocab)
        self.y_init = nn.Parameter(0.02 * torch.randn(1, *self.shapes["y"]))
        self.tasks = SparseEmbedding(tasks, cfg.puzzle_emb_ndim) if cfg.puzzle_emb_ndim else None

    def begin(self, rows: int) -> tuple[Tensor, Tensor]:
        """Return the states that `rows` rows start from: the learned first answer, and nothing thought yet."""
        return self.y_init.expand(rows, -1, -1, -1), self.y_init.new_zeros(rows, *self.shapes["z"])

    def question(self, x: Tensor) -> Tensor:
        """Return tokens [B, S, S] as one-hot channels [B, V, P, P]; there is nothing in the padding."""
        hot = F.one_hot(x.long(), self.vocab).movedim(-1, 1).to(self.step.dtype)
        room = self.side - self.canvas
        return F.pad(hot, (0, room, 0, room))

    def task(self, tasks: Tensor | None) -> Tensor | None:
        """Return the vectors [B, W] of the tasks [B]; None: the network has none, or no tasks are given."""
        if self.tasks is None or tasks is None:
            return None
        vectors: Tensor = self.tasks(tasks)
        return vectors

    def refine(
        self, question: Tensor, y: Tensor, z: Tensor, task: Tensor | None, steps: int, *, last_only: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Take `steps` steps; with `last_only` there is a gradient of the last one alone."""
        for left in reversed(range(steps)):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not (last_only and left)):
                y, z = self.step(question, y, z, task)
        return y, z

    def logits(self, y: Tensor) -> Tensor:
        """Return an answer as [B, S, S, V], without the padding."""
        return y[:, :, : self.canvas, : self.canvas].movedim(1, -1)

    def forward(
        self, x: Tensor, n_steps: int = 1, return_all_steps: bool = False, tasks: Tensor | None = None
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Return logits [B, S, S, V] for tokens `x` [B, S, S] after `n_steps` steps, and, if wanted, after each."""
        last, every = self.deep_recursion_forward(x, 1, n_steps, detach_outer=False, tasks=tasks)
        return (last, every) if return_all_steps else last

    def deep_recursion_forward(
        self,
        x: Tensor,
        n_inner_steps: int = 3,
        n_outer_steps: int = 3,
        detach_outer: bool = True,
        tasks: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return logits [B, S, S, V] of the last outer step, and a list of those of each.

        With `detach_outer` no gradient goes from one outer step to the one before. The graphs of all of them are kept
        as long as the list is: memory is saved by who goes backwards after each, as the trainer does.
        """
        question, task, every = self.question(x), self.task(tasks), []
        y, z = self.begin(len(x))
        for outer in range(n_outer_steps):
            if outer and detach_outer:
                y, z = y.detach(), z.detach()
            y, z = self.refine(question, y, z, task, n_inner_steps, last_only=self.cfg.no_grad_inner)
            every.append(self.logits(y))
        return every[-1], every


class ARCDeepRecursiveModel(DeepRecursiveNetwork):
    """The network under the name and with the arguments it was first described with.

    `num_tasks` of 0 leaves it without any knowledge of tasks, as it was then: one network for all tasks that knows
    nothing but the grid it is asked about cannot solve ARC.
    """

    def __init__(
        self,
        num_colors: int = 10,
        base_channels: int = 64,
        latent_channels: int = 512,
        n_res_blocks: int = 2,
        num_tasks: int = 0,
        canvas: int = 32,
        **options: Any,
    ) -> None:
        """Build for grids of `num_colors + 2` kinds of tokens; `options` are other keys of the run file's `model`."""
        if not num_tasks:
            options["puzzle_emb_ndim"] = 0
        cfg = DeepRecursionModel(
            family="deep_recursion",
            base_channels=base_channels,
            latent_channels=latent_channels,
            n_res_blocks=n_res_blocks,
            **options,
        )
        super().__init__(cfg, num_colors + 2, canvas, num_tasks)


class DeepRecursion(PuzzleRows):
    """The network for the trainer: one call is one outer step of every row."""

    latent_names = STATES

    def __init__(self, cfg: DeepRecursionModel, vocab: int, cells: int, identifiers: int) -> None:
        """Build for canvases of `cells` cells. SpecError: they are no square, or the latent state is too narrow."""
        super().__init__(cells)
        canvas = isqrt(cells)
        if canvas**2 != cells:
            raise SpecError(
                f"model.family: deep_recursion looks at square canvases, rows of {cells} cells are none",
                next="take the family trm, or another data source",
            )
        together = cfg.latent_channels // gcd(GROUPS, cfg.latent_channels)
        if canvas <= STRIDE and together < FEWEST:
            raise SpecError(
                f"model.latent_channels: on {canvas} x {canvas} cells a channel is a single number, and of"
                f" {cfg.latent_channels} channels {together} are normalised together: next to nothing is left of them",
                next=f"use {FEWEST * GROUPS} or more",
            )
        self.cfg, self._canvas = cfg, canvas
        self.inner = DeepRecursiveNetwork(cfg, vocab, canvas, identifiers)
        self.max_steps = cfg.n_outer
        self.calls_per_update = cfg.n_outer if cfg.updates == "accumulate" else 1

    def fresh_states(self, rows: int, cells: int) -> dict[str, Tensor]:
        """Return by name the states a new row starts from."""
        return {name: state.detach() for name, state in zip(STATES, self.inner.begin(rows), strict=True)}

    def forward(self, carry: Carry | None, batch: Batch, draws: Draws | None = None) -> Step:
        """Work one outer step on every row; rows are final after `max_steps`, and make room for others then."""
        carry = self.refilled(carry, batch)
        inner, cfg = self.inner, self.cfg
        first = inner.y_init - inner.y_init.detach()  # zeros, through which the first step trains the first answer
        y = carry["y"] + torch.where(over(carry["steps"] == 0, carry["y"]), first, 0.0)
        steps = cfg.n_inner if self.training or cfg.n_inner_eval is None else cfg.n_inner_eval
        question = inner.question(carry["inputs"].view(-1, self._canvas, self._canvas))
        task = inner.task(carry["puzzle_identifiers"])
        y, z = inner.refine(question, y, carry["z"], task, steps, last_only=cfg.no_grad_inner)
        worked = carry["steps"] + 1
        new = {"y": y.detach(), "z": z.detach(), "steps": worked, "halted": worked >= self.max_steps}
        return self._score(inner.logits(y).flatten(1, 2), new | {name: carry[name] for name in self.kept(carry)})

    def _score(self, logits: Tensor, carry: Carry) -> Step:
        labels = carry["labels"]
        outputs = {"logits": logits.detach(), "preds": logits.detach().argmax(-1)}
        outputs["q_halt"] = certainty(outputs["logits"])
        lm_loss = weighted_loss(logits, labels, self.cfg.pad_weight).sum()
        per_row = marks(outputs["preds"], labels) | {"steps": carry["steps"]}
        metrics = sums(carry["halted"] & per_row["count"], per_row)
        return Step(lm_loss / self.calls_per_update, carry, outputs, metrics | {"lm_loss": lm_loss.detach()})


def weighted_loss(logits: Tensor, labels: Tensor, pad_weight: float) -> Tensor:
    """Return [B]: the mean cross-entropy of each row's labelled cells, in which empty cells weigh `pad_weight`.

    `logits` [B, L, V]; `labels` [B, L], -100 is ignored. 0 for a row of which nothing counts.
    """
    ce = F.cross_entropy(logits.transpose(1, 2), labels.long(), ignore_index=IGNORED_LABEL, reduction="none")
    weight = torch.where(labels == EMPTY, pad_weight, (labels != IGNORED_LABEL).float())
    return (ce * weight).sum(-1) / weight.sum(-1).clamp(min=1e-6)


def build(cfg: DeepRecursionModel, vocab: int, cells: int, identifiers: int) -> DeepRecursion:
    """Build the model; draws its initial weights from torch's global generator."""
    return DeepRecursion(cfg, vocab, cells, identifiers)
