"""The global random generators of a process, into and out of a checkpoint."""

import hashlib
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def torch_generators() -> dict[str, Tensor]:
    """Return the states of torch's generators."""
    states = {"rng/torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["rng/cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states["rng/mps"] = torch.mps.get_rng_state()
    return states


def other_generators() -> dict[str, Any]:
    """Return the states of the generators of Python and numpy."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {"python": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, gauss]}


def restore_generators(tensors: dict[str, Tensor], others: dict[str, Any]) -> None:
    """Put all generators back to where they were."""
    torch.set_rng_state(tensors["rng/torch"])
    if torch.cuda.is_available() and "rng/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng/cuda"])
    if torch.backends.mps.is_available() and "rng/mps" in tensors:
        torch.mps.set_rng_state(tensors["rng/mps"])
    version, internal, gauss = others["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = others["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))


def mixed(*numbers: int | str) -> int:
    """Return a seed of 32 bits made of `numbers` and words: torch's generator on the CPU ignores all bits above."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:4], "little")


def draw_apart(seed: int, rank: int) -> None:
    """Let processes draw different numbers from torch's generators from here on, as for dropout.

    The first one goes on as it is, so that a process alone draws what it always drew.
    """
    if rank:
        torch.manual_seed(mixed(seed, rank))
