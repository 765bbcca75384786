"""What a supervised step of a language model comes to: its loss and how much of the batch was right.

Legend: `B` rows, `L` places of a row, `V` kinds of tokens.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.base import IGNORED_LABEL, Batch, Carry, Step
from trainer.models.rows import marks, sums


class Pondered(NamedTuple):
    """What the rows of a batch were thought about."""

    cost: Tensor
    """[B], with gradient; the mean over the row's anchors."""
    steps: Tensor
    """Rounds, [B]."""
    weight: float = 0.0
    """Of the cost in the loss."""


def text_step(logits: Tensor, batch: Batch, pondered: Pondered) -> Step:
    """Return the step of rows whose logits are [B, L, V] (float32); every row is final."""
    labels = batch["labels"]
    labelled = labels != IGNORED_LABEL
    per_place = F.cross_entropy(logits.flatten(0, 1), labels.flatten().long(), reduction="none").view(labels.shape)
    lm_loss = (batch["label_weight"] * per_place.sum(-1)).sum()
    ponder = pondered.cost.sum()
    preds = logits.detach().argmax(-1)
    per_row = marks(preds, labels) | {
        "exact_accuracy": _whole_documents(labelled, labelled & (preds != labels), batch["documents"]),
        "steps": pondered.steps,
    }
    metrics = sums(per_row["count"], per_row)
    metrics |= {"lm_loss": lm_loss.detach(), "ponder_loss": ponder.detach()}
    loss = lm_loss + pondered.weight * ponder if pondered.weight else lm_loss
    return Step(loss, None, {"logits": logits.detach(), "preds": preds}, metrics)


def _whole_documents(labelled: Tensor, wrong: Tensor, documents: Tensor) -> Tensor:
    """Return [B]: the share of the documents with labels that have no wrong one."""
    none = torch.zeros(labelled.shape, device=labelled.device)
    numbers = documents.long()
    labels, errors = (none.scatter_add(1, numbers, value.float()) for value in (labelled, wrong))
    asked = labels > 0
    return (asked & (errors == 0)).sum(-1).float() / asked.sum(-1).clamp(min=1)


def positions_within(documents: Tensor) -> Tensor:
    """Return the place of each token within its document, int64 [B, L], counted from 0."""
    places = torch.arange(documents.shape[1], device=documents.device).expand(documents.shape[0], -1)
    begins = F.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)
    return places - torch.cummax(torch.where(begins, places, 0), dim=1).values


class PackedText(nn.Module):
    """What language models share whose rows are packed documents, each row worked on once."""

    calls_per_update = 1
    max_steps = 1
    latent_names: tuple[str, ...] = ()
    _cells: int

    def blank_batch(self, rows: int, device: torch.device) -> Batch:
        """Return a batch of `rows` rows of one empty document each."""
        grid = torch.zeros(rows, self._cells, dtype=torch.int32, device=device)
        return {
            "inputs": grid,
            "labels": grid,
            "documents": grid,
            "prompt_ends": torch.zeros(rows, self._cells, dtype=torch.bool, device=device),
            "label_weight": torch.ones(rows, device=device),
        }

    def initial_carry(self, batch: Batch) -> Carry | None:
        """Return None: no row is worked on twice."""
        return None

    def begin(self, batch: Batch) -> Carry | None:
        """Return None: no row is worked on twice."""
        return None
