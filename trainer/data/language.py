"""Text for language models: read once, tokenised, a part held out, and then cut into rows.

`language/<number of the corpus>/<split>.npy` holds the tokens of all documents, each after its first token and without
its last, so that every token is one place of a row; `<split>.offsets.npy` says where documents begin;
`language/about.json` says how much there is. A document is held out by what it says, so that one that occurs twice is
never on both sides.

Legend: `N` rows, `L` places of a row, `D` documents.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.data.corpora import documents
from trainer.data.counter import Int64
from trainer.data.store import Int32, read_json
from trainer.data.tokens import Tokenizer, open_tokenizer
from trmkit.errors import DataError
from trmkit.spec.curriculum import Corpus

IGNORED = -100
HELD_OUT = 50
"""One document of so many is held out."""
MOST_HELD_OUT = 2000
"""Documents that are held out and kept; more would take longer to score than they would tell."""
FEW = 1000
"""Documents that are looked at together, so that a small corpus has a held-out one, too."""
AT_ONCE = 1000
ABOUT = "about.json"
SPLITS = ("train", "test")


@dataclass
class Amount:
    """How much text there is. `bytes` and `words` are those of the documents, `tokens` count each one's last, too."""

    documents: int = 0
    tokens: int = 0
    bytes: int = 0
    words: int = 0

    def add(self, texts: list[str], tokens: int) -> None:
        """Count documents with so many tokens in all."""
        self.documents += len(texts)
        self.tokens += tokens
        self.bytes += sum(len(text.encode("utf-8", "replace")) for text in texts)
        self.words += sum(len(text.split()) for text in texts)


class Cut(NamedTuple):
    """Rows of text, [N, L] each."""

    inputs: Int32
    labels: Int32
    """The token after each place; -100 where there is none."""
    documents: Int32
    """Number within the row, from 0."""


class Text:
    """The documents of one split of one corpus, one after the other."""

    def __init__(self, folder: Path, split: str, tokenizer: Tokenizer) -> None:
        """Open it. DataError: it is missing or damaged."""
        self._end, self._pad = tokenizer.end, tokenizer.pad
        self._tokens, self._offsets = _open(folder / f"{split}.npy"), np.asarray(_open(folder / f"{split}.offsets.npy"))
        offsets = self._offsets
        if len(offsets) < 2 or offsets[0] or offsets[-1] != len(self._tokens) or (np.diff(offsets) < 1).any():
            raise DataError(f"{folder}: {split} does not belong to its offsets", next="build the data set again")

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def documents(self) -> int:
        """Documents in it."""
        return len(self._offsets) - 1

    def document(self, index: int) -> npt.NDArray[Any]:
        """Return the tokens of a document, without the first and the last one."""
        return self._tokens[self._offsets[index] + 1 : self._offsets[index + 1]]

    def cut(self, rows: Int64, seq_len: int) -> Cut:
        """Return rows by number, `seq_len` places each; what is beyond the end is padding, a document of its own."""
        places = rows[:, None] * seq_len + np.arange(seq_len)
        inside = places < len(self)
        places = np.minimum(places, len(self))
        here = np.searchsorted(self._offsets, places.ravel(), side="right").reshape(places.shape)
        last = self._offsets[np.minimum(here, len(self._offsets) - 1)] == places + 1
        at = np.minimum(places, len(self) - 1)
        tokens, after = (self._tokens[where].astype(np.int32) for where in (at, np.minimum(at + 1, len(self) - 1)))
        inputs = np.where(inside, tokens, self._pad)
        following = np.where(last, self._end, after)
        labels = np.where(inside, following, IGNORED)
        return Cut(*(part.astype(np.int32) for part in (inputs, labels, here - here[:, :1])))


