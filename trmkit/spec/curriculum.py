"""The `data` section of language models: generated algorithmic tasks first, then language, mixed by tokens."""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from trmkit.spec.base import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Section, Sequence

Task = Literal[
    "mod_add", "parity", "addition", "multiplication", "copy", "reverse", "dyck", "chain", "compare", "successor"
]
TASKS: tuple[Task, ...] = get_args(Task)
GRAMMAR = "grammar"
"""The corpus that is generated on this machine."""


class Corpus(Section):
    """One source of text."""

    path: str = GRAMMAR
    """`grammar` for stories from a template grammar, made on this machine; or text, JSONL or parquet: a file or folder,
    `s3://bucket/prefix`, or `hf://datasets/<id>` on the hub (as `hf://datasets/roneneldan/TinyStories`)."""

    weight: PositiveFloat = 1.0
    """Part of the language tokens that come from here, relative to the other sources."""

    text_key: str = "text"
    """JSONL and parquet: the column with the text of a document."""

    max_documents: PositiveInt | None = None
    """Documents read, the first ones; null: all. Of `grammar`, which has no end, 20,000."""


class CurriculumData(Section):
    """Rows of packed documents for language models: ten algorithmic tasks, later mixed with language."""

    source: Literal["curriculum"]
    """Where the rows come from."""

    tokenizer: str = "byte"
    """`byte` (260 tokens, digits one each), or a Hugging Face tokenizer: its id on the hub, or a folder or file."""

    seq_len: Annotated[int, Field(ge=16)] = 256
    """Tokens of a row; documents are packed into rows and do not see one another."""

    tasks: Annotated[Sequence[Task], Field(min_length=1)] = TASKS
    """Algorithmic tasks trained on and scored, equally often each."""

    alg_tokens: PositiveInt = 100_000_000
    """Tokens of the first phase, in which difficulty grows; language follows."""

    mix_band_tokens: NonNegativeInt | None = None
    """Tokens before and after the end of the first phase over which its mixture turns into that of the second; null:
    half of `alg_tokens`."""

    lexical_frac_phase1: Fraction = 0.05
    """Part of language in the first phase."""

    persistent_alg_frac: Fraction = 0.15
    """Part of algorithmic tasks in the second phase."""

    needle_frac: Fraction = 0.02
    """Part of needle tasks in the second phase: a number to be found again in a row full of other sentences."""

    difficulty_schedule: Literal["linear", "cosine", "step"] = "linear"
    """How the upper end of difficulty grows from 0.5 to 1 over the first phase."""

    language: Annotated[Sequence[Corpus], Field(min_length=1)] = (Corpus(),)
    """Sources of text, mixed by their weights."""

    items: PositiveInt = 200
    """Held-out items of each of the 50 conditions that are scored. Training never sees one of them."""

    items_seed: NonNegativeInt = 1234
    """Seed of the held-out items."""

    @property
    def band(self) -> int:
        """Half the width of the band over which the mixture changes, in tokens."""
        return self.alg_tokens // 2 if self.mix_band_tokens is None else self.mix_band_tokens

    @model_validator(mode="after")
    def _parts_fit(self) -> "CurriculumData":
        if self.band > self.alg_tokens:
            raise ValueError(f"mix_band_tokens: {self.band} is more than alg_tokens {self.alg_tokens}")
        if self.persistent_alg_frac + self.needle_frac > 1:
            raise ValueError("needle_frac: together with persistent_alg_frac it is more than 1")
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError("tasks: names a task twice")
        return self
