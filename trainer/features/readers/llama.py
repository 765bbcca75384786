"""A language model as a reader: one pass over each prompt, nothing generated, the model frozen.

The last hidden states are taken, after the final norm. What a batch does not decide: each prompt is padded on the right
to a length that follows from its own alone, and shares a pass with prompts of the same padded length. Among lengths of
one batch a bfloat16 model gives other bits for the same prompt, by up to a few hundredths.
Legend: n texts, B prompts of a pass, T tokens, S vectors of a text, F numbers.
"""

import os
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.features.readers import Vectors
from trainer.features.readers.hub import content_of, refusal
from trainer.progress import say
from trmkit.errors import DataError, SpecError
from trmkit.spec.features import FeaturesSection

STEP = 64
"""Tokens; padded lengths are multiples of it."""
INSTALL = "pip install 'trmctl[llm]'"


class LlamaReader:
    """A model of the LLaMA architecture, without its head."""

    def __init__(self, section: FeaturesSection, device: torch.device | None = None) -> None:
        """Look the model up; its weights are loaded when a text is read. See `open_reader` for what is raised."""
        self._section, self._device = section, device or torch.device("cpu")
        self._transformers = _transformers(section)
        if section.quantize != "none":
            _refuse_4bit(self._device)
        path = Path(section.reader).expanduser()
        self._where = str(path) if path.is_dir() else section.reader
        if section.is_folder and not path.is_dir():
            raise DataError(
                f"features.reader: there is no folder {section.reader}",
                next="correct the path, or give an id of the hub",
            )
        config = self._from("AutoConfig", "config.json")
        hidden = getattr(config, "hidden_size", None)
        if hidden != section.width:
            raise SpecError(
                f"features.width: {section.reader} makes vectors of {hidden} numbers, not {section.width}",
                next=f"--set features.width={hidden} --set model.text_hidden_size={hidden}",
            )
        commit = getattr(config, "_commit_hash", None) or section.revision
        self.identity = content_of(path) if path.is_dir() else f"{section.reader}@{commit}"
        self._tokenizer = self._from("AutoTokenizer", "the tokenizer")

    def count(self, text: str) -> int:
        """Return the number of tokens, those that the tokenizer puts around a text included."""
        return len(self._ids(text))

    def read(self, texts: Sequence[str]) -> Vectors:
        """See `Reader`."""
        section = self._section
        ids = [self._ids(text)[-section.max_length :] for text in texts]
        found = np.zeros((len(texts), section.vectors, section.width), np.float16)
        alike: dict[int, list[int]] = {}
        for place, tokens in enumerate(ids):
            alike.setdefault(-(-len(tokens) // STEP) * STEP, []).append(place)
        for length, places in sorted(alike.items()):
            for first in range(0, len(places), section.batch_size):
                some = places[first : first + section.batch_size]
                for place, vectors in zip(some, self._pass([ids[place] for place in some], length), strict=True):
                    kept = vectors.to(torch.float16)
                    if not kept.isfinite().all():
                        raise _not_finite(section, too_large=bool(vectors.isfinite().all()))
                    found[place, : len(vectors)] = kept.cpu().numpy()
        return found

    @torch.inference_mode()
    def _pass(self, ids: list[list[int]], length: int) -> list[Tensor]:
        """Return what is kept of each of `ids`, [at most S, F] in float32, from one pass padded to `length`."""
        tokens = torch.zeros(len(ids), length, dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for row, one in enumerate(ids):
            tokens[row, : len(one)] = torch.tensor(one)
            mask[row, : len(one)] = 1
        place = next(self._model.parameters()).device
        out = self._model(input_ids=tokens.to(place), attention_mask=mask.to(place), use_cache=False)
        hidden = out.last_hidden_state
        return [self._pooled(hidden[row, : len(one)].float()) for row, one in enumerate(ids)]

    def _pooled(self, hidden: Tensor) -> Tensor:
        pooling = self._section.pooling
        if pooling == "mean":
            return hidden.mean(0, keepdim=True)
        return hidden if pooling == "sequence" else hidden[-self._section.vectors :]

    def _ids(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(text)["input_ids"]
        return found

    @cached_property
    def _model(self) -> Any:
        section, cuda = self._section, self._device.type == "cuda"
        options: dict[str, Any] = {"dtype": getattr(torch, section.dtype)}
        if cuda:  # of several processes each has a GPU; a single one spreads the model over all there are
            options["device_map"] = "auto" if int(os.environ.get("WORLD_SIZE", "1")) == 1 else {"": self._device}
        if section.quantize == "4bit":
            options["quantization_config"] = self._transformers.BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=getattr(torch, section.dtype),
                bnb_4bit_use_double_quant=True,
            )
        say(f"loading {section.reader}")
        model = self._from("AutoModel", "its weights", **options)
        model = model if cuda else model.to(self._device)
        return model.requires_grad_(False).eval()

    def _from(self, kind: str, what: str, **options: Any) -> Any:
        """Return what a class of transformers loads of this model. DataError: it cannot be had."""
        try:
            return getattr(self._transformers, kind).from_pretrained(
                self._where, revision=self._section.revision or "main", **options
            )
        except (OSError, ValueError, ImportError) as error:
            raise refusal(self._section.reader, what, error) from error


def _not_finite(section: FeaturesSection, *, too_large: bool) -> DataError:
    """Return the error for vectors that cannot be kept: `too_large` for it, or no numbers in the model already."""
    if too_large:
        return DataError(
            f"features: {section.reader} makes numbers above 65,504, the largest of float16, in which they are kept",
            next="name another features.reader: no features.dtype helps, what is kept is always float16",
        )
    narrow = section.dtype == "float16"
    return DataError(
        f"features: {section.reader} makes numbers that are not finite in {section.dtype}",
        next="--set features.dtype=bfloat16, which has larger ones" if narrow else "see that its weights are whole",
    )


def _transformers(section: FeaturesSection) -> Any:
    try:
        transformers: Any = import_module("transformers")
    except ImportError:
        raise DataError(
            f"features.reader: {section.reader} is read with transformers, which is not installed",
            next=f"{INSTALL}; or features.reader: hash, which needs nothing and understands nothing",
        ) from None
    transformers.logging.set_verbosity_error()  # else it warns of a head that is left out on purpose
    return transformers


def _refuse_4bit(device: torch.device) -> None:
    """SpecError: weights in 4 bits cannot be used here."""
    if device.type != "cuda":
        raise SpecError(
            f"features.quantize: 4bit needs a GPU with CUDA, and the reader would be on {device.type}",
            next="--set features.quantize=none; on a CPU, features.dtype: bfloat16 takes half the memory of float32",
        )
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise SpecError(
            "features.quantize: 4bit needs the package bitsandbytes, which is not installed",
            next="pip install bitsandbytes, or --set features.quantize=none",
        )
