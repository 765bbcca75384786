"""Where text comes from: a grammar, or text, JSONL and parquet on this machine, in a bucket, or on the hub."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trainer.data.csv_pair import HUB
from trainer.data.grammar import stories
from trmkit.errors import DataError
from trmkit.spec.curriculum import GRAMMAR, Corpus
from trmkit.spec.storage import StorageSection

GRAMMAR_SEED = 0
GRAMMAR_DOCUMENTS = 20_000
SEPARATOR = "<|endoftext|>"
"""Stands between the documents of a text file; where it does not occur, empty lines do."""
BUCKET = "s3://"


def documents(corpus: Corpus) -> Iterator[str]:
    """Return the documents of a corpus that have text, up to `max_documents`, in order.

    DataError, naming the file and the line: it cannot be read, or the column is not there.
    """
    return islice(_all_documents(corpus), corpus.max_documents or (GRAMMAR_DOCUMENTS if is_grammar(corpus) else None))


def is_grammar(corpus: Corpus) -> bool:
    """Say whether the corpus is made on this machine."""
    return corpus.path == GRAMMAR


def local_files(corpus: Corpus) -> list[Path]:
    """Return the files of a corpus that is on this machine, none for others. DataError: there are none."""
    if is_grammar(corpus) or corpus.path.startswith((HUB, BUCKET)):
        return []
    place = Path(corpus.path)
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.suffix in READERS)
    wrong = not files or not files[0].is_file() or files[0].suffix not in READERS
    if wrong:
        raise DataError(
            f"{corpus.path}: is no file or folder with text ({', '.join(READERS)})",
            next="correct data.language[].path, or set it to grammar for text that is made on this machine",
        )
    return files


def _all_documents(corpus: Corpus) -> Iterator[str]:
    if is_grammar(corpus):
        for start in count(0, 512):
            yield from (story.text for story in stories(GRAMMAR_SEED, range(start, start + 512)))
    for fetch in _files(corpus):
        with fetch() as file:
            yield from (text for text in READERS[file.suffix](file, corpus.text_key) if text.strip())


def _files(corpus: Corpus) -> Iterator[Callable[[], Any]]:
    """Return, for each file of a corpus, what opens it on this machine for as long as it is read."""
    if corpus.path.startswith(HUB):
        yield from _on_the_hub(corpus.path.removeprefix(HUB))
    elif corpus.path.startswith(BUCKET):
        yield from _in_a_bucket(corpus.path)
    else:
        yield from (lambda file=file: _here(file) for file in local_files(corpus))


@contextmanager
def _here(file: Path) -> Iterator[Path]:
    yield file


def _in_a_bucket(url: str) -> Iterator[Callable[[], Any]]:
    """Return the objects below a prefix, or the one that is named, to be fetched one at a time."""
    from trmkit.store.open import open_store

    suffix = Path(url).suffix
    if suffix in READERS:
        addresses = [url]
    else:
        entries = open_store(StorageSection(remote=url.rstrip("/"))).keys("")
        addresses = [f"{url.rstrip('/')}/{entry.key}" for entry in entries if Path(entry.key).suffix in READERS]
    if not addresses:
        raise DataError(f"{url}: has no text ({', '.join(READERS)})", next="correct data.language[].path")
    yield from (lambda address=address: _fetched(address) for address in addresses)


@contextmanager
def _fetched(address: str) -> Iterator[Path]:
    from trmkit.store.s3 import download

    with TemporaryDirectory() as folder:
        file = Path(folder) / Path(address).name
        download(address, file)
        yield file


def _on_the_hub(path: str) -> Iterator[Callable[[], Any]]:
    """Return the files of a data set on the hub: all that are named, or its parquet files, else JSONL, else text.

    Where some of them have `train` in their names, those alone are taken.
    """
    parts = path.strip("/").split("/")
    dataset, below = "/".join(parts[:2]), "/".join(parts[2:])
    way_out = f"download {dataset} by hand, and set data.language[].path to the folder it is in"
    try:
        hub = import_module("huggingface_hub")
    except ImportError:
        message = f"{HUB}{dataset}: the package huggingface_hub is not installed"
        raise DataError(message, next=f"pip install huggingface_hub; or {way_out}") from None

    @contextmanager
    def fetched(file: str) -> Iterator[Path]:
        try:
            found = Path(hub.hf_hub_download(dataset, file, repo_type="dataset"))
        except Exception as error:  # the hub's client raises whatever its HTTP library raises
            raise DataError(f"{HUB}{dataset}/{file}: cannot be fetched ({error})", next=way_out) from error
        yield found

    try:
        listed = sorted(hub.list_repo_files(dataset, repo_type="dataset"))
    except Exception as error:
        raise DataError(f"{HUB}{dataset}: cannot be listed ({error})", next=way_out) from error
    files = choose_files([file for file in listed if file == below or file.startswith(f"{below}/" if below else "")])
    if not files:
        raise DataError(f"{HUB}{path}: has no text ({', '.join(READERS)})", next=way_out)
    yield from (lambda file=file: fetched(file) for file in files)


def choose_files(listed: list[str]) -> list[str]:
    """Return the files of one kind, the training ones if there are any; a data set often has the same text twice."""
    for suffixes in ((".parquet",), (".jsonl", ".json"), (".txt",)):
        found = [file for file in listed if Path(file).suffix in suffixes]
        if found:
            return [file for file in found if "train" in file] or found
    return []


def _read_text(file: Path, key: str) -> Iterator[str]:
    """Read the documents between separators, or between empty lines."""
    try:
        with file.open(encoding="utf-8") as stream:
            separated = any(SEPARATOR in line for line in stream)
            stream.seek(0)
            lines: list[str] = []
            for line in stream:
                parts = line.split(SEPARATOR) if separated else [line] if line.strip() else ["", ""]
                lines.append(parts[0])
                for part in parts[1:]:
                    yield "".join(lines).strip()
                    lines = [part]
            yield "".join(lines).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error})", next="give text in UTF-8") from error


def _read_json_lines(file: Path, key: str) -> Iterator[str]:
    number = 0
    try:
        with file.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    found = json.loads(line)
                    text = found.get(key) if isinstance(found, dict) else None
                    if not isinstance(text, str):
                        have = f"has {', '.join(found) or 'nothing'}" if isinstance(found, dict) else "is no object"
                        raise DataError(
                            f"{file}, line {number}: {have}, and no text under {key!r}",
                            next="set data.language[].text_key",
                        )
                    yield text
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{file}, after line {max(0, number - 1)}: cannot be read ({error})",
            next="give a JSON object per line, in UTF-8",
        ) from error


def _read_parquet(file: Path, key: str) -> Iterator[str]:
    pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    try:
        table = parquet.ParquetFile(file)
        if key not in table.schema_arrow.names:
            raise DataError(
                f"{file}: has the columns {', '.join(table.schema_arrow.names)}, not {key}",
                next="set data.language[].text_key",
            )
        for batch in table.iter_batches(batch_size=1024, columns=[key]):
            texts = batch.column(0).to_pylist()
            if not all(text is None or isinstance(text, str) for text in texts):
                raise DataError(f"{file}: the column {key} holds no text", next="set data.language[].text_key")
            yield from (text for text in texts if text is not None)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{file}: cannot be read ({error})", next="take it from its source again") from error


READERS: dict[str, Callable[[Path, str], Iterator[str]]] = {
    ".txt": _read_text,
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".parquet": _read_parquet,
}
"""Ending of a file -> what reads it."""
