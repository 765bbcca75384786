"""Text as numbers: bytes, or the tokenizer of a model on the Hugging Face hub.

A data set carries its tokenizer (`tokens.json`, and `tokenizer.json` where it is one of Hugging Face), and a run copies
it, so that nothing is fetched where a model is trained or used.
"""

import json
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trainer.data.counter import Int64
from trainer.data.store import Int32, read_json
from trmkit.errors import DataError

NOTES, VOCABULARY = "tokens.json", "tokenizer.json"
CONFIG = "tokenizer_config.json"
FILES = (NOTES, VOCABULARY)
"""What describes a tokenizer in the folder of a data set or of a run; the second is not there for bytes."""
BYTE = "byte"
NEEDED = "0123456789+-*()[]<>=?"
"""Characters that tasks cannot do without."""
ENDS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|eot_id|>", "[SEP]")
"""Names under which tokenizers have the token that ends a text, where nothing says which it is."""


class Tokenizer(Protocol):
    """From text to tokens and back."""

    name: str
    """What `data.tokenizer` says."""
    vocab_size: int
    """One more than the largest token."""
    pad: int
    start: int
    """Begins every document."""
    end: int
    """Ends every document."""

    def __hash__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, none of them special."""

    def encode_all(self, texts: list[str]) -> tuple[Int32, Int64]:
        """Return the tokens of all texts one after the other, int32, and how many each has, int64."""

    def decode(self, tokens: list[int]) -> str:
        """Return the text of tokens; special ones are left out."""


class ByteTokenizer:
    """Every byte of UTF-8 is a token: byte b is token b + 4, after padding, start, end and a separator."""

    name = BYTE
    pad, start, end, separator = range(4)
    first = 4
    """Token of byte 0."""
    vocab_size = first + 256

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text; half a character (a lone surrogate) becomes a question mark."""
        return [byte + self.first for byte in text.encode("utf-8", "replace")]

    def encode_all(self, texts: list[str]) -> tuple[Int32, Int64]:
        """Return the tokens of all texts one after the other, int32, and how many each has, int64."""
        found = [text.encode("utf-8", "replace") for text in texts]
        tokens = np.frombuffer(b"".join(found), np.uint8).astype(np.int32) + self.first
        return tokens, np.array([len(one) for one in found], np.int64)

    def decode(self, tokens: list[int]) -> str:
        """Return the text of tokens; bytes that are no UTF-8 become the replacement character."""
        found = bytes(token - self.first for token in tokens if self.first <= token < self.vocab_size)
        return found.decode("utf-8", "replace")


class HuggingFaceTokenizer:
    """A `tokenizer.json`, read by the `tokenizers` package."""

    def __init__(self, vocabulary: str, name: str, start: str | None, end: str | None, pad: str | None) -> None:
        """Read the content of a `tokenizer.json`; names of its special tokens, None where they are not known.

        DataError: it is none, it has no token that ends a text, or it cannot write what tasks need.
        """
        try:
            self._inner: Any = import_module("tokenizers").Tokenizer.from_str(vocabulary)
        except ImportError:
            raise DataError("the package tokenizers is not installed", next="pip install tokenizers") from None
        except Exception as error:  # the package raises plain Exception
            raise DataError(
                f"{name}: {VOCABULARY} cannot be read ({error})", next="take it from its source again, or another"
            ) from error
        self._inner.no_truncation()
        self._inner.no_padding()
        self._inner.encode_special_tokens = True  # as the text that they are: a document may write "<|endoftext|>"
        self.name, self.vocabulary = name, vocabulary
        known: dict[str, int] = self._inner.get_vocab(with_added_tokens=True)
        self.vocab_size = max(known.values()) + 1
        wanted = [end] if end is not None else list(ENDS)
        found = next((one for one in wanted if one in known), None)
        if found is None:
            raise DataError(
                f"{name}: has no token that ends a text (looked for {', '.join(wanted)})",
                next=f"give its {CONFIG} beside {VOCABULARY}, with eos_token in it",
            )
        self.end = known[found]
        self.start = known.get(start, self.end) if start is not None else self.end
        self.pad = known.get(pad, self.end) if pad is not None else self.end
        lost = [one for one in NEEDED if self.decode(self.encode(one)).strip() != one]
        if lost:
            raise DataError(
                f"{name}: cannot write {' '.join(lost)}, which tasks need", next="set data.tokenizer to byte or another"
            )

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        found: list[int] = self._inner.encode(text, add_special_tokens=False).ids
        return found

    def encode_all(self, texts: list[str]) -> tuple[Int32, Int64]:
        """Return the tokens of all texts one after the other, int32, and how many each has, int64."""
        found = [one.ids for one in self._inner.encode_batch_fast(texts, add_special_tokens=False)]
        tokens = np.fromiter(chain.from_iterable(found), np.int32)
        return tokens, np.array([len(one) for one in found], np.int64)

    def decode(self, tokens: list[int]) -> str:
        """Return the text of tokens; special ones are left out."""
        return str(self._inner.decode(tokens, skip_special_tokens=True))

    def notes(self) -> dict[str, Any]:
        """Return what `tokenizer.json` does not say."""
        names = {key: self._inner.id_to_token(getattr(self, key)) for key in ("start", "end", "pad")}
        return {"name": self.name, **names}


