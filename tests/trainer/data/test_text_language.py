"""Text is read from wherever it is, a part is held out for good, and every label of it is counted once."""

import json
from collections.abc import Callable
from math import log2
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from trainer.data.corpora import choose_files, documents
from trainer.data.grammar import CHOICES, stories, tell
from trainer.data.language import HELD_OUT, IGNORED, MOST_HELD_OUT, read_language, write_language
from trainer.data.tokens import ByteTokenizer, write_tokenizer
from trmkit.errors import DataError, StoreError
from trmkit.spec.curriculum import Corpus
from trmkit.spec.storage import StorageSection
from trmkit.store.open import open_store

TEXTS = [f"Document {number} is about {'ab ' * number}nothing." for number in range(120)]


def written(tmp_path: Path, *corpora: Corpus) -> Path:
    tokenizer = ByteTokenizer()
    write_tokenizer(tmp_path, tokenizer)
    write_language(tmp_path, corpora, tokenizer)
    return tmp_path


def write_jsonl(file: Path, texts: list[str] = TEXTS, key: str = "text") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"id": 1, key: text}) + "\n" for text in texts))
    return file


def write_parquet(file: Path, texts: list[str | None], key: str = "text") -> Path:
    parquet.write_table(pyarrow.table({"id": list(range(len(texts))), key: texts}), file, row_group_size=7)
    return file


def write_text(file: Path) -> Path:
    file.write_text("\n<|endoftext|>\n".join(TEXTS))
    return file


def write_paragraphs(file: Path) -> Path:
    file.write_text("\n\n\n".join(TEXTS) + "\n")
    return file


