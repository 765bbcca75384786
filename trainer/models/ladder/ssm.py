"""Mamba-2 as a mixer of tokens (arXiv 2405.21060): projections, a short convolution, the recurrence, a gate.

No weight decay on A_log, D, dt_bias, as in the authors' code; they and the recurrence stay in float32.
Legend: `B` rows, `T` tokens, `D` width, `I = 2 D` inner width, `H` heads, `P` width of a head, `N` state.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.ladder.blocks import Kept, RMSNorm, scaled
from trainer.models.ladder.scan import fused, kernels, scan, step
from trainer.models.layers import Linear, truncated_normal
from trainer.models.sight import View

TAPS = 4
"""Tokens that the convolution sees."""
LEAST_DT, MOST_DT, FLOOR_DT = 1e-3, 1e-1, 1e-4


@dataclass
class State:
    """What is kept of what was read: the last inputs of the convolution, and the state of the recurrence."""

    recent: Tensor
    """[B, TAPS - 1, I + 2 N]"""
    state: Tensor
    """[B, H, P, N], float32"""

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but `rows`."""
        self.recent, self.state = self.recent[rows], self.state[rows]


class Mamba2(nn.Module):
    """The mixer."""

    def __init__(self, width: int, state: int, head: int, scale: float, *, signed: bool) -> None:
        """Take the sizes; `signed`: with negative eigenvalues, see `scan`."""
        super().__init__()
        self.inner, self.state, self.head, self.signed = 2 * width, state, head, signed
        heads, mixed = self.inner // head, self.inner + 2 * state
        self.in_proj = Linear(width, self.inner + mixed + heads)
        self.conv_weight = nn.Parameter(truncated_normal(mixed, TAPS, std=TAPS**-0.5))
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log_())
        dt = torch.exp(torch.rand(heads) * math.log(MOST_DT / LEAST_DT) + math.log(LEAST_DT)).clamp(min=FLOOR_DT)
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # softplus of it is dt
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = RMSNorm(self.inner)
        self.out_proj = scaled(Linear(self.inner, width), scale)

    def forward(self, x: Tensor, view: View, kept: Kept | None) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        own = kept if isinstance(kept, State) else None
        gate, mixed, dt = torch.split(self.in_proj(x), [self.inner, self.inner + 2 * self.state, len(self.D)], dim=-1)
        inflow = F.silu(self._convolve(mixed, view.documents, own))
        y = self._recur(inflow.float(), F.softplus(dt.float() + self.dt_bias), view.documents, own)
        y = y.flatten(2).to(x.dtype) * F.silu(gate)
        out: Tensor = self.out_proj(self.norm(y))
        return out

    def _convolve(self, mixed: Tensor, documents: Tensor | None, own: State | None) -> Tensor:
        """Sum up each channel of the last tokens of the same document, weighted: [B, T, I + 2 N] to the same."""
        rows, tokens, channels = mixed.shape
        before = mixed.new_zeros(rows, TAPS - 1, channels) if own is None else own.recent
        longer, weight = torch.cat((before, mixed), 1), self.conv_weight.to(mixed.dtype)
        if own is not None:
            own.recent = longer[:, tokens:]
        found = mixed * weight[:, -1]
        for back in range(1, TAPS):
            start = TAPS - 1 - back
            earlier = longer[:, start : start + tokens]
            if documents is not None:
                same = F.pad(documents, (back, 0), value=-1)[:, :tokens] == documents
                earlier = earlier * same[..., None]
            found = found + earlier * weight[:, -1 - back]
        return found

    def _recur(self, inflow: Tensor, dt: Tensor, documents: Tensor | None, own: State | None) -> Tensor:
        """Return [B, T, H, P] of inflows [B, T, I + 2 N] and `dt` [B, T, H]."""
        x, B, C = torch.split(inflow, [self.inner, self.state, self.state], dim=-1)
        x, A = x.reshape(*x.shape[:2], -1, self.head), -self.A_log.exp()
        before = None if own is None else own.state
        kernel = kernels(x.device) if x.is_cuda and not self.signed else None
        if before is not None and x.shape[1] == 1:
            y, after = step(x, dt, A, B, C, before, signed=self.signed)
        elif kernel is not None:
            y, after = fused(kernel, x, dt, A, B, C, documents, before)
        else:
            y, after = scan(x, dt, A, B, C, documents=documents, before=before, signed=self.signed)
        if own is not None:
            own.state = after
        told: Tensor = y + self.D[:, None] * x
        return told

    def empty(self, rows: int, most: int, like: Tensor, dtype: torch.dtype) -> State:
        """Return the state before the first token; it does not grow with `most`."""
        recent = torch.zeros(rows, TAPS - 1, self.inner + 2 * self.state, dtype=dtype, device=like.device)
        heads = len(self.D)
        return State(recent, torch.zeros(rows, heads, self.head, self.state, device=like.device))
