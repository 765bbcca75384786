"""When a row is finished: the q-head's word, a last step, and a random minimum of steps while training."""

import torch
from torch import Tensor

from trainer.models.base import Draws


def finished(
    q_halt: Tensor,
    q_continue: Tensor | None,
    steps: Tensor,
    *,
    max_steps: int,
    exploration: float,
    draws: Draws | None,
) -> Tensor:
    """Return bool [B]: which rows take new data at the next training step.

    `steps` (int32 [B]) counts this step. A row halts when `q_halt > 0`, or, where the model predicts both values, when
    `q_halt > q_continue`; with probability `exploration`, drawn anew at every step, not before a random 2..max_steps.
    Without `draws` torch's global generator is used, in the reference's order.
    """
    last = steps >= max_steps
    if max_steps == 1:
        return last
    wants_to_halt = q_halt > 0 if q_continue is None else q_halt > q_continue
    explore = torch.rand_like(q_halt) if draws is None else draws.uniform()
    if draws is None:
        longest = torch.randint_like(steps, low=2, high=max_steps + 1)
    else:
        longest = draws.integers(2, max_steps + 1)
    minimum = (explore < exploration) * longest
    return (last | wants_to_halt) & (steps >= minimum)


def bootstrapped_target(last: Tensor, next_q_halt: Tensor, next_q_continue: Tensor) -> Tensor:
    """Return the value of going on, float32 [B] in 0..1: the better of halting and going on at the next step."""
    return torch.sigmoid(torch.where(last, next_q_halt, torch.maximum(next_q_halt, next_q_continue)))