class LanguageSplit:
    """One split of all corpora."""

    def __init__(self, texts: list[Text], amounts: list[Amount]) -> None:
        self._texts = texts
        self.documents = sum(amount.documents for amount in amounts)
        self.tokens = sum(amount.tokens for amount in amounts)
        """Labels of all rows: every token but the first of each document, and its last."""
        self.bytes = sum(amount.bytes for amount in amounts)
        """Of the text that those labels cover, in UTF-8."""
        self.words = sum(amount.words for amount in amounts)
        """Of the same text."""

    def rows(self, seq_len: int) -> Cut:
        """Return all text in rows; a document that does not end in a row goes on in the next, every label is once."""
        cuts = [text.cut(np.arange(-(-len(text) // seq_len)), seq_len) for text in self._texts]
        return Cut(*(np.concatenate(parts) for parts in zip(*cuts, strict=True)))


def read_language(folder: Path, split: str) -> LanguageSplit:
    """Open `train` or `test` of the text of the data set in `folder`. DataError: it is missing or damaged."""
    tokenizer = open_tokenizer(folder)
    amounts = read_about(folder)
    texts = [Text(folder / "language" / str(number), split, tokenizer) for number in range(len(amounts))]
    return LanguageSplit(texts, [amount[split] for amount in amounts])


def read_about(folder: Path) -> list[dict[str, Amount]]:
    """Return how much text each corpus has in each split. DataError: the file is missing or damaged."""
    found = read_json(folder / "language" / ABOUT)
    try:
        return [{split: Amount(**corpus[split]) for split in SPLITS} for corpus in found]
    except (TypeError, KeyError) as error:
        raise DataError(f"{folder}: does not say how much text it has ({error})", next="build it again") from error


def write_language(folder: Path, corpora: Iterable[Corpus], tokenizer: Tokenizer) -> list[dict[str, Amount]]:
    """Read, tokenise and write all corpora; return how much there is. DataError: one cannot be read or is empty."""
    amounts = []
    for number, corpus in enumerate(corpora):
        place = folder / "language" / str(number)
        place.mkdir(parents=True)
        amounts.append(_write_corpus(place, corpus, tokenizer))
    about: list[dict[str, Any]] = [{split: asdict(amount) for split, amount in each.items()} for each in amounts]
    (folder / "language" / ABOUT).write_text(json.dumps(about))
    return amounts


def _write_corpus(place: Path, corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Amount]:
    writers = {split: _Writer(place / f"{split}.npy", tokenizer) for split in SPLITS}
    sided = _sided(documents(corpus))
    while batch := list(islice(sided, AT_ONCE)):
        for split in SPLITS:
            writers[split].write([text for text, held in batch if held == (split == "test")])
    for writer in writers.values():
        writer.close()
    for split, writer in writers.items():
        if not writer.amount.documents:
            what = "no text" if split == "train" else "too few documents to hold one out"
            raise DataError(f"{corpus.path}: has {what}", next="give more text, or correct data.language[].path")
    return {split: writer.amount for split, writer in writers.items()}


def _sided(texts: Iterator[str]) -> Iterator[tuple[str, bool]]:
    """Return each document with whether it is held out; of a small corpus at least one is. Held-out ones have a cap."""
    first = list(islice(texts, FEW))
    marks = [_mark(text) for text in first]
    small = len(first) < FEW and all(mark % HELD_OUT for mark in marks) and len(set(marks)) > 1
    chosen, kept = min(marks) if small else None, 0
    for text, mark in chain(zip(first, marks, strict=True), ((text, _mark(text)) for text in texts)):
        held = mark == chosen if small else mark % HELD_OUT == 0
        kept += held
        if not held or kept <= MOST_HELD_OUT:
            yield text, held


def _mark(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


class _Writer:
    """A growing array of tokens on the disk."""

    def __init__(self, file: Path, tokenizer: Tokenizer) -> None:
        self._file, self._tokenizer = file, tokenizer
        self._dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32)
        self.amount, self._lengths = Amount(), [np.zeros(0, np.int64)]
        self._stream: BinaryIO = file.open("wb")
        self._begin = self._write_header(0)

    def write(self, texts: list[str]) -> None:
        """Append documents."""
        tokens, lengths = self._tokenizer.encode_all(texts)
        starts = np.cumsum(lengths) - lengths
        with_start = np.insert(tokens, starts, self._tokenizer.start)
        self._stream.write(with_start.astype(self._dtype).tobytes())
        self._lengths.append(lengths + 1)
        self.amount.add(texts, len(with_start))

    def close(self) -> None:
        """Say in the file how long it has become, and write the offsets beside it."""
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(self._lengths))])
        self._stream.seek(0)
        begin = self._write_header(int(offsets[-1]))
        assert begin == self._begin, "NumPy leaves room in the header for an array to grow"
        self._stream.close()
        np.save(self._file.with_suffix(".offsets.npy"), offsets)

    def _write_header(self, length: int) -> int:
        description = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(self._stream, description)
        return self._stream.tell()


def _open(file: Path) -> npt.NDArray[Any]:
    try:
        found: npt.NDArray[Any] = np.lib.format.open_memmap(file, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a readable array ({error})", next="build the data set again") from error
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise DataError(f"{file}: is not a row of whole numbers", next="build the data set again")
    return found