FORMATS: dict[str, Callable[[Path], Path]] = {
    "a.jsonl": write_jsonl,
    "a.json": write_jsonl,
    "a.parquet": lambda file: write_parquet(file, [*TEXTS, None, "  "]),
    "a.txt": write_text,
    "b.txt": write_paragraphs,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    file = FORMATS[name](tmp_path / name)
    assert list(documents(Corpus(path=str(file)))) == TEXTS
    assert list(documents(Corpus(path=str(tmp_path), max_documents=7))) == TEXTS[:7]


def test_a_folder_is_read_file_by_file_and_another_column_may_hold_the_text(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "deep" / "b.jsonl", ["second"], "story")
    write_jsonl(tmp_path / "a.jsonl", ["first"], "story")
    (tmp_path / "README.md").write_text("not read")
    assert list(documents(Corpus(path=str(tmp_path), text_key="story"))) == ["first", "second"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_text_below_a_prefix_of_a_bucket_is_read(s3: str, tmp_path: Path, name: str) -> None:
    open_store(StorageSection(remote=s3)).upload(f"corpus/{name}", FORMATS[name](tmp_path / name))
    assert list(documents(Corpus(path=f"{s3}/corpus/"))) == TEXTS
    assert list(documents(Corpus(path=f"{s3}/corpus/{name}", max_documents=3))) == TEXTS[:3]
    with pytest.raises(DataError, match=r"nothing: has no text .*\n.*language\[\]\.path"):
        list(documents(Corpus(path=f"{s3}/nothing")))
    with pytest.raises(StoreError, match=r"none\.jsonl: cannot be read"):
        list(documents(Corpus(path=f"{s3}/none.jsonl")))


def test_a_hub_that_is_not_there_says_how_to_go_on_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"nobody/none: cannot be listed .*\n.*download nobody/none by hand"):
        list(documents(Corpus(path="hf://datasets/nobody/none")))


@pytest.mark.parametrize(
    ("listed", "chosen"),
    [
        (
            ["README.md", "data/train-00.parquet", "data/validation-00.parquet", "all-train.txt"],
            ["data/train-00.parquet"],
        ),
        (["a.jsonl", "b.jsonl", "a.txt"], ["a.jsonl", "b.jsonl"]),
        (["V2-train.txt", "V2-valid.txt", "more.tar.gz"], ["V2-train.txt"]),
        (["README.md"], []),
    ],
)
def test_of_a_data_set_on_the_hub_the_training_files_of_one_kind_are_read(listed: list[str], chosen: list[str]) -> None:
    assert choose_files(listed) == chosen


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            b'{"text": "x"}\n{"story": "y"}\n',
            r"a\.jsonl, line 2: has story, and no text under 'text'\n.*text_key",
        ),
        ("a.jsonl", b'{"text": "x"}\n[1]\n', "line 2: is no object"),
        ("a.jsonl", b'{"text": "x"}\n{"text": 5}\n', "line 2: has text, and no text"),
        ("a.jsonl", b'{"text": "x"}\n{"text"\n', "after line 1: cannot be read"),
        ("a.jsonl", b'{"text": "\xff"}\n', "after line 0: cannot be read"),
        ("a.txt", b"\xff\xfe", r"a\.txt: cannot be read .*\n.*UTF-8"),
        ("a.parquet", b"PAR1 not", r"a\.parquet: cannot be read"),
        ("a.csv", b"text", "is no file or folder with text"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(documents(Corpus(path=str(tmp_path / name))))


def test_columns_that_are_not_there_or_hold_no_text_are_said(tmp_path: Path) -> None:
    file = str(write_parquet(tmp_path / "a.parquet", ["x"]))
    with pytest.raises(DataError, match="has the columns id, text, not story"):
        list(documents(Corpus(path=file, text_key="story")))
    with pytest.raises(DataError, match="the column id holds no text"):
        list(documents(Corpus(path=file, text_key="id")))


@pytest.mark.parametrize(("texts", "what"), [([], "no text"), (["x"], "too few documents"), (["x", "x"], "too few")])
def test_text_that_is_not_enough_is_refused(tmp_path: Path, texts: list[str], what: str) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", texts)
    with pytest.raises(DataError, match=f"has {what}"):
        written(tmp_path, Corpus(path=str(file)))


def everything(folder: Path, split: str, seq_len: int) -> list[str]:
    """Return the documents of a split, put together again from the labels of its rows."""
    rows = read_language(folder, split).rows(seq_len)
    labels = rows.labels[rows.labels != IGNORED]
    text = np.where(labels == ByteTokenizer.end, 0xFF, labels - ByteTokenizer.first).astype(np.uint8).tobytes()
    return [part.decode() for part in text.split(b"\xff")[:-1]]


@pytest.mark.parametrize("seq_len", [16, 61, 4096])
def test_every_label_is_there_once_and_documents_keep_their_bounds(tmp_path: Path, seq_len: int) -> None:
    folder = written(tmp_path, Corpus(path=str(write_jsonl(tmp_path / "a.jsonl"))))
    train, test = everything(folder, "train", seq_len), everything(folder, "test", seq_len)
    assert sorted(train + test) == sorted(TEXTS)
    assert test
    split = read_language(folder, "test")
    rows = split.rows(seq_len)
    assert split.tokens == (rows.labels != IGNORED).sum()
    assert split.bytes == sum(len(text.encode()) for text in test)
    assert split.words == sum(len(text.split()) for text in test)
    assert split.documents == len(test)


def test_a_label_is_the_next_token_and_a_document_begins_with_its_first(tmp_path: Path) -> None:
    folder = written(tmp_path, Corpus(path=str(write_jsonl(tmp_path / "a.jsonl"))))
    rows = read_language(folder, "train").rows(40)
    for inputs, labels, number in zip(rows.inputs, rows.labels, rows.documents, strict=True):
        assert number[0] == 0
        steps = np.diff(number)
        assert set(steps.tolist()) <= {0, 1}
        inside = (steps == 0) & (labels[1:] != IGNORED)
        assert (inputs[1:] == labels[:-1])[inside].all(), "nothing is shifted twice"
        begins = np.flatnonzero(steps == 1) + 1
        assert ((inputs[begins] == 1) | (labels[begins] == IGNORED)).all()
        assert (labels[begins - 1] == 2).all(), "the end of a document is learned"
        padding = labels == IGNORED
        assert (inputs[padding] == 0).all()


def test_a_document_is_held_out_by_what_it_says_and_never_on_both_sides(tmp_path: Path) -> None:
    texts = [f"story {number % 700} of many" for number in range(1500)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = written(tmp_path / "one", _corpus(tmp_path, "a", texts))
    other = written(tmp_path / "two", _corpus(tmp_path, "b", [*texts[700:], *(f"new {n}" for n in range(900))]))
    train, test = (set(everything(first, split, 256)) for split in ("train", "test"))
    assert train.isdisjoint(test)
    assert 700 / HELD_OUT / 3 < len(test) < 700 / HELD_OUT * 3
    assert test <= set(everything(other, "test", 256))


def _corpus(tmp_path: Path, name: str, texts: list[str]) -> Corpus:
    return Corpus(path=str(write_jsonl(tmp_path / f"{name}.jsonl", texts)))


def test_a_large_corpus_holds_out_no_more_than_can_be_scored(tmp_path: Path) -> None:
    folder = written(
        tmp_path, _corpus(tmp_path, "a", [f"text {n}" for n in range(HELD_OUT * MOST_HELD_OUT * 11 // 10)])
    )
    assert read_language(folder, "test").documents == MOST_HELD_OUT


def test_several_corpora_are_one_held_out_text(tmp_path: Path) -> None:
    corpora = [_corpus(tmp_path, name, [f"{name} {n}" for n in range(60)]) for name in "ab"]
    folder = written(tmp_path, *corpora)
    assert {text[0] for text in everything(folder, "test", 32)} == {"a", "b"}


def test_a_story_depends_on_seed_and_number_alone() -> None:
    found = list(stories(3, range(600)))
    assert list(stories(3, [599, 0, 17])) == [found[599], found[0], found[17]]
    assert list(stories(4, [0])) != found[:1]
    assert len({story.text for story in found}) == 600


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=CHOICES, max_size=CHOICES))
def test_any_choices_tell_a_story(choices: list[float]) -> None:
    story = tell(choices)
    assert story.text.startswith("Once upon a time there lived a")
    assert story.text.endswith(".")
    assert "  " not in story.text
    assert story.bits > 50


def test_what_a_story_says_of_its_probability_is_right() -> None:
    """The entropy of a part of a story, counted, is that of its choices."""
    names = [story.text.split("named ")[1].split()[0] for story in stories(0, range(20_000))]
    counts = np.unique(names, return_counts=True)[1] / len(names)
    assert -(counts * np.log2(counts)).sum() == pytest.approx(log2(40), abs=0.01)
    some = list(stories(0, range(2000)))
    assert sum(len(story.text) for story in some) / 2000 == pytest.approx(785, rel=0.02)
    assert sum(story.bits for story in some) / sum(len(story.text) for story in some) == pytest.approx(0.121, abs=0.001)