def find_tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer that `data.tokenizer` names: `byte`, a file, a folder, or an id on the hub.

    DataError: there is none, or it does not fit.
    """
    if name == BYTE:
        return ByteTokenizer()
    place = Path(name)
    if place.is_dir():
        found: tuple[Path, Path | None] = (place / VOCABULARY, place / CONFIG)
    elif place.is_file():
        found = (place, place.with_name(CONFIG))
    elif place.suffix == ".json" or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise DataError(f"{name}: no such file or folder", next="correct data.tokenizer")
    else:
        found = _from_hub(name)
    return HuggingFaceTokenizer(_text_of(found[0]), name, **_specials(found[1]))


def local_files(name: str) -> dict[str, Path]:
    """Return the files on this machine that a tokenizer is read from."""
    place = Path(name)
    if name == BYTE or not place.exists():
        return {}
    return {f"tokenizer {VOCABULARY}": place / VOCABULARY if place.is_dir() else place}


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write what `open_tokenizer` reads."""
    notes: dict[str, Any] = {"name": tokenizer.name}
    if isinstance(tokenizer, HuggingFaceTokenizer):
        (folder / VOCABULARY).write_text(tokenizer.vocabulary)
        notes = tokenizer.notes()
    (folder / NOTES).write_text(json.dumps(notes))


def open_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of a data set, or of a run directory. DataError: it is missing or damaged."""
    notes = read_json(folder / NOTES)
    if (
        not isinstance(notes, dict)
        or not all(isinstance(value, str) for value in notes.values())
        or "name" not in notes
    ):
        raise DataError(f"{folder / NOTES}: does not describe a tokenizer", next="build the data set again")
    if notes["name"] == BYTE:
        return ByteTokenizer()
    specials = {key: notes.get(key) for key in ("start", "end", "pad")}
    return HuggingFaceTokenizer(_text_of(folder / VOCABULARY), notes["name"], **specials)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file}: cannot be read ({error})", next=f"give a folder with {VOCABULARY}, or that file"
        ) from error


def _specials(config: Path | None) -> dict[str, str | None]:
    """Return the names of start, end and padding that a `tokenizer_config.json` gives; None where it does not."""
    content = read_json(config) if config is not None and config.is_file() else {}
    found: dict[str, str | None] = {}
    for ours, theirs in (("start", "bos_token"), ("end", "eos_token"), ("pad", "pad_token")):
        token = content.get(theirs) if isinstance(content, dict) else None
        name = token.get("content") if isinstance(token, dict) else token
        found[ours] = name if isinstance(name, str) else None
    return found


def _from_hub(name: str) -> tuple[Path, Path | None]:
    """Fetch the files of a tokenizer into the hub's own cache."""
    way_out = "set data.tokenizer to byte, or to a folder with its tokenizer.json and tokenizer_config.json"
    try:
        hub = import_module("huggingface_hub")
    except ImportError:
        message = f"{name}: the package huggingface_hub is not installed"
        raise DataError(message, next=f"pip install huggingface_hub; or {way_out}") from None
    found: list[Path | None] = []
    for file in (VOCABULARY, CONFIG):
        try:
            found.append(Path(hub.hf_hub_download(name, file)))
        except Exception as error:  # the hub's client raises whatever its HTTP library raises
            if file == CONFIG and type(error).__name__ == "EntryNotFoundError":
                found.append(None)
                continue
            raise DataError(f"{name}: {file} cannot be fetched from the hub ({error})", next=way_out) from error
    assert found[0] is not None
    return found[0], found[1]
