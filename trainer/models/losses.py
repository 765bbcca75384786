"""Cross-entropy over cells, summed over a row and divided by the row's number of labels.

Legend: `B` rows, `L` cells, `V` kinds of tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.models.base import IGNORED_LABEL


def stablemax(x: Tensor) -> Tensor:
    """Return `x + 1` for x >= 0 and `1 / (1 - x)` below (arXiv 2501.04697).

    The untaken branch is evaluated at a clamped x: left alone it is infinite at x = 1, and 0 * inf is a NaN gradient.
    """
    return torch.where(x < 0, 1 / (1 - x.clamp(max=0)), x.clamp(min=0) + 1)


def log_stablemax(logits: Tensor) -> Tensor:
    """Return log probabilities along the last axis, in the type of `logits`."""
    s = stablemax(logits)
    return torch.log(s / s.sum(-1, keepdim=True))


def cell_loss(logits: Tensor, labels: Tensor, kind: str, dtype: torch.dtype) -> Tensor:
    """Return [B]: the mean cross-entropy of each row's labelled cells; 0 for a row without labels.

    `logits` [B, L, V]; `labels` [B, L], -100 is ignored; `kind` is `stablemax` or `softmax`; the sum runs in `dtype`.
    """
    wide = logits.to(dtype)
    log_p = log_stablemax(wide) if kind == "stablemax" else F.log_softmax(wide, dim=-1)
    labelled = labels != IGNORED_LABEL
    target = torch.where(labelled, labels, 0).long()
    per_cell = -log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return torch.where(labelled, per_cell, 0).sum(-1) / labelled.sum(-1).clamp(min=1)


def certainty(logits: Tensor) -> Tensor:
    """Return float32 [B]: the logit of the mean probability (geometric) of the cells predicted by `logits` [B, L, V].

    What a model without a q-head has to say of how sure it is.
    """
    mean = F.log_softmax(logits.float(), dim=-1).amax(-1).mean(-1).clamp(max=-1e-6)
    return mean - torch.log(-torch.expm1(mean))
