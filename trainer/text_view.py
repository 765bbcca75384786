"""Built data sets of text for people: how much there is, and some documents."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.language import Text, read_about
from trainer.data.store import read_json, read_metadata
from trainer.data.text_rows import ITEMS
from trainer.data.tokens import Tokenizer, open_tokenizer

TEXT_ROWS = {"train": "documents", "test": "items"}
"""What is counted where puzzles have rows: documents of text to train on, and items that are scored."""
CHARACTERS = 400
"""Characters of a document that are shown."""


def text_rows(manifest: dict[str, Any]) -> dict[str, int]:
    """Return what a list says in place of rows: as many as there are of `TEXT_ROWS`."""
    counts = manifest["counts"]
    return {"train": counts["train_documents"], "test": counts["items"]}


def text_splits(folder: Path) -> dict[str, dict[str, int]]:
    """Return for each split what text there is, of all corpora. DataError: the data set is damaged."""
    about = read_about(folder)
    return {
        split: {name: sum(getattr(one[split], name) for one in about) for name in asdict(about[0][split])}
        | {"vocabulary": read_metadata(folder, split).vocab_size}
        for split in ("train", "test")
    }


def text_documents(folder: Path, each: int) -> dict[str, list[str]]:
    """Return, by task and by corpus, `each` items or held-out documents. DataError: the data set is damaged."""
    tokenizer = open_tokenizer(folder)
    found: dict[str, list[str]] = {}
    for condition in read_json(folder / ITEMS)["conditions"]:
        shown = found.setdefault(condition["task"], [])
        shown += ["".join(item) for item in condition["items"][: max(0, each - len(shown))]]
    for number in range(len(read_about(folder))):
        text = Text(folder / "language" / str(number), "test", tokenizer)
        found[f"language {number}"] = [_shortened(text, index, tokenizer) for index in range(min(each, text.documents))]
    return found


def _shortened(text: Text, index: int, tokenizer: Tokenizer) -> str:
    written = tokenizer.decode(np.asarray(text.document(index)[: 4 * CHARACTERS]).tolist())
    return written if len(written) <= CHARACTERS else f"{written[:CHARACTERS]}…"
