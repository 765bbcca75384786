"""The recurrence of Mamba-2 (arXiv 2405.21060), worked in chunks, in single steps, or by the kernels of `mamba_ssm`.

    h_t = a_t h_{t-1} + dt_t x_t B_t',   y_t = h_t C_t,   a_t = exp(dt_t A)  or, with signs,  2 exp(dt_t A) - 1

with h = 0 before the first token of a document. The second a_t lies in (-1, 1), so that a state can flip its sign from
token to token, which parity needs ("Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues", arXiv
2411.12537, puts 2 a - 1 for a in just this way). In chunks, products of a_t are exp of differences of sums of
log |a_t|, times a sign: the sign of a product from s + 1 to l is that of 1..l times that of 1..s, so that signs, too,
need nothing but their running product.

Legend: `B` rows, `T` tokens, `H` heads, `P` width of a head, `N` state, `Q` tokens of a chunk, `c` chunks.
"""

from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.progress import say

CHUNK = 64
SMALLEST = 1e-6
"""Least |a_t| with signs: a zero has no logarithm."""
CLOSE = 2e-2
"""Largest difference, relative to the largest value, between the kernels and the fallback; kernels use TF32."""


def decays(dt: Tensor, A: Tensor, *, signed: bool) -> tuple[Tensor, Tensor | None]:
    """Return log |a_t| and, where they are `signed`, the signs of a_t, for `dt` [B, T, H] and `A` [H] < 0."""
    if not signed:
        return dt * A, None
    a = 2 * torch.exp(dt * A) - 1
    return a.abs().clamp(min=SMALLEST).log(), torch.where(a < 0, -1.0, 1.0).to(a.dtype)


def step(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, before: Tensor, *, signed: bool
) -> tuple[Tensor, Tensor]:
    """Take one token: `x` [B, 1, H, P], `dt` [B, 1, H], `B` and `C` [B, 1, N], state `before` [B, H, P, N].

    Returns y [B, 1, H, P] and the state after it.
    """
    log, sign = decays(dt[:, 0], A, signed=signed)
    a = log.exp() if sign is None else sign * log.exp()
    inflow = (dt[:, 0, :, None] * x[:, 0])[..., None] * B[:, :, None, :]
    after = a[..., None, None] * before + inflow
    return torch.einsum("bhpn,bn->bhp", after, C[:, 0])[:, None], after


def scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *,
    documents: Tensor | None = None, before: Tensor | None = None, signed: bool = False, chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Take `x` [B, T, H, P], `dt` [B, T, H], `B` and `C` [B, T, N], `documents` [B, T] growing along the row.

    `before` [B, H, P, N] is the state of the first document. Returns y [B, T, H, P] and the state at the end.
    """
    tokens = x.shape[1]
    log, sign = decays(dt, A, signed=signed)
    x = x * dt[..., None]
    pad = -tokens % chunk
    if pad:
        x, B, C, log = (_longer(value, pad) for value in (x, B, C, log))
        sign = None if sign is None else torch.cat((sign, torch.ones_like(sign[:, :1]).expand(-1, pad, -1)), 1)
        documents = None if documents is None else torch.cat((documents, documents[:, -1:].expand(-1, pad)), 1)
    x, B, C, log = (_chunks(value, chunk) for value in (x, B, C, log))
    signs = None if sign is None else _chunks(sign, chunk).cumprod(2)
    same = None if documents is None else _Same(_chunks(documents, chunk))
    sums = _sums(log, same)
    near = _within(x, sums, signs, B, C, same)
    states, after = _carried(x, sums, signs, B, same, before)
    grown = sums.exp() if signs is None else signs * sums.exp()
    if same is not None:
        grown = grown * same.with_last_chunk[..., None]
    far = torch.einsum("bcln,bchpn->bclhp", C, states) * grown[..., None]
    return (near + far).flatten(1, 2)[:, :tokens], after


class _Same:
    """Which tokens of chunks are of the same document: [B, c, Q]."""

    def __init__(self, documents: Tensor) -> None:
        last = documents[:, :, -1]
        previous = torch.cat((documents[:, :1, 0], last[:, :-1]), 1)
        self.with_each_other = (documents[:, :, :, None] == documents[:, :, None, :])[:, :, None]
        """[B, c, 1, Q, Q]"""
        self.with_end = documents == last[..., None]
        self.with_last_chunk = documents == previous[..., None]
        self.chunks = (last == previous)[..., None]
        """[B, c, 1]: nothing new began in a chunk"""
        places = torch.arange(documents.shape[2], device=documents.device).expand_as(documents)
        begins = F.pad(documents[:, :, 1:] != documents[:, :, :-1], (1, 0), value=True)
        self.starts = torch.cummax(torch.where(begins, places, 0), dim=2).values
        """[B, c, Q]: where in the chunk a token's document begins"""


