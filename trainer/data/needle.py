"""A needle in a haystack: a number to be found again among sentences that have nothing to do with it.

Legend: a context is a number of tokens, a depth is in [0, 1], 0 being the beginning.
"""

from functools import lru_cache
from typing import Literal

import numpy as np

from trainer.data.algorithmic.grid import Item
from trainer.data.algorithmic.wording import ANSWER
from trainer.data.counter import Counted, Int64, key_of
from trainer.data.tokens import Tokenizer
from trmkit.errors import DataError

ROOM = 16
"""Tokens of a context that are left for the first token, the answer and the last."""
Purpose = Literal["training", "scoring"]
QUESTION = f"Question: What is the secret code?{ANSWER}"

SENTENCES = (
    "The grass is green.",
    "The sky is blue today.",
    "The sun shines on the old wall.",
    "A boat goes down the river.",
    "Bread is baked early in the morning.",
    "The cat sleeps beside the stove.",
    "Rain falls on the roof.",
    "The train leaves the station.",
    "Children play in the yard.",
    "The mill stands at the edge of the village.",
    "Apples grow in the orchard.",
    "The road climbs up the hill.",
    "Snow covers the field in winter.",
    "The clock in the tower is slow.",
    "A bird sits on the fence.",
    "The lamp on the table is lit.",
    "Water runs under the bridge.",
    "The baker sells warm rolls.",
    "The wind turns the leaves over.",
    "An old dog lies at the door.",
    "The letter came by post.",
    "Two men carry a ladder.",
    "The soup is still too hot.",
    "Somebody left the gate open.",
    "The shop closes in the evening.",
    "Fog lies over the lake.",
    "The carpenter planes a board.",
    "A kettle sings in the kitchen.",
    "The moon rises behind the trees.",
    "Bees fly from flower to flower.",
    "The teacher writes on the board.",
    "The fire has gone out.",
)


def needle(
    tokenizer: Tokenizer, context: int, depth: float, seed: int, index: int, purpose: Purpose = "scoring"
) -> Item:
    """Return item `index` of `seed`: a prompt of at most `context` - 16 tokens that nearly fills it, and four digits.

    Items of several depths differ in the place of the needle alone; those of one purpose are not those of the other,
    whatever their seeds. DataError: the context is shorter than `shortest`.
    """
    least = shortest(tokenizer)
    if context < least:
        raise DataError(
            f"a context of {context} tokens has no room for a needle in hay",
            next=f"give it {least} tokens or more",
        )
    fixed, lengths = _measured(tokenizer)
    room = context - ROOM - fixed
    draws = Counted.of(key_of(seed, "needle", purpose, context), [index])
    code = int(draws.between(0, 1000, 9999)[0])
    chosen = _filling(draws, lengths, room)
    while True:
        bounds = np.append(0, np.cumsum(lengths[chosen]))
        place = int(np.abs(bounds - depth * bounds[-1]).argmin())
        sentences = [SENTENCES[number] for number in chosen]
        sentences.insert(place, f"The secret code is {code}.")
        prompt = " ".join([*sentences, QUESTION])
        if not chosen or len(tokenizer.encode(prompt)) <= context - ROOM:
            return Item(prompt, f" {code}")
        chosen.pop()


def shortest(tokenizer: Tokenizer) -> int:
    """Return the shortest context that has room for a needle and any sentence of hay."""
    fixed, lengths = _measured(tokenizer)
    return ROOM + fixed + int(lengths.max())


def _filling(draws: Counted, lengths: Int64, room: int) -> list[int]:
    """Draw sentences until the next one is too long, and then the ones that are short enough for the rest."""
    count = room // int(lengths.min()) + 1
    drawn = draws.table(1, count, 0, len(SENTENCES) - 1)[0]
    used = np.cumsum(lengths[drawn])
    chosen: list[int] = drawn[used <= room].tolist()
    left = room - (int(used[len(chosen) - 1]) if chosen else 0)
    fitting = np.flatnonzero(lengths <= left)
    return chosen if not len(fitting) else [*chosen, int(fitting[lengths[fitting].argmax()])]


@lru_cache(maxsize=8)
def _measured(tokenizer: Tokenizer) -> tuple[int, Int64]:
    """Return the tokens of needle and question, and of each sentence with the space behind it."""
    fixed = len(tokenizer.encode(f"The secret code is 1000. {QUESTION}"))
    return fixed, np.array([len(tokenizer.encode(f" {sentence}")) for sentence in SENTENCES], np.int64)
