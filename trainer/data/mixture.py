"""What the rows of training are made of: algorithmic tasks first, then language, mixed by the tokens seen so far.

Row n begins when n x seq_len tokens have been seen. What it holds is drawn by its number, with the chances of that
moment.

Legend: `n` rows.
"""

from typing import NamedTuple

import numpy as np

from trainer.data.counter import Counted, Float64, Int64, key_of
from trmkit.spec.curriculum import CurriculumData

ALGORITHMIC, NEEDLE, LANGUAGE = 0, 1, 2
"""What a row holds; LANGUAGE + k is language of corpus k."""
FIRST_UPPER = 0.5


class Parts(NamedTuple):
    """Chances of a row to be of each kind, [n] each; they add up to 1."""

    algorithmic: Float64
    needle: Float64
    language: Float64


def parts(section: CurriculumData, tokens: Float64) -> Parts:
    """Return the mixture when `tokens` [n] have been seen."""
    middle, band = section.alg_tokens, section.band
    blend = np.clip((tokens - (middle - band)) / (2 * band), 0, 1) if band else (tokens >= middle).astype(np.float64)
    algorithmic = (1 - blend) * (1 - section.lexical_frac_phase1) + blend * section.persistent_alg_frac
    needle = blend * section.needle_frac
    return Parts(algorithmic, needle, 1 - algorithmic - needle)


def upper_difficulty(section: CurriculumData, tokens: Float64) -> Float64:
    """Return the upper end of difficulty when `tokens` [n] have been seen: from 0.5 to 1 over the first phase."""
    progress = np.clip(tokens / section.alg_tokens, 0, 1)
    if section.difficulty_schedule == "cosine":
        progress = (1 - np.cos(np.pi * progress)) / 2
    elif section.difficulty_schedule == "step":
        progress = np.floor(progress * 3) / 2 if section.alg_tokens else progress
    return FIRST_UPPER + (1 - FIRST_UPPER) * np.clip(progress, 0, 1)


def kinds(section: CurriculumData, seed: int, numbers: Int64) -> Int64:
    """Return what each of the rows `numbers` [n] holds, int64 [n]."""
    draws = Counted.of(key_of(seed, "kind"), numbers)
    chances = parts(section, numbers.astype(np.float64) * section.seq_len)
    drawn = draws.fractions(0)
    weights = np.cumsum([corpus.weight for corpus in section.language])
    corpus = np.searchsorted(weights, draws.fractions(1) * weights[-1], side="right")
    kind = np.where(
        drawn < chances.algorithmic + chances.needle, NEEDLE, LANGUAGE + np.minimum(corpus, len(weights) - 1)
    )
    return np.where(drawn < chances.algorithmic, ALGORITHMIC, kind).astype(np.int64)