def _sums(log: Tensor, same: _Same | None) -> Tensor:
    """Sum up [B, c, Q, H] from the beginning of the chunk, or of the document if that begins in it.

    The sums of B T H numbers are cheap, so they are made in float64, which says nothing of the document before.
    """
    wide = log.double() if log.device.type != "mps" else log
    sums = wide.cumsum(2)
    if same is not None:
        sums = sums - (sums - wide).gather(2, same.starts[..., None].expand_as(wide))
    return sums.to(log.dtype)


def _within(x: Tensor, sums: Tensor, signs: Tensor | None, B: Tensor, C: Tensor, same: _Same | None) -> Tensor:
    """Return what tokens of a chunk tell later ones of it, [B, c, Q, H, P]."""
    turned = sums.transpose(2, 3)
    seen = torch.ones(x.shape[2], x.shape[2], dtype=torch.bool, device=x.device).tril()
    hidden = ~(seen if same is None else seen & same.with_each_other)
    weights = (turned[..., :, None] - turned[..., None, :]).masked_fill(hidden, float("-inf")).exp()
    if signs is not None:
        turned_signs = signs.transpose(2, 3)
        weights = weights * (turned_signs[..., :, None] * turned_signs[..., None, :])
    weights = weights * torch.einsum("bcln,bcsn->bcls", C, B)[:, :, None]
    return torch.einsum("bchls,bcshp->bclhp", weights, x)


def _carried(
    x: Tensor, sums: Tensor, signs: Tensor | None, B: Tensor, same: _Same | None, before: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the state before each chunk, [B, c, H, P, N], and the one after the last."""
    rest, whole = sums[:, :, -1:] - sums, sums[:, :, -1].exp()
    if same is not None:  # before exp: of another document's sum it may be infinite, and 0 x infinity is no number
        rest, whole = rest.masked_fill(~same.with_end[..., None], float("-inf")), whole * same.chunks
    left = rest.exp()
    if signs is not None:
        left, whole = left * signs[:, :, -1:] * signs, whole * signs[:, :, -1]
    added = torch.einsum("bcsn,bcshp->bchpn", B, x * left[..., None])
    state = torch.zeros_like(added[:, 0]) if before is None else before
    states = []
    for number in range(added.shape[1]):
        states.append(state)
        state = whole[:, number, :, None, None] * state + added[:, number]
    return torch.stack(states, 1), state


def _chunks(value: Tensor, chunk: int) -> Tensor:
    """Cut [B, T, ...] into [B, c, Q, ...]."""
    return value.reshape(len(value), -1, chunk, *value.shape[2:])


def _longer(value: Tensor, pad: int) -> Tensor:
    return F.pad(value, (0, 0) * (value.dim() - 2) + (0, pad))


@lru_cache(maxsize=8)
def kernels(device: torch.device) -> Any:
    """Return `mamba_chunk_scan_combined` of `mamba_ssm` if it is there and agrees with the fallback on `device`.

    Both are compared, with their gradients, before its first use. None, and a line for who watches, where it is not
    there or does not agree.
    """
    try:
        found = import_module("mamba_ssm.ops.triton.ssd_combined").mamba_chunk_scan_combined
        worst = _difference(found, device)
    except Exception as error:  # noqa: BLE001 - whatever a foreign package does, the fallback works
        say(f"Mamba-2 in plain PyTorch: the kernels of mamba_ssm cannot be used ({type(error).__name__}: {error})")
        return None
    if worst > CLOSE:
        say(f"Mamba-2 in plain PyTorch: the kernels of mamba_ssm differ by {worst:.2g}, more than {CLOSE}")
        return None
    return found


def fused(
    kernel: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
    documents: Tensor | None, before: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Do what `scan` does, without signs, by the kernels."""
    of_rows = None if documents is None else documents.int().contiguous()
    y, after = kernel(
        x, dt, A, B[:, :, None], C[:, :, None], CHUNK,
        seq_idx=of_rows, initial_states=before, return_final_states=True,
    )  # fmt: skip
    return y, after


@torch.enable_grad()
def _difference(kernel: Any, device: torch.device) -> float:
    """Return the largest difference of kernel and fallback, and of their gradients, relative, on two documents."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 160, 2, 64, generator=draw).to(device)
    dt = torch.rand(2, 160, 2, generator=draw).to(device)
    A = -torch.tensor([0.5, 2.0], device=device)
    B, C = (torch.randn(2, 160, 64, generator=draw).to(device) for _ in range(2))
    documents = (torch.arange(160, device=device) >= 100).int().expand(2, -1)
    given = (x, dt, A, B, C)
    for value in given:
        value.requires_grad_()
    pairs = []
    for y, after in (fused(kernel, *given, documents, None), scan(*given, documents=documents)):
        pairs.append([y, after, *torch.autograd.grad(y.square().mean(), given)])
    return max(float((a - b).detach().abs().max() / b.detach().abs().max()) for a, b in zip(*pairs, strict=True))
