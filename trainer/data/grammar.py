"""Stories from a grammar of templates, made on any machine: text for a second phase, and for a perplexity, anywhere.

Every choice is even and is drawn by its number, so a story is a function of (seed, index), and its probability is
known: two derivations never give the same text, so a model's loss cannot fall below `bits`. What is chosen early (who,
where, what is looked for) comes back later, and pronouns follow names, so that reading far back pays.

A story has 785 bytes and 95 bits on average: no model does better than 0.121 bits per byte, and one that forgets where
a story began does worse.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import log2
from typing import NamedTuple

import numpy as np

from trainer.data.counter import Counted, key_of

AT_ONCE = 512
"""Stories whose numbers are drawn together."""
CHOICES = 96
"""More than any story takes."""


class Story(NamedTuple):
    """A document, and minus the binary logarithm of its probability."""

    text: str
    bits: float


def _listed(text: str) -> list[str]:
    return text.split("|")


GIRLS = _listed(
    "Anna|Bella|Clara|Dora|Ella|Fiona|Greta|Hanna|Ida|Julia|Kira|Lily|Mia|Nora|Olga|Paula|Rosa|Sara|Tina|Vera"
)
BOYS = _listed("Adam|Ben|Carl|David|Emil|Felix|Gus|Hugo|Ian|Jack|Karl|Leo|Max|Noah|Otto|Paul|Rob|Sam|Tom|Victor")
ANIMALS = _listed("cat|dog|fox|owl|hen|goat|duck|mouse|frog|rabbit|turtle|pony|bear|squirrel|hedgehog|parrot")
TRAITS = _listed("kind|brave|clever|shy|cheerful|curious|quiet|patient|stubborn|lazy|proud|gentle")
SIZES = _listed("small|big|old|young|tiny|grey|brown|friendly|hungry|sleepy")
PLACES = _listed(
    "in a house by the sea|in a village in the hills|at the edge of a dark forest|on a farm|in a tall tower"
    "|on a small island|in a busy town|beside a slow river|in a cottage with a red roof|near an old mill"
)
GOALS = _listed(
    "the market|the lighthouse|the old bridge|the castle|the orchard|the lake|the cave|the garden|the station"
    "|the school|the windmill|the beach"
)
THINGS = _listed(
    "lamp|drum|kite|ring|book|key|bell|boat|hat|coin|shell|mirror|basket|whistle|lantern|scarf|compass|puppet|flute|jar"
)
COLOURS = _listed("red|blue|green|yellow|silver|golden|purple|white|black|orange")
TIMES = _listed(
    "One morning|One evening|One rainy day|One winter night|On a warm afternoon|Before breakfast|After school"
)
WEATHER = _listed(
    "The sun was shining|The wind was cold|It had been snowing|Clouds hung low|Birds were singing"
    "|The air smelled of rain|The moon was bright|Fog lay over the fields"
)
FEELINGS = _listed("sad|angry|worried|afraid|surprised|tired|confused|lonely")
JOYS = _listed("happy|proud|glad|thankful|calm|delighted|cheerful|relieved")
HIDING = _listed(
    "under a stone|behind a door|in a hollow tree|below the stairs|on the roof|between two rocks"
    "|in a bag of flour|under the bed|in the tall grass|inside an old boot|at the bottom of the well"
    "|on a high shelf"
)
FOODS = _listed("bread|soup|apples|cheese|cake|pears|honey|nuts|porridge|plums")
WAYS = _listed("slowly|quickly|quietly|carefully|bravely|alone")
LESSONS = _listed(
    "a friend is worth more than a treasure|asking for help is no shame|things are often nearer than they seem"
    "|patience finds what haste has lost|sharing makes everything better|small paws can do great things"
    "|it is wise to look twice|kindness comes back"
)


class Teller:
    """The choices of one story, made one after the other."""

    def __init__(self, fractions: Sequence[float]) -> None:
        self._fractions = iter(fractions)
        self.bits = 0.0

    def one(self, options: Sequence[str]) -> str:
        """Return one of the options, each as likely as any other."""
        self.bits += log2(len(options))
        return options[int(next(self._fractions) * len(options))]

    def number(self, low: int, high: int) -> int:
        """Return a whole number in low..high."""
        self.bits += log2(high - low + 1)
        return low + int(next(self._fractions) * (high - low + 1))


class Cast(NamedTuple):
    """What a story holds on to."""

    name: str
    he: str
    his: str
    animal: str
    friend: str
    thing: str
    colour: str


def stories(seed: int, indices: Iterable[int]) -> Iterator[Story]:
    """Return the stories with these numbers."""
    key = key_of(seed, "story")
    waiting = list(indices)
    for start in range(0, len(waiting), AT_ONCE):
        draws = Counted.of(key, np.array(waiting[start : start + AT_ONCE], np.int64))
        fractions = (draws.words(0, CHOICES) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        yield from (tell(row) for row in fractions.tolist())


def tell(fractions: Sequence[float]) -> Story:
    """Return the story that numbers in [0, 1) choose; no story takes more than `CHOICES` of them."""
    teller = Teller(fractions)
    girl = teller.number(0, 1) == 1
    name = teller.one(GIRLS if girl else BOYS)
    he, his = ("she", "her") if girl else ("he", "his")
    animal = teller.one(ANIMALS)
    friend = teller.one([one for one in GIRLS + BOYS if one != name])
    cast = Cast(name, he, his, animal, friend, teller.one(THINGS), teller.one(COLOURS))
    parts = [_opening(teller, cast), _loss(teller, cast)]
    for _ in range(teller.number(1, 4)):
        parts.append(_episode(teller, cast))
    parts += [_finding(teller, cast), _ending(teller, cast)]
    return Story(" ".join(parts), teller.bits)


def _opening(teller: Teller, cast: Cast) -> str:
    trait, size = teller.one(TRAITS), teller.one(SIZES)
    who = f"{'girl' if cast.he == 'she' else 'boy'}"
    return (
        f"Once upon a time there lived {_a(trait)} {who} named {cast.name} {teller.one(PLACES)}."
        f" {_big(cast.he)} had {_a(size)} {cast.animal} called {cast.friend}."
        f" What {cast.name} liked best was {cast.his} {cast.colour} {cast.thing}."
    )


def _loss(teller: Teller, cast: Cast) -> str:
    goal = teller.one(GOALS)
    return (
        f"{teller.one(TIMES)} {cast.name} and {cast.friend} went to {goal}. {teller.one(WEATHER)}."
        f" When they came home, the {cast.colour} {cast.thing} was gone,"
        f" and {cast.name} was {teller.one(FEELINGS)}."
    )


def _search(teller: Teller, cast: Cast) -> str:
    return (
        f"{cast.name} went {teller.one(WAYS)} to {teller.one(GOALS)} and looked {teller.one(HIDING)},"
        f" but the {cast.thing} was not there."
    )


def _meeting(teller: Teller, cast: Cast) -> str:
    other = teller.one([one for one in ANIMALS if one != cast.animal])
    return (
        f'On the way they met {_a(teller.one(SIZES))} {other}. "Have you seen my {cast.thing}?" asked {cast.name}.'
        f' "No," said the {other}, "but I have some {teller.one(FOODS)} for you."'
    )


def _rest(teller: Teller, cast: Cast) -> str:
    return (
        f"{cast.friend} the {cast.animal} was {teller.one(FEELINGS)}, so they sat down near {teller.one(GOALS)}"
        f" and ate {teller.one(FOODS)} and {teller.one(FOODS)}."
    )


def _count(teller: Teller, cast: Cast) -> str:
    count = teller.number(2, 9)
    return (
        f"{cast.name} counted to {count} and then to {count + 1}. {teller.one(WEATHER)},"
        f" and {cast.he} felt {teller.one(FEELINGS)}."
    )


def _quarrel(teller: Teller, cast: Cast) -> str:
    return (
        f'"You have lost it," said {cast.friend}. "I have not," said {cast.name}, who was {teller.one(FEELINGS)}.'
        f" They walked {teller.one(WAYS)} past {teller.one(GOALS)} and did not speak."
    )


_EPISODES: tuple[Callable[[Teller, Cast], str], ...] = (_search, _meeting, _rest, _count, _quarrel)


def _episode(teller: Teller, cast: Cast) -> str:
    return _EPISODES[teller.number(0, len(_EPISODES) - 1)](teller, cast)


def _finding(teller: Teller, cast: Cast) -> str:
    return (
        f"At last {cast.friend} looked {teller.one(HIDING)}, and there was the {cast.colour} {cast.thing}!"
        f' "Well done, {cast.friend}," said {cast.name}, and gave the {cast.animal} some {teller.one(FOODS)}.'
    )


def _ending(teller: Teller, cast: Cast) -> str:
    return (
        f"{cast.name} put the {cast.thing} {teller.one(HIDING)} and was {teller.one(JOYS)}."
        f" From that day on {cast.he} knew that {teller.one(LESSONS)}."
    )


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _big(word: str) -> str:
    return word[0].upper() + word[1:]
