"""Rows of puzzles that are worked on step after step: those that halted take new data, the others go on.

Here is whose turn it is and what an answer is worth; what a step does to a row is up to who inherits.
Legend: `B` rows, `L` cells.
"""

import torch
from torch import Tensor, nn

from trainer.models.base import IGNORED_LABEL, Batch, Carry


class PuzzleRows(nn.Module):
    """What models share that keep a row of a puzzle for several calls."""

    data: tuple[str, ...] = ("inputs", "labels", "puzzle_identifiers")
    """What a batch has, and a row keeps while it is worked on."""

    def __init__(self, cells: int) -> None:
        """Begin a model for puzzles of `cells` cells."""
        super().__init__()
        self._cells = cells

    def fresh_states(self, rows: int, cells: int) -> dict[str, Tensor]:
        """Return by name the states a new row starts from, rows first and without gradient."""
        raise TypeError(f"{type(self).__name__} does not say what its rows start from")

    def blank_batch(self, rows: int, device: torch.device) -> Batch:
        """Return a batch of `rows` empty puzzles."""
        grid = torch.zeros(rows, self._cells, dtype=torch.int32, device=device)
        nobody = torch.zeros(rows, dtype=torch.int32, device=device)
        return {"inputs": grid, "labels": grid, "puzzle_identifiers": nobody}

    def initial_carry(self, batch: Batch) -> Carry:
        """Return a carry in which every row is halted, so that the first step takes all of `batch`."""
        (rows, cells), device = batch["inputs"].shape, batch["inputs"].device
        states = self.fresh_states(rows, cells)  # of which the shapes count: no halted row is ever looked at
        carry = {name: torch.zeros(like.shape, dtype=like.dtype, device=device) for name, like in states.items()}
        carry["steps"] = torch.zeros(rows, dtype=torch.int32, device=device)
        carry["halted"] = torch.ones(rows, dtype=torch.bool, device=device)
        return carry | {name: torch.zeros_like(batch[name]) for name in self.kept(batch)}

    def begin(self, batch: Batch) -> Carry:
        """Return a carry in which every row of `batch` is about to take its first step."""
        carry = self.initial_carry(batch)
        return self.refilled(carry, batch) | {"halted": torch.zeros_like(carry["halted"])}

    def refilled(self, carry: Carry | None, batch: Batch) -> Carry:
        """Return the carry in which rows that halted, of none all, are new ones with the data of `batch`."""
        carry = self.initial_carry(batch) if carry is None else carry
        fresh = self.fresh_states(*batch["inputs"].shape) | {"steps": torch.zeros_like(carry["steps"])}
        fresh |= {name: batch[name] for name in self.kept(batch)}
        return {name: torch.where(over(carry["halted"], new), new, carry[name]) for name, new in fresh.items()}

    def kept(self, batch: Batch) -> tuple[str, ...]:
        """Return what a row keeps while it is worked on; of a window of its canvas that is where its cells are, too."""
        return (*self.data, "positions") if "positions" in batch else self.data


def over(mask: Tensor, like: Tensor) -> Tensor:
    """Return `mask` [B] with as many axes as `like`."""
    return mask.view(-1, *(1,) * (like.dim() - 1))


def marks(preds: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return what answers [B, L] are worth, each [B]: whether they count, the share of cells right, whether all are."""
    labelled = labels != IGNORED_LABEL
    right = ((preds == labels) & labelled).sum(-1)
    cells = labelled.sum(-1)
    return {"count": cells > 0, "accuracy": right.float() / cells.clamp(min=1), "exact_accuracy": right == cells}


def sums(final: Tensor, per_row: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the sum of each of `per_row`, all [B], over the rows that are `final`."""
    return {name: torch.where(final, value, 0).sum() for name, value in per_row.items()}
