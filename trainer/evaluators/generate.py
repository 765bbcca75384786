"""Greedy answers to prompts, in batches, each prompt read once and every new token after what was kept of it.

Prompts of the same length share a batch, so nothing is padded. Legend: `B` rows of a batch, `V` kinds of tokens.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from trainer.agency import HEART
from trainer.dist import World
from trainer.models.text import TextModel

T = TypeVar("T")
Prompt = Sequence[int]


@dataclass(frozen=True)
class Bounds:
    """What keeps generation finite and in memory."""

    new_tokens: int
    """Most tokens of an answer, the end included."""
    rows: int
    """Most rows at once."""
    tokens: int
    """Most tokens at once, over all rows: as many as an update of training has on one process."""


@dataclass(frozen=True)
class Generated:
    """An answer."""

    tokens: list[int]
    """Without the end."""
    ended: bool
    """Whether the model ended it itself."""
    seconds: float
    """Its share of the time its batch took."""


def generate(
    model: TextModel, prompts: Sequence[Prompt], end: int, bounds: Bounds, device: torch.device,
    check: Callable[[], None] = lambda: None, *, questions: bool = True,
) -> list[Generated]:  # fmt: skip
    """Return the greedy answer to each of `prompts`, in their order. `check` is called between batches and may raise.

    An answer ends before the model's context does. `questions` says that an answer begins after each prompt; else they
    are the beginnings of texts, which have no such place.
    """
    answers: list[Generated | None] = [None] * len(prompts)
    for batch in batches([len(prompt) for prompt in prompts], bounds):
        check()
        tokens = torch.tensor([prompts[index] for index in batch], dtype=torch.int64, device=device)
        for index, answer in zip(batch, _answer(model, tokens, end, bounds.new_tokens, questions), strict=True):
            answers[index] = answer
        HEART.beat()
    HEART.rest()
    return [answer for answer in answers if answer is not None]


def batches(lengths: Sequence[int], bounds: Bounds) -> list[list[int]]:
    """Return the places of prompts of these `lengths` in batches: one length each, the longest first."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    found = []
    for length, members in sorted(by_length.items(), reverse=True):
        rows = max(1, min(bounds.rows, bounds.tokens // (length + bounds.new_tokens)))
        found += [members[at : at + rows] for at in range(0, len(members), rows)]
    return found


@torch.no_grad()
def _answer(model: TextModel, prompts: Tensor, end: int, most: int, question: bool) -> list[Generated]:
    """Return the answers to `prompts` [B, T]; rows that ended leave once they are half of those at work."""
    started = time.monotonic()
    rows, length = prompts.shape
    most = min(most, model.context - length)
    reading = model.start(rows, length + most)
    logits = model.read(prompts, reading, prompt_ends=question)
    answers: list[list[int]] = [[] for _ in range(rows)]
    working, ended = list(range(rows)), [False] * rows
    for count in range(most):
        token = logits[:, -1].argmax(-1)
        for row, value in zip(working, token.tolist(), strict=True):
            if not ended[row]:
                ended[row] = value == end
                answers[row] += [] if ended[row] else [value]
        left = [place for place, row in enumerate(working) if not ended[row]]
        if not left or count == most - 1:
            break
        if 2 * len(left) <= len(working):
            kept = torch.tensor(left, device=prompts.device)
            reading.keep(kept)
            working, token = [working[place] for place in left], token[kept]
        logits = model.read(token[:, None], reading)
    each = (time.monotonic() - started) / rows
    return [Generated(answer, over, each) for answer, over in zip(answers, ended, strict=True)]


def shared(world: World, wanted: Sequence[T], work: Callable[[Sequence[T]], list[Generated]]) -> list[Generated]:
    """Let every process do its share of `wanted`; return the answers to all, in their order, on every process."""
    parts = world.gather_objects(work(wanted[world.rank :: world.size]))
    answers: list[Generated] = [parts[index % world.size][index // world.size] for index in range(len(wanted))]
    return answers
