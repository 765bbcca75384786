"""Puzzles as a pair of CSV files, `train.csv` and `test.csv`, with columns `source,question,answer,rating`.

They lie in a local folder, below `s3://bucket/prefix`, or in a data set `hf://datasets/<id>` of the Hugging Face hub.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from trmkit.errors import DataError

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]

FILES = ("train.csv", "test.csv")
HUB = "hf://datasets/"
COLUMNS = {"question", "answer", "rating"}
UNKNOWN = 255
"""Code of a character that is not in the alphabet."""
ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Table:
    """The rows of one file: `questions` and `answers` uint8 [n, cells] in codes, `ratings` [n], `lines` [n] from 1."""

    file: Path
    questions: UInt8
    answers: UInt8
    ratings: Int64
    lines: Int64

    def keep(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> "Table":
        """Return the table of some of the rows."""
        return Table(self.file, self.questions[rows], self.answers[rows], self.ratings[rows], self.lines[rows])

    def refuse(self, wrong: npt.NDArray[np.bool_], what: str) -> None:
        """DataError naming the line of the first row that is `wrong` [n], if there is one."""
        if wrong.any():
            bad_line(self.file, int(self.lines[wrong.argmax()]), what)


def local_files(path: str) -> dict[str, Path]:
    """Return the files of a local pair by their names, nothing for a pair that is fetched."""
    if path.startswith((HUB, "s3://")):
        return {}
    return {name: Path(path) / name for name in FILES}


@contextmanager
def opened(path: str) -> Iterator[dict[str, Path]]:
    """Give the two files of `path` by their names, fetched into a temporary folder if they are elsewhere.

    DataError: they are not there or cannot be fetched. StoreError: the bucket cannot be read.
    """
    if path.startswith(HUB):
        yield {name: _from_hub(path.removeprefix(HUB), name) for name in FILES}
    elif path.startswith("s3://"):
        with TemporaryDirectory() as folder:
            yield {name: _from_bucket(f"{path.rstrip('/')}/{name}", Path(folder) / name) for name in FILES}
    else:
        files = local_files(path)
        for file in files.values():
            if not file.is_file():
                raise DataError(f"{file}: no such file", next="put train.csv and test.csv there, or correct data.path")
        yield files


def read_table(file: Path, alphabet: dict[str, int], sides: tuple[int, ...] | None, *, rated: bool = False) -> Table:
    """Read a file; `alphabet` gives the code of each character, `sides` the allowed sides of a square (None: any).

    Ratings are 0 unless the puzzles are `rated`, which asks for a whole number in every row.
    DataError, naming file and line: a column is missing, a row has another number of cells or an unknown character.
    """
    codes = np.full(256, UNKNOWN, np.uint8)
    for character, code in alphabet.items():
        codes[ord(character)] = code
    parts = [_parse(file, rows, codes, sides, rated) for rows in _chunks(file)]
    if not parts:
        raise DataError(f"{file}: has no rows", next="take the file from its source again")
    if len({part.questions.shape[1] for part in parts}) > 1:
        raise DataError(f"{file}: has puzzles of several sizes", next="keep puzzles of one size in one data set")
    return Table(
        file,
        np.concatenate([part.questions for part in parts]),
        np.concatenate([part.answers for part in parts]),
        np.concatenate([part.ratings for part in parts]),
        np.concatenate([part.lines for part in parts]),
    )


def bad_line(file: Path, line: int, what: str) -> NoReturn:
    """Raise the DataError for a line of a file."""
    raise DataError(f"{file}, line {line}: {what}", next="correct or remove this line")


def _chunks(file: Path) -> Iterator[list[tuple[int, str, str, str]]]:
    """Read line number, question, answer and rating of every row, `ROWS_AT_ONCE` at a time."""
    chunk: list[tuple[int, str, str, str]] = []
    line = 1
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, [])
            if not set(header) >= COLUMNS:
                bad_line(file, 1, f"the columns are {', '.join(header) or 'none'}; question, answer, rating are needed")
            question, answer, rating = (header.index(name) for name in ("question", "answer", "rating"))
            for row in reader:
                line = reader.line_num
                if len(row) != len(header):
                    bad_line(file, line, f"has {len(row)} fields, the first line {len(header)}")
                chunk.append((line, row[question], row[answer], row[rating]))
                if len(chunk) == ROWS_AT_ONCE:
                    yield chunk
                    chunk = []
    except (csv.Error, UnicodeDecodeError) as error:
        bad_line(file, line, f"is, or is followed by, something that is not CSV in UTF-8 ({error})")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error})", next="check the file and who may read it") from error
    if chunk:
        yield chunk


def _parse(
    file: Path, rows: list[tuple[int, str, str, str]], codes: UInt8, sides: tuple[int, ...] | None, rated: bool
) -> Table:
    cells = len(rows[0][1])
    side = round(cells**0.5)
    if side * side != cells or cells == 0 or (sides and side not in sides):
        wanted = f"one of {[s * s for s in sides]}" if sides else "a square"
        bad_line(file, rows[0][0], f"the question has {cells} cells, not {wanted}")
    for line, question, answer, _ in rows:
        if len(question) != cells or len(answer) != cells:
            bad_line(file, line, f"has {len(question)} and {len(answer)} cells, not {cells}")
    ratings = np.array([_rating(file, line, rating) if rated else 0 for line, _, _, rating in rows], np.int64)
    questions = _encode([question for _, question, _, _ in rows], codes)
    answers = _encode([answer for _, _, answer, _ in rows], codes)
    table = Table(file, questions, answers, ratings, np.array([row[0] for row in rows], np.int64))
    table.refuse(((questions == UNKNOWN) | (answers == UNKNOWN)).any(axis=1), "has a character that means nothing here")
    return table


def _encode(boards: list[str], codes: UInt8) -> UInt8:
    """Return the codes of boards of one length, uint8 [n, cells]."""
    characters = np.frombuffer("".join(boards).encode("latin-1", "replace"), np.uint8)
    return np.asarray(codes[characters], np.uint8).reshape(len(boards), -1)


def _rating(file: Path, line: int, text: str) -> int:
    if not text.strip().isdecimal() or len(text) > 9:
        bad_line(file, line, f"the rating {text[:20]!r} is not a whole number")
    return int(text)


def _from_hub(dataset: str, name: str) -> Path:
    """Fetch a file of a data set on the hub into the hub's own cache."""
    put_there = f"download {' and '.join(FILES)} of {dataset} by hand, and set data.path to the folder they are in"
    try:
        hub = import_module("huggingface_hub")
    except ImportError:
        message = f"{HUB}{dataset}: the package huggingface_hub is not installed"
        raise DataError(message, next=f"pip install huggingface_hub; or {put_there}") from None
    try:
        return Path(hub.hf_hub_download(dataset, name, repo_type="dataset"))
    except Exception as error:  # the hub's client raises whatever its HTTP library raises: the person's way out is one
        raise DataError(f"{HUB}{dataset}/{name}: cannot be fetched ({error})", next=put_there) from error


def _from_bucket(url: str, target: Path) -> Path:
    from trmkit.store.s3 import download

    download(url, target)
    return target
