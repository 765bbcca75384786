"""Small language models and batches of packed documents for their tests."""

from typing import Any

import torch
from torch import Tensor

from trainer.models import TrainableModel, build
from trainer.models.base import IGNORED_LABEL, Batch
from trmkit.spec.ladder import LadderModel

RUNGS = ("baseline", "shared_loop", "latent", "act", "ssm", "ssm_mem")
VARIANTS = (*RUNGS, "nano_absolute")
VOCAB, CELLS = 40, 96
SMALL: dict[str, Any] = {
    "family": "ladder", "size": "pico", "forward_dtype": "float32", "context": 256, "dropout": 0.0, "n_unroll": 3,
    "thought_stride": 8, "thought_tokens": 4, "K": 2, "max_K": 4, "num_mem": 4, "segment": 16,
}  # fmt: skip


def section(variant: str, **options: Any) -> LadderModel:
    return LadderModel(**(SMALL | {"variant": variant} | options))


def make(variant: str, *, cells: int = CELLS, vocab: int = VOCAB, **options: Any) -> TrainableModel:
    torch.manual_seed(0)
    model = build(section(variant, **options), vocab, cells, 1)
    with torch.no_grad():  # so that every part says something: initial weights make small differences only
        for name, p in model.named_parameters():
            if name.endswith("embedding_weight"):
                p.mul_(10)
    return model.eval()


def batch(rows: int = 3, cells: int = CELLS, seed: int = 0) -> Batch:
    """Return rows of several documents; those of the last row begin and end elsewhere than those of the others."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, VOCAB, (rows, cells + 1), generator=draw, dtype=torch.int32)
    documents = torch.zeros(rows, cells, dtype=torch.int32)
    prompt_ends = torch.zeros(rows, cells, dtype=torch.bool)
    for row in range(rows):
        for begin in (37, 58) if row < rows - 1 else (5, 64):
            documents[row, begin:] += 1
        prompt_ends[row, [3, 44, 70 + row]] = True
    labels = tokens[:, 1:].clone()
    labels[:, ::3] = IGNORED_LABEL
    weight = torch.full((rows,), rows / float((labels != IGNORED_LABEL).sum()))
    return {
        "inputs": tokens[:, :-1].clone(), "labels": labels, "documents": documents,
        "prompt_ends": prompt_ends, "label_weight": weight,
    }  # fmt: skip


def of_document(given: Batch, row: int, number: int) -> tuple[Batch, slice]:
    """Return one document alone in a row of its own, and where it stood."""
    where = (given["documents"][row] == number).nonzero().flatten()
    place = slice(int(where[0]), int(where[-1]) + 1)
    alone = {name: value[row : row + 1, place] for name, value in given.items() if value.dim() > 1}
    alone["documents"] = torch.zeros_like(alone["documents"])
    return alone | {"label_weight": given["label_weight"][row : row + 1]}, place


def logits(model: TrainableModel, given: Batch) -> Tensor:
    with torch.no_grad():
        return model(None, given).outputs["logits"]
