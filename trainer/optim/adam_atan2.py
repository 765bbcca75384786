"""Adam-atan2 (arXiv 2407.05872) with the formula of the package adam-atan2 0.0.3, in plain torch.

    p <- p (1 - lr wd);  m <- m + (1 - b1)(g - m);  v <- v + (1 - b2)(g^2 - v)
    p <- p - lr / (1 - b1^t) * atan2(m, sqrt(v) / sqrt(1 - b2^t))

There is no epsilon, and multiplying every gradient by a constant changes nothing. Other packages of the same name put
the first bias correction inside atan2 or multiply by 1.27: their steps differ by up to 27 %.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from trainer.sharding import locals_of

LEAST = torch.finfo(torch.float32).tiny
"""Makes 0 / 0 a 0. Roots are never negative, so that atan of a quotient is atan2, and several times as fast."""

PIECE = 1 << 15
"""Numbers of each tensor that a thread works on at once: five times 128 KiB fit a core's cache."""


class AdamATan2(torch.optim.Optimizer):
    """Adam-atan2 with decoupled weight decay on every parameter it is given."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        if closure is not None:
            raise TypeError("AdamATan2 takes no closure")
        for group in self.param_groups:
            by_age: dict[int, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_age.setdefault(self._grow_older(p), []).append(p)
            for age, params in by_age.items():
                self._update(params, [p.grad for p in params if p.grad is not None], age, group)

    def _grow_older(self, p: Tensor) -> int:
        """Count one more update of `p`; return how many that makes."""
        state = self.state[p]
        if not state:
            state |= {"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        state["step"] += 1
        return int(state["step"])

    def _update(self, params: list[Tensor], grads: list[Tensor], t: int, group: dict[str, Any]) -> None:
        b1, b2 = group["betas"]
        lr = group["lr"]
        means = locals_of(self.state[p]["exp_avg"] for p in params)
        squares = locals_of(self.state[p]["exp_avg_sq"] for p in params)
        for weights, slopes, mean, square in in_cache(locals_of(params), locals_of(grads), means, squares):
            torch._foreach_mul_(weights, 1 - lr * group["weight_decay"])
            torch._foreach_lerp_(mean, slopes, 1 - b1)
            torch._foreach_mul_(square, b2)
            torch._foreach_addcmul_(square, slopes, slopes, 1 - b2)
            roots = torch._foreach_sqrt(square)
            torch._foreach_div_(roots, math.sqrt(1 - b2**t))
            torch._foreach_add_(roots, LEAST)
            steps = torch._foreach_div(mean, roots)
            torch._foreach_atan_(steps)
            torch._foreach_add_(weights, steps, alpha=-lr / (1 - b1**t))


def in_cache(*lists: list[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
    """Yield lists, of tensors of the same shapes: all at once on a GPU; on a CPU in pieces, one after the other.

    A piece stays in the CPU's cache through all the passes that an update makes over it. Numbers are the same.
    """
    if lists[0][0].device.type != "cpu":
        yield lists
        return
    size = PIECE * torch.get_num_threads()
    for tensors in zip(*lists, strict=True):
        if all(tensor.is_contiguous() for tensor in tensors):
            yield from zip(*([[piece] for piece in tensor.view(-1).split(size)] for tensor in tensors), strict=True)
        else:
            yield tuple([tensor] for tensor in tensors)
