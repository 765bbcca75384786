"""Use a trained language model: from a checkpoint and a prompt to an answer. No data set is needed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from trainer.candidates import load_for_inference
from trainer.data.tokens import open_tokenizer
from trainer.dist import World
from trainer.evaluators.algorithmic import Reader
from trainer.evaluators.generate import Bounds
from trainer.inference import device_of
from trainer.known import Known
from trainer.models import build as build_model
from trainer.models.text import TextModel
from trmkit.errors import DataError

ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Continued:
    """What a model wrote after a prompt."""

    prompt: str
    text: str
    ended: bool
    """Whether the model ended it itself."""


class Writer:
    """A trained language model that answers prompts, greedily."""

    def __init__(self, known: Known, device: str) -> None:
        """Load the checkpoint. SpecError: there is no such device. CheckpointError: it cannot be used."""
        data, place = known.metadata, device_of(device)
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn and then replaced
            model = build_model(known.run.model, data.vocab_size, data.seq_len, data.num_puzzle_identifiers)
        model = model.to(place).eval()
        load_for_inference(model, known.checkpoint)
        self.known, self.tokenizer = known, open_tokenizer(known.directory.root)
        options = known.run.evaluate.text
        most = ROWS_AT_ONCE * data.seq_len
        bounds = Bounds(options.max_new_tokens, ROWS_AT_ONCE, most)
        self.model = model
        self.reader = Reader(cast(TextModel, model), self.tokenizer, World(0, 1, 0, place), bounds)

    def write(self, prompts: list[str]) -> list[Continued]:
        """Return what comes after each of `prompts`. DataError: one is longer than the model can read."""
        context = self.reader.model.context
        for prompt in prompts:
            if len(self.reader.tokens(prompt)) >= context:
                raise DataError(f"{prompt[:40]}…: longer than the {context} tokens the model reads", next="shorten it")
        answers = self.reader.ask(prompts)
        return [
            Continued(prompt, self.tokenizer.decode(answer.tokens), answer.ended)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]


def write(known: Known, given: str, device: str, output: str) -> str:
    """Return the answers to the prompts in `given`: a file with one a line, or one prompt itself."""
    text = Path(given).read_text() if len(given) < 4096 and Path(given).is_file() else given
    prompts = [line for line in text.splitlines() if line.strip()]
    if not prompts:
        raise DataError("the input is empty", next="give a prompt, or a file with one a line")
    answers = Writer(known, device).write(prompts)
    if output == "json":
        shown = [{"prompt": one.prompt, "text": one.text, "ended": one.ended} for one in answers]
        place = {"checkpoint": str(known.checkpoint.path), "step": known.checkpoint.step, "kind": "text"}
        return json.dumps({"name": known.run.name, **place, "answers": shown}, indent=2)
    return "\n".join(f"{one.prompt}{one.text}{'' if one.ended else ' …'}" for one in answers)
