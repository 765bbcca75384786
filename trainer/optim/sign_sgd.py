"""SignSGD on the few rows of a puzzle table that a batch touched.

Legend: `B` rows of the batch over all processes, `W` width of the table.
"""

import torch
from torch import Tensor

from trainer.dist import World
from trainer.models.base import SparseEmbedding


class SparseSignSGD:
    """`w <- w (1 - lr wd) - lr sign(g)`, where g sums the gradients of all rows of the batch with that identifier.

    Identifiers that are not in the batch keep their vector, and are not decayed.
    """

    def __init__(self, table: SparseEmbedding, weight_decay: float, world: World) -> None:
        self.table, self.weight_decay, self.world = table, weight_decay, world

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take the gradients that the look-ups since the last step left behind, on every process, and update."""
        touched = [(ids, vectors.grad) for ids, vectors in self.table.touched if vectors.grad is not None]
        self.table.touched.clear()
        if not touched:
            return
        ids = self.world.gather_rows(torch.cat([ids for ids, _ in touched]))
        grads = self.world.gather_rows(torch.cat([grad for _, grad in touched]))
        sign_sgd(self.table.weights, ids, grads, lr, self.weight_decay)


def sign_sgd(weights: Tensor, ids: Tensor, grads: Tensor, lr: float, weight_decay: float) -> None:
    """Update `weights` [N, W] in place from `grads` [B, W] of the rows `ids` [B]; never waits for the device.

    Gradients of equal identifiers are summed. Places left over because of them repeat the first identifier's update:
    they write the same value to the same row, so that every tensor keeps its size.
    """
    ordered, order = ids.long().sort(stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    place = first.cumsum(0) - 1
    sums = _sums_by_place(grads[order], place)
    unique = torch.zeros_like(ordered).scatter_(0, place, ordered)
    places = torch.arange(len(ids), device=ids.device)
    used = torch.where(places <= place[-1], places, 0)
    unique, sums = unique[used], sums[used]
    weights[unique] = weights[unique] * (1 - lr * weight_decay) - lr * sums.sign()


def _sums_by_place(ordered: Tensor, place: Tensor) -> Tensor:
    """Add up the rows of `ordered` [B, W] by `place` [B], in the same order every time, on a CPU and on a GPU."""
    sums = torch.zeros_like(ordered)
    if ordered.is_cuda:  # there, index_add_ adds in any order, and this one sorts first
        return sums.index_put_((place,), ordered, accumulate=True)
    return sums.index_add_(0, place, ordered)
