"""The data set of language models: the tokenizer, the items they are examined in, and text, tokenised.

Training rows are not in it: they are made when they are needed, see `trainer.data.text_feed`.
"""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from trainer.data.algorithmic.documents import DocumentMaker, refuse_short_rows
from trainer.data.algorithmic.grid import GRID_VERSION, Condition, conditions, items
from trainer.data.corpora import local_files
from trainer.data.language import write_language
from trainer.data.manifest import Built, Grid, Source
from trainer.data.store import SET, Metadata, write_identifiers
from trainer.data.text_rows import ITEMS, refuse_short_needles
from trainer.data.tokens import Tokenizer, find_tokenizer, write_tokenizer
from trainer.data.tokens import local_files as tokenizer_files
from trmkit.spec.curriculum import CurriculumData
from trmkit.store.local import sha256

EXAMPLES_SEED = 0


def source(section: CurriculumData) -> Source:
    """Return how to build the data set of `section`."""
    files = tokenizer_files(section.tokenizer)
    for number, corpus in enumerate(section.language):
        files |= {f"language {number} {file}": file for file in local_files(corpus)}
    return Source(partial(write, section), files)


def foretold(section: CurriculumData) -> tuple[Metadata, int]:
    """Return metadata and rows of the first phase, before anything is built."""
    return _metadata(section, find_tokenizer(section.tokenizer)), first_phase(section)


def first_phase(section: CurriculumData) -> int:
    """Return the rows of the first phase."""
    return max(1, section.alg_tokens // section.seq_len)


def write(section: CurriculumData, folder: Path) -> Built:
    """Write the data set into `folder`. DataError: a text or the tokenizer cannot be used, or rows are too short."""
    inputs = {name: sha256(file) for name, file in source(section).files.items()}
    tokenizer = find_tokenizer(section.tokenizer)
    refuse_short_rows(DocumentMaker(section, EXAMPLES_SEED, tokenizer), section)
    refuse_short_needles(section, tokenizer)
    write_tokenizer(folder, tokenizer)
    amounts = write_language(folder, section.language, tokenizer)
    grid = [_condition(section, condition) for condition in conditions(section.tasks)]
    content = {"grid_version": GRID_VERSION, "seed": section.items_seed, "conditions": grid}
    (folder / ITEMS).write_text(json.dumps(content, indent=1))
    examined = sum(len(one["items"]) for one in grid)
    for split in ("train", "test"):
        (folder / split).mkdir()
        (folder / split / "dataset.json").write_text(json.dumps(asdict(_metadata(section, tokenizer))))
    write_identifiers(folder, [])
    counts = {
        "tasks": len(section.tasks),
        "conditions": len(grid),
        "items": examined,
        "vocabulary": tokenizer.vocab_size,
    }
    for split in ("train", "test"):
        for name in ("documents", "tokens", "bytes", "words"):
            counts[f"{split}_{name}"] = sum(getattr(amount[split], name) for amount in amounts)
    return Built(Grid("text", 1, section.seq_len), counts, inputs)


def _condition(section: CurriculumData, condition: Condition) -> dict[str, Any]:
    found = items(condition, section.items_seed, section.items)
    about = {name: getattr(condition, name) for name in ("task", "name", "iid", "length")}
    return about | {"items": [[item.prompt, item.answer] for item in found]}


def _metadata(section: CurriculumData, tokenizer: Tokenizer) -> Metadata:
    """Describe rows; there are as many as are asked for, so their number is 1."""
    return Metadata(tokenizer.pad, None, 0, tokenizer.vocab_size, section.seq_len, 1, 1, 1.0, 1, (SET,))
