"""The algorithmic suite: generated answers to held-out items, in and out of the distribution trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.data.algorithmic.grid import GRID_VERSION, Condition, Item, conditions, items
from trainer.data.sampler import evenly
from trainer.data.tokens import Tokenizer
from trainer.dist import World
from trainer.evaluators.answers import judge
from trainer.evaluators.generate import Bounds, Generated, generate, shared
from trainer.evaluators.intervals import wilson
from trainer.models.text import TextModel
from trmkit.spec.curriculum import CurriculumData

SHOWN = 3
"""Items of a condition that are kept with what was answered."""
MOSTLY = 0.9
"""Accuracy that a length counts as learned with."""


@dataclass(frozen=True)
class Reader:
    """A model with everything that is needed to ask it."""

    model: TextModel
    tokenizer: Tokenizer
    world: World
    bounds: Bounds
    check: Callable[[], None] = lambda: None

    def ask(self, prompts: Sequence[str]) -> list[Generated]:
        """Return the greedy answers to `prompts`, shared among the processes; every process calls it."""
        return self.answer([self.tokens(prompt) for prompt in prompts])

    def answer(self, prompts: Sequence[list[int]], *, questions: bool = True) -> list[Generated]:
        """Return the greedy answers to prompts of tokens, or what comes after beginnings of texts."""
        device, end = self.world.device, self.tokenizer.end

        def work(mine: Sequence[list[int]]) -> list[Generated]:
            return generate(self.model, mine, end, self.bounds, device, self.check, questions=questions)

        return shared(self.world, prompts, work)

    def tokens(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt, as training has them."""
        return [self.tokenizer.start, *self.tokenizer.encode(prompt)]


@dataclass(frozen=True)
class Asked:
    """A condition and its items."""

    condition: Condition
    items: list[Item]


def held_out(section: CurriculumData, most: int | None = None, tasks: Sequence[str] = ()) -> list[Asked]:
    """Return the held-out items of every condition, or of those of `tasks`; `most` bounds their number in all.

    What was drawn twice is asked once: a second time it would say nothing, and make intervals too narrow.
    """
    chosen = conditions(tasks or section.tasks)
    found = [Asked(condition, items(condition, section.items_seed, section.items)) for condition in chosen]
    share = section.items if most is None else max(1, most // max(1, len(found)))
    places = evenly(np.arange(section.items), share).tolist()
    return [Asked(one.condition, list(dict.fromkeys(one.items[place] for place in places))) for one in found]


def score(reader: Reader, asked: Sequence[Asked]) -> dict[str, Any]:
    """Return the suite's part of the results: every condition, and what they come to."""
    answers = reader.ask([item.prompt for one in asked for item in one.items])
    found, at = [], 0
    for one in asked:
        found.append(_condition(reader.tokenizer, one, answers[at : at + len(one.items)]))
        at += len(one.items)
    return {"grid_version": GRID_VERSION, "conditions": found, **totals(found)}


def _condition(tokenizer: Tokenizer, asked: Asked, answers: Sequence[Generated]) -> dict[str, Any]:
    condition, count = asked.condition, len(asked.items)
    texts = [tokenizer.decode(answer.tokens) for answer in answers]
    verdicts = [judge(condition.task, item.answer, text) for item, text in zip(asked.items, texts, strict=True)]
    generated = sum(len(answer.tokens) + answer.ended for answer in answers)
    seconds = sum(answer.seconds for answer in answers)
    right = [verdict.right for verdict in verdicts]
    shown = [
        {"prompt": item.prompt, "answer": item.answer.strip(), "generated": text, "right": verdict.right}
        for item, text, verdict in zip(asked.items[:SHOWN], texts, verdicts, strict=False)
    ]
    return {
        "task": condition.task,
        "condition": condition.name,
        "iid": condition.iid,
        "length": condition.length,
        "accuracy": sum(right) / count,
        "n": count,
        "interval": wilson(sum(right), count),
        "token_accuracy": sum(map(_tokens_right, [tokenizer] * count, asked.items, answers)) / count,
        "parse_failures": sum(not verdict.parsed for verdict in verdicts),
        "missed_eos": sum(not answer.ended for answer in answers),
        "avg_gen_len": generated / count,
        "tokens_generated": generated,
        "elapsed_seconds": seconds,
        "tokens_per_sec": generated / seconds if seconds else 0.0,
        "right": "".join("01"[one] for one in right),
        "examples": shown,
    }


def _tokens_right(tokenizer: Tokenizer, item: Item, answer: Generated) -> float:
    """Return the share of the tokens of the true answer, its end included, that were generated in their place."""
    truth = [*tokenizer.encode(item.answer), tokenizer.end]
    given = [*answer.tokens, *([tokenizer.end] if answer.ended else [])]
    return sum(a == b for a, b in zip(truth, given, strict=False)) / len(truth)


def totals(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what conditions come to: per task, in and out of distribution; every condition counts alike."""

    def mean(chosen: Sequence[dict[str, Any]], key: str = "accuracy") -> float | None:
        return sum(one[key] for one in chosen) / len(chosen) if chosen else None

    inside, outside = [one for one in found if one["iid"]], [one for one in found if not one["iid"]]
    tasks = list(dict.fromkeys(one["task"] for one in found))
    return {
        "per_task_accuracy": {task: mean([one for one in found if one["task"] == task]) for task in tasks},
        "per_task_iid": {task: mean([one for one in inside if one["task"] == task]) for task in tasks},
        "per_task_ood": {task: mean([one for one in outside if one["task"] == task]) for task in tasks},
        "overall_accuracy": mean(found),
        "iid_accuracy": mean(inside),
        "ood_accuracy": mean(outside),
        "token_accuracy": mean(found, "token_accuracy"),
        "longest_learned": {task: _longest([one for one in found if one["task"] == task]) for task in tasks},
        "parse_failures": sum(one["parse_failures"] for one in found),
        "missed_eos": sum(one["missed_eos"] for one in found),
        "items": sum(one["n"] for one in found),
    }


def _longest(found: Sequence[dict[str, Any]]) -> int | None:
    """Return the greatest length of a task up to which every condition is mostly right; None: not even the first."""
    longest = None
    for one in sorted(found, key=lambda one: one["length"]):
        if one["accuracy"] < MOSTLY:
            break
        longest = one["length"]
    return longest


def by_rounds(reader: Reader, asked: Sequence[Asked], rounds: Sequence[int]) -> dict[str, Any]:
    """Return what the items come to when the recursive part is applied so many times; as trained, too."""
    model = reader.model
    trained = model.rounds
    if trained is None:
        return {"skipped": "the model has no recursive part"}
    found = []
    try:
        for count in sorted({*rounds, trained}):
            model.rounds = count
            scored = score(reader, asked)
            names = ("overall_accuracy", "iid_accuracy", "ood_accuracy", "per_task_accuracy")
            found.append({"rounds": count, "trained": count == trained, **{name: scored[name] for name in names}})
    finally:
        model.rounds = trained
    return {"rounds": found}
