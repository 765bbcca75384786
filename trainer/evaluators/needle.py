"""The long-context suite: a number said once, somewhere in a text of other sentences, and asked for at its end."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from trainer.data.needle import needle, shortest
from trainer.evaluators.algorithmic import Reader
from trainer.evaluators.intervals import wilson
from trmkit.spec.evaluate import TextSection


def score(reader: Reader, options: TextSection, seed: int) -> dict[str, Any]:
    """Return the suite's part of the results; lengths that the model cannot read are reported as skipped."""
    found = [_context(reader, options, context, seed) for context in options.contexts]
    scored = [one["metrics"]["retrieval_accuracy"] for one in found if "metrics" in one]
    return {"per_context": found, "auc": sum(scored) / len(scored) if scored else None}


def _context(reader: Reader, options: TextSection, context: int, seed: int) -> dict[str, Any]:
    if context > reader.model.context:
        return {"context_length": context, "skipped": f"the model reads {reader.model.context} tokens at most"}
    least = shortest(reader.tokenizer)
    if context < least:
        return {"context_length": context, "skipped": f"a text with a needle takes {least} tokens at least"}
    depths = sorted(set(options.depths))
    asked = [(depth, index) for depth in depths for index in range(options.needles)]
    texts = [needle(reader.tokenizer, context, depth, seed, index) for depth, index in asked]
    answers = reader.ask([text.prompt for text in texts])
    said = [re.search(r"\d+", reader.tokenizer.decode(answer.tokens)) for answer in answers]
    right = [one is not None and one[0] == text.answer.strip() for one, text in zip(said, texts, strict=True)]
    by_depth = {
        f"{depth:g}": sum(right[at * options.needles : (at + 1) * options.needles]) / options.needles
        for at, depth in enumerate(depths)
    }
    accuracy = sum(right) / len(right)
    return {
        "context_length": context,
        "metrics": {
            "retrieval_accuracy": accuracy,
            "interval": wilson(sum(right), len(right)),
            "by_depth": by_depth,
            "area_under_depth_curve": _area(depths, list(by_depth.values())),
            "missed_eos": sum(not answer.ended for answer in answers),
            "right": "".join("01"[one] for one in right),
        },
        "config": {"depths": depths, "samples": options.needles, "seed": seed},
    }


def _area(depths: Sequence[float], accuracies: Sequence[float]) -> float:
    """Return the area under accuracy against depth, as a part of the whole; of one depth its accuracy."""
    if len(depths) == 1:
        return accuracies[0]
    pairs = list(zip(depths, accuracies, strict=True))
    area = sum((b - a) * (y + z) / 2 for (a, y), (b, z) in pairwise(pairs))
    return area / (depths[-1] - depths[0])
