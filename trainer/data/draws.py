"""Random numbers that depend on a seed and on what they are for, never on what was drawn before for something else."""

import hashlib

import numpy as np


def generator(seed: int, *purpose: int | str) -> np.random.Generator:
    """Return the generator for `purpose` under `seed`: Philox, the same on every machine and in every process."""
    words = [hashlib.sha256(str(part).encode()).digest()[:4] for part in purpose]
    key = tuple(int.from_bytes(word, "little") for word in words)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy=seed, spawn_key=key)))
