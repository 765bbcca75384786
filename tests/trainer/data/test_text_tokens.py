"""Text becomes tokens and comes back; a tokenizer travels with its data set; one that does not fit is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Trained
from tokenizers import decoders, models, pre_tokenizers, trainers

from trainer.data.grammar import stories
from trainer.data.tokens import (
    ByteTokenizer,
    HuggingFaceTokenizer,
    find_tokenizer,
    open_tokenizer,
    write_tokenizer,
)
from trmkit.errors import DataError


def train_bpe(folder: Path, specials: tuple[str, ...] = ("<|endoftext|>",), bytes_first: bool = True) -> Path:
    """Write a small byte-level BPE tokenizer as `tokenizer.json`; return its folder."""
    inner = Trained(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet() if bytes_first else ["a", "b"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator([story.text for story in stories(0, range(20))] if bytes_first else ["ab"], trainer)
    folder.mkdir(exist_ok=True)
    inner.save(str(folder / "tokenizer.json"))
    return folder


@given(st.text())
def test_any_text_survives_being_bytes(text: str) -> None:
    tokenizer = ByteTokenizer()
    tokens = tokenizer.encode(text)
    assert tokenizer.decode([tokenizer.start, *tokens, tokenizer.end, tokenizer.pad]) == text
    assert all(4 <= token < tokenizer.vocab_size == 260 for token in tokens)


def test_half_a_character_becomes_a_question_mark_and_broken_utf8_is_marked() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a?b"
    assert tokenizer.decode([0xC3 + 4, ord("x") + 4]) == "\ufffdx"


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_many_texts_are_tokenised_as_each_of_them(kind: str, tmp_path: Path) -> None:
    tokenizer = find_tokenizer("byte" if kind == "byte" else str(train_bpe(tmp_path)))
    texts = ["Once upon a time", "", "12 + 34 = 46", "naïve – 東京"]
    tokens, lengths = tokenizer.encode_all(texts)
    assert np.array_equal(tokens, np.concatenate([tokenizer.encode(text) for text in texts]))
    assert lengths.tolist() == [len(tokenizer.encode(text)) for text in texts]
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in texts)


def test_special_tokens_come_from_the_configuration_or_from_their_usual_names(tmp_path: Path) -> None:
    folder = train_bpe(tmp_path, ("<|endoftext|>", "<s>", "</s>", "<pad>"))
    plain = find_tokenizer(str(folder / "tokenizer.json"))
    assert plain.start == plain.end == plain.pad == 0
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": "<pad>", "chat_template": 5}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    found = find_tokenizer(str(folder))
    assert (found.start, found.end, found.pad) == (1, 2, 3)
    assert found.decode([1, *found.encode("yes"), 2]) == "yes"
    assert found.vocab_size == 400


def test_a_tokenizer_is_opened_again_where_it_was_written(tmp_path: Path) -> None:
    source = train_bpe(tmp_path / "source", ("</s>", "<s>"))
    (source / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    for tokenizer in (ByteTokenizer(), find_tokenizer(str(source))):
        write_tokenizer(tmp_path, tokenizer)
        found = open_tokenizer(tmp_path)
        assert (found.name, found.start, found.end, found.pad, found.vocab_size) == (
            tokenizer.name,
            tokenizer.start,
            tokenizer.end,
            tokenizer.pad,
            tokenizer.vocab_size,
        )
        assert found.encode("a story") == tokenizer.encode("a story")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", r"tokenizer\.json cannot be read .*\n.*take it from its source"),
        ("not json", "cannot be read"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content, errors="surrogateescape")
    with pytest.raises(DataError, match=message):
        find_tokenizer(str(tmp_path))


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no token that ends a text .*\n.*eos_token"):
        find_tokenizer(str(train_bpe(tmp_path / "endless", ("<unk>",))))
    with pytest.raises(DataError, match=r"cannot write 0 1 2 .*\n.*byte or another"):
        find_tokenizer(str(train_bpe(tmp_path / "small", bytes_first=False)))
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        find_tokenizer(str(tmp_path / "none.json"))
    with pytest.raises(DataError, match=r"tokenizer\.json: cannot be read"):
        find_tokenizer(str(tmp_path))
    (tmp_path / "tokens.json").write_text("[]")
    with pytest.raises(DataError, match="does not describe a tokenizer"):
        open_tokenizer(tmp_path)


def test_a_hub_that_is_not_there_says_how_to_go_on_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        DataError, match=r"nobody/none: tokenizer\.json cannot be fetched .*\n.*data\.tokenizer to byte"
    ):
        find_tokenizer("nobody/none")


def test_truncation_and_padding_of_its_file_are_not_applied(tmp_path: Path) -> None:
    folder = train_bpe(tmp_path)
    inner = Trained.from_file(str(folder / "tokenizer.json"))
    inner.enable_truncation(3)
    inner.enable_padding(length=9)
    inner.save(str(folder / "tokenizer.json"))
    tokenizer = find_tokenizer(str(folder))
    assert isinstance(tokenizer, HuggingFaceTokenizer)
    assert tokenizer.decode(tokenizer.encode("a long enough story")) == "a long enough story"
    assert len(tokenizer.encode("a")) == 1


def test_a_special_token_that_a_text_happens_to_write_is_text(tmp_path: Path) -> None:
    source = train_bpe(tmp_path / "source", ("<|endoftext|>", "<s>"))
    found = find_tokenizer(str(source))
    write_tokenizer(tmp_path, found)
    text = "one <|endoftext|> two<s>"
    for tokenizer in (found, open_tokenizer(tmp_path)):
        assert {0, 1}.isdisjoint(tokenizer.encode(text))
        assert {0, 1}.isdisjoint(tokenizer.encode_all([text])[0].tolist())
        assert tokenizer.decode([*tokenizer.encode(text), tokenizer.end]) == text
