"""Bytes that the reader of text takes, by arithmetic: nothing is loaded, and nothing is asked of the hub.

Legend: `h` hidden size, `i` width of the gated layer, `kv` width of keys and values together.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trmkit.spec.features import HASH, FeaturesSection

BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
FOUR_BIT = 4.127 / 8
"""Bytes of a weight in NF4 with its scales quantised, too (arXiv 2305.14314, appendix: 0.127 bits for the scales)."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a language model of the LLaMA architecture."""

    vocabulary: int
    hidden: int
    layers: int
    inner: int
    kv: int

    @property
    def embedding(self) -> int:
        """Weights of the table of tokens."""
        return self.vocabulary * self.hidden

    @property
    def linear(self) -> int:
        """Weights of all linear layers, without the head, which a reader has no use for."""
        attention = 2 * self.hidden**2 + self.hidden * self.kv
        return self.layers * (attention + 3 * self.hidden * self.inner)

    @property
    def norms(self) -> int:
        """Weights of all norms."""
        return (2 * self.layers + 1) * self.hidden


KNOWN = {"meta-llama/Llama-3.1-8B-Instruct": Shape(128_256, 4096, 32, 14_336, 2048)}
"""By the `config.json` that the model is published with."""


def shape_of(section: FeaturesSection) -> Shape | None:
    """Return the sizes of the reader: of one in a folder as its `config.json` says; None where they are not known."""
    if section.reader in KNOWN:
        return KNOWN[section.reader]
    try:
        said: dict[str, Any] = json.loads((Path(section.reader).expanduser() / "config.json").read_bytes())
        heads = int(said["num_attention_heads"])
        head = int(said.get("head_dim") or said["hidden_size"] // heads)
        kv = 2 * head * int(said.get("num_key_value_heads") or heads)
        sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size")
        vocabulary, hidden, layers, inner = (int(said[key]) for key in sizes)
        return Shape(vocabulary, hidden, layers, inner, kv)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def reader_memory(section: FeaturesSection) -> dict[str, int] | None:
    """Return the bytes of `reader` and of its `reader_activations`; None: the reader's sizes are not known here.

    Activations are those of one layer at its widest, for a batch of prompts of `max_length`: nothing is kept for a
    backward pass or for generation, and the attention kernel keeps no square of the length.
    """
    if section.reader == HASH:
        return {"reader": 0, "reader_activations": 0}
    shape = shape_of(section)
    if shape is None:
        return None
    size = BYTES[section.dtype]
    linear = FOUR_BIT if section.quantize == "4bit" else size
    weights = int(shape.linear * linear) + (shape.embedding + shape.norms) * size
    tokens = section.batch_size * section.max_length
    widest = 2 * shape.hidden + 3 * shape.inner
    return {"reader": weights, "reader_activations": tokens * widest * size}
