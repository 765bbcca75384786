"""The recursive core: one small network applied again and again to an answer state and a reasoning state.

Legend: `B` rows, `T` tokens (prefix included), `D` width; `z_H` is the answer (y in the paper), `z_L` the reasoning.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.models.layers import Attention, Positions, SwiGLU, TokenSwiGLU, cast_once, rms_norm

States = tuple[Tensor, ...]
"""`(z_H, z_L)`, or `(z_L,)` for the model with one state; each [B, T, D]."""

Apply = Callable[[Tensor, Tensor | None], Tensor]
"""The network: a state and what is injected into it, to a new state."""


class Block(nn.Module):
    """Mix tokens, then mix channels; each adds to its input and is normalised after (post-norm)."""

    repeated = True

    def __init__(self, width: int, heads: int, tokens: int, expansion: float, eps: float, *, mlp_t: bool) -> None:
        super().__init__()
        self.eps = eps
        if mlp_t:
            self.mlp_t = TokenSwiGLU(tokens, expansion)
        else:
            self.self_attn = Attention(width, heads)
        self.uses_mlp_t = mlp_t
        self.mlp = SwiGLU(width, expansion)

    def forward(self, x: Tensor, positions: Positions | None) -> Tensor:
        """Map [B, T, D] to [B, T, D]. With `mlp_t` the first norm runs over the tokens, as in the reference."""
        if self.uses_mlp_t:
            x = rms_norm(x + self.mlp_t(x), self.eps, axis=1)
        else:
            x = rms_norm(x + self.self_attn(x, positions), self.eps)
        return rms_norm(x + self.mlp(x), self.eps)


class Level(nn.Module):
    """A stack of blocks over the sum of a state and what is injected into it."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(blocks)
        self.recompute = False

    def weights_in(self, dtype: torch.dtype) -> AbstractContextManager[None]:
        """Within, weights are cast to `dtype` once; not where the backward pass recomputes, and reads them again."""
        return nullcontext() if self.recompute else cast_once(self, dtype)

    def forward(self, state: Tensor, injected: Tensor | None, positions: Positions | None) -> Tensor:
        """Map one or two [B, T, D] to one."""
        if self.recompute and torch.is_grad_enabled():
            out: Tensor = checkpoint(self._through, state, injected, positions, use_reentrant=False)
            return out
        return self._through(state, injected, positions)

    def _through(self, state: Tensor, injected: Tensor | None, positions: Positions | None) -> Tensor:
        x = state if injected is None else state + injected
        for layer in self.layers:
            x = layer(x, positions)
        return x


def recur(level: Apply, states: States, x: Tensor, H_cycles: int, L_cycles: int, *, last_only: bool = False) -> States:
    """Improve the answer `H_cycles` times, each after `L_cycles` updates of the reasoning; the last with gradient.

    With `last_only` there is a gradient of the last update of the reasoning and of the answer alone.
    """
    update, answer = (_reason, _answer) if len(states) == 2 else (_reason_of_one_state, _answer_of_one_state)
    with torch.no_grad():
        for _ in range(H_cycles - 1):
            for _ in range(L_cycles):
                states = update(level, states, x)
            states = answer(level, states)
    for left in reversed(range(L_cycles)):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (last_only and left)):
            states = update(level, states, x)
    return answer(level, states)


def _reason(level: Apply, states: States, x: Tensor) -> States:
    z_H, z_L = states
    return z_H, level(z_L, z_H + x)


def _answer(level: Apply, states: States) -> States:
    z_H, z_L = states
    return level(z_H, z_L), z_L


def _reason_of_one_state(level: Apply, states: States, x: Tensor) -> States:
    return (level(states[0], x),)


def _answer_of_one_state(level: Apply, states: States) -> States:
    return (level(states[0], None),)
