"""Gaussian noise on the states of the rows being worked on, for trying a row several times (PTRM, arXiv 2605.19943)."""

import hashlib
import struct
from collections.abc import Sequence

import torch

from trainer.models.base import Carry

Draw = tuple[int, int, int, int]
"""What the noise of a row is a function of: the run's seed, row of the split, rollout, supervision step."""


def with_noise(carry: Carry, names: Sequence[str], sigma: float, draws: Sequence[Draw | None]) -> Carry:
    """Return `carry` with normal noise of standard deviation `sigma` added to the states `names` of its rows.

    `draws` has an entry for each row; None leaves the row as it is. The noise of a row depends on its entry alone, and
    on the kind of device: neither on the rows beside it nor on the process that works on it.
    """
    noisy = {name: carry[name].clone() for name in names}
    device = next(iter(carry.values())).device
    generator = torch.Generator(device=device)
    for index, draw in enumerate(draws):
        if draw is None:
            continue
        generator.manual_seed(_seed(draw))
        for state in noisy.values():
            noise = torch.randn(state.shape[1:], generator=generator, device=device)
            state[index] += (sigma * noise).to(state.dtype)
    return carry | noisy


def _seed(draw: Draw) -> int:
    digest = hashlib.blake2b(struct.pack("<4q", *draw), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
