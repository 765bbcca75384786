"""The `features` section: what a frozen language model makes of each task as a text, read once and kept."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from trmkit.spec.base import PositiveInt, Section

HASH = "hash"
"""The reader that needs no language model."""
MISSING = {"meta-llama/Llama-3.2-8B-Instruct": "meta-llama/Llama-3.1-8B-Instruct"}
"""Readers that are often named and were never published -> what was meant."""


class FeaturesSection(Section):
    """How the text of a task is read. Every prompt is read once, forwards, and nothing is generated."""

    silent: ClassVar[frozenset[str]] = frozenset({"batch_size", "online"})

    reader: Annotated[str, Field(min_length=1)] = "meta-llama/Llama-3.1-8B-Instruct"
    """Language model of the LLaMA architecture: its id on the hub, or a folder; `hash` is an encoder of character
    sequences that needs no weights, and understands nothing."""

    revision: str | None = None
    """Commit, tag or branch of the reader on the hub; null: the newest."""

    width: PositiveInt = 4096
    """Numbers of each vector: the reader's hidden size. `hash` makes as many as asked for."""

    pooling: Literal["last", "mean", "last_k", "sequence"] = "last"
    """What is kept of the vectors of all tokens: the last, their mean, the last `k`, or all of them."""

    k: PositiveInt = 64
    """Vectors that `last_k` keeps."""

    max_length: PositiveInt = 4096
    """Most tokens of a prompt. Of longer ones the first examples are left out, never the question."""

    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Precision of the reader. What is kept is float16."""

    quantize: Literal["none", "4bit"] = "none"
    """Load the reader's weights in 4 bits (NF4; CUDA and the `bitsandbytes` package)."""

    batch_size: PositiveInt = 4
    """Prompts read at once."""

    online: bool = False
    """Read the prompts of rows as training takes them, and keep nothing. Holds the reader in memory: for small ones."""

    @property
    def is_folder(self) -> bool:
        """Whether the reader is a folder, by the look of it, rather than an id on the hub."""
        return self.reader.startswith((".", "/", "~"))

    @property
    def vectors(self) -> int:
        """Vectors kept of each prompt."""
        return {"last": 1, "mean": 1, "last_k": self.k, "sequence": self.max_length}[self.pooling]

    @model_validator(mode="after")
    def _reader_exists(self) -> "FeaturesSection":
        if self.reader in MISSING:
            raise ValueError(f"reader: there is no {self.reader}; use {MISSING[self.reader]}, which was meant")
        if self.reader == HASH and self.quantize != "none":
            raise ValueError("quantize: the reader hash has no weights")
        if self.pooling == "last_k" and self.k > self.max_length:
            raise ValueError(f"k: the last {self.k} of {self.max_length} tokens (max_length) are more than there are")
        return self
