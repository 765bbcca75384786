"""The perplexity suite: how well held-out language is predicted, and whether what is generated repeats itself.

Only bits per byte compare models with different tokenizers. Legend: `N` rows, `L` places, `V` kinds of tokens.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from trainer.data.language import LanguageSplit
from trainer.data.sampler import evenly
from trainer.data.tokens import Tokenizer
from trainer.dist import World
from trainer.evaluators.algorithmic import Reader
from trainer.models import TrainableModel
from trainer.models.base import IGNORED_LABEL

PROMPT, CONTINUED, STORIES = 32, 64, 32
"""Tokens of the beginning of a text, tokens generated after it, and texts: what repetition is measured on."""
GRAM = 4
"""Tokens of which a repetition is made."""

Arrays = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]


def score(
    model: TrainableModel, reader: Reader, split: LanguageSplit, seq_len: int, most: int, rows_at_once: int
) -> dict[str, Any]:
    """Return the suite's part of the results, of at most `most` tokens of the held-out language."""
    inputs, labels, documents = split.rows(seq_len)
    kept = evenly(np.arange(len(inputs)), max(1, most // seq_len))  # of every source
    arrays = (inputs[kept], labels[kept], documents[kept])
    nll, tokens = _surprise(model, arrays, reader.world, rows_at_once, reader.check)
    texts = _texts_of(reader.tokenizer, arrays[1])
    size, words = sum(len(text.encode()) for text in texts), max(1, sum(len(text.split()) for text in texts))
    return {
        "tokens": tokens,
        "bytes": size,
        "words": words,
        "nll": nll,
        "perplexity": math.exp(min(nll / tokens, 700)),
        "bits_per_byte": nll / math.log(2) / max(1, size),
        "word_perplexity": math.exp(min(nll / words, 700)),
        "repetition": repetition(reader, arrays),
    }


@torch.no_grad()
def _surprise(
    model: TrainableModel, arrays: Arrays, world: World, rows_at_once: int, check: Callable[[], None]
) -> tuple[float, int]:
    """Return minus the log-likelihood of all labels, in nats, and how many there are; every process calls it."""
    inputs, labels, documents = (torch.from_numpy(array[world.rank :: world.size]) for array in arrays)
    total = torch.zeros(2, dtype=torch.float64)
    for at in range(0, len(inputs), rows_at_once):
        check()
        part = slice(at, at + rows_at_once)
        here = {name: value[part].to(world.device) for name, value in
                (("inputs", inputs), ("labels", labels), ("documents", documents))}  # fmt: skip
        here["prompt_ends"] = torch.zeros_like(here["inputs"], dtype=torch.bool)
        here["label_weight"] = torch.ones(len(here["inputs"]), device=world.device)
        logits = model(None, here).outputs["logits"]
        wanted = here["labels"].long().flatten()
        nll = F.cross_entropy(logits.float().flatten(0, 1), wanted, ignore_index=IGNORED_LABEL, reduction="sum")
        total += torch.stack((nll.cpu().double(), (wanted != IGNORED_LABEL).sum().cpu().double()))
    parts = world.gather_objects(total.tolist())
    return sum(nll for nll, _ in parts), int(sum(count for _, count in parts))


def _texts_of(tokenizer: Tokenizer, labels: npt.NDArray[np.int32]) -> list[str]:
    """Return the texts that are predicted. Their ends cost bits, and are no bytes."""
    documents: list[list[int]] = []
    for row in labels:
        documents.append([])
        for token in row[row != IGNORED_LABEL].tolist():
            if token == tokenizer.end:
                documents.append([])
            else:
                documents[-1].append(token)
    return [tokenizer.decode(document) for document in documents]


def repetition(reader: Reader, arrays: Arrays) -> dict[str, Any]:
    """Return the part of runs of four tokens that came before in the same text: in what is generated, and in truth."""
    inputs, _, documents = arrays
    whole = PROMPT + CONTINUED
    if inputs.shape[1] < whole:
        return {"skipped": f"rows of fewer than {whole} tokens"}
    single = [row for row in range(len(inputs)) if documents[row, whole - 1] == documents[row, 0]][:STORIES]
    if not single:
        return {"skipped": f"no held-out text has {whole} tokens in a row"}
    answers = reader.answer([inputs[row, :PROMPT].tolist() for row in single], questions=False)
    truth = [inputs[row, PROMPT:whole].tolist() for row in single]
    generated = [repeated(answer.tokens) for answer in answers]
    return {
        "texts": len(single),
        "generated": sum(generated) / len(single),
        "reference": sum(map(repeated, truth)) / len(single),
        "examples": [
            {"prompt": reader.tokenizer.decode(inputs[row, :PROMPT].tolist()[1:]),
             "generated": reader.tokenizer.decode(answer.tokens)}
            for row, answer in zip(single[:3], answers, strict=False)
        ],
    }  # fmt: skip


def repeated(tokens: list[int]) -> float:
    """Return the part of the runs of four tokens that stand earlier in `tokens` already."""
    grams = [tuple(tokens[at : at + GRAM]) for at in range(len(tokens) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
