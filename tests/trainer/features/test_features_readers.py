"""Readers: the same text gives the same vectors, whatever is read with it; what cannot be read says what to do."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainer.features.readers import Reader, open_reader
from trainer.features.readers.hub import refusal
from trmkit.errors import DataError, SpecError
from trmkit.spec.features import FeaturesSection

TEXTS = ["one", "Input:\n1 2\n3 4", "a longer text " * 9, "x", "Test Input:\n" + "0 1 2\n" * 30]
POOLINGS = ("last", "mean", "last_k", "sequence")


def section(reader: str, **keys: Any) -> FeaturesSection:
    return FeaturesSection.model_validate({"reader": reader, "width": 64, "k": 4, "max_length": 256, **keys})


@pytest.fixture(params=["hash", "llama"])
def opened(request: pytest.FixtureRequest) -> Callable[..., Reader]:
    """Return a function that opens one reader after the other, by keys of the section."""
    name = "hash" if request.param == "hash" else str(request.getfixturevalue("tiny_llama"))
    return lambda **keys: open_reader(section(name, **keys))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_vector_does_not_depend_on_what_is_read_with_it(
    opened: Callable[..., Reader], pooling: str, dtype: str
) -> None:
    alone, together = opened(pooling=pooling, dtype=dtype, batch_size=1), opened(pooling=pooling, dtype=dtype)
    whole = together.read(TEXTS)
    assert whole.dtype == np.float16
    assert whole.shape == (len(TEXTS), {"last_k": 4, "sequence": 256}.get(pooling, 1), 64)
    assert np.array_equal(whole, np.concatenate([alone.read([text]) for text in TEXTS]))
    assert np.array_equal(whole[::-1], together.read(TEXTS[::-1]))
    assert len(np.unique(whole.reshape(len(TEXTS), -1), axis=0)) == len(TEXTS)


def test_what_a_short_text_lacks_is_zeros_behind_the_rest(opened: Callable[..., Reader]) -> None:
    found = opened(pooling="last_k", dtype="float32").read(["x", "a b c d e f g"])
    assert found[0, 0].any()
    assert not found[0, 1:].any()
    assert found[1].any(axis=-1).all()


def test_the_poolings_agree_with_each_other(opened: Callable[..., Reader]) -> None:
    found = {pooling: opened(pooling=pooling, dtype="float32").read(TEXTS) for pooling in POOLINGS}
    for text in range(len(TEXTS)):
        words = int(found["sequence"][text].any(axis=-1).sum())
        kept = found["sequence"][text, max(0, words - 4) : words]
        assert np.array_equal(found["last_k"][text, : len(kept)], kept)
        assert np.array_equal(found["last"][text, 0], kept[-1])


def test_a_text_that_is_too_long_loses_its_beginning(opened: Callable[..., Reader]) -> None:
    reader = opened(pooling="sequence", max_length=8, dtype="float32", k=8)
    found = reader.read(["a b c d e f g h i j k l"])
    assert found.shape == (1, 8, 64)
    assert found.any(axis=-1).all()


def test_the_reader_without_weights_gives_these_bits_everywhere() -> None:
    reader = open_reader(section("hash", width=8))
    found = reader.read(["Example 1:\nInput:\n1 2\n3 4\nOutput:\n0"])
    assert (np.sqrt((found.astype(np.float64) ** 2).mean(-1)) - 1 < 1e-3).all()
    assert found.view(np.uint16).ravel().tolist() == KNOWN


KNOWN = [15707, 47397, 48475, 48180, 15013, 14629, 48245, 14833]


def test_the_identity_of_a_model_in_a_folder_is_its_content(tiny_llama: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(tiny_llama, tmp_path / "copied")
    known = open_reader(section(str(tiny_llama))).identity
    assert open_reader(section(str(copied))).identity == known
    weights = copied / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert open_reader(section(str(copied))).identity != known


def test_another_width_than_the_model_s_names_both_keys(tiny_llama: Path) -> None:
    with pytest.raises(SpecError, match=r"features.width: .* of 64 numbers, not 32") as error:
        open_reader(section(str(tiny_llama), width=32))
    assert error.value.next == "--set features.width=64 --set model.text_hidden_size=64"


@pytest.mark.parametrize(
    ("factor", "dtype", "message", "remedy"),
    [
        (1e6, "float32", "above 65,504", "another features.reader"),
        (1e6, "bfloat16", "above 65,504", "another features.reader"),
        (1e6, "float16", "not finite in float16", "features.dtype=bfloat16"),
        (float("nan"), "float32", "not finite in float32", "weights are whole"),
    ],
)
def test_numbers_that_cannot_be_kept_are_refused_with_what_helps(
    tiny_llama: Path, factor: float, dtype: str, message: str, remedy: str
) -> None:
    reader: Any = open_reader(section(str(tiny_llama), dtype=dtype))
    reader._model.norm.weight.data.mul_(factor)
    with pytest.raises(DataError, match=message) as error:
        reader.read(["a"])
    assert remedy in error.value.next


def test_four_bits_need_a_gpu(tiny_llama: Path) -> None:
    with pytest.raises(SpecError, match=r"features.quantize: 4bit needs a GPU with CUDA"):
        open_reader(section(str(tiny_llama), quantize="4bit"), torch.device("cpu"))


def test_a_folder_that_is_not_there_or_holds_no_model_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder /nowhere/model"):
        open_reader(section("/nowhere/model"))
    with pytest.raises(DataError, match=r"config.json of .* cannot be loaded"):
        open_reader(section(str(tmp_path)))


def test_without_transformers_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DataError, match="transformers, which is not installed") as error:
        open_reader(section("some/model"))
    assert "pip install 'trmctl[llm]'" in error.value.next


@pytest.mark.parametrize(
    ("kind", "said", "message", "remedy"),
    [
        ("GatedRepoError", "", "accepted its licence", "HF_TOKEN"),
        ("RepositoryNotFoundError", "", "the hub has no model", "correct the id"),
        ("RevisionNotFoundError", "", "no such revision", "features.revision"),
        ("OfflineModeIsEnabled", "", "the hub cannot be reached", "hf download some/model"),
        ("OSError", "We couldn't connect to 'https://huggingface.co'", "the hub cannot be reached", "HF_HOME"),
        ("ValueError", "odd", "its weights of some/model cannot be loaded: odd", "LLaMA architecture"),
    ],
)
def test_what_the_hub_refuses_says_what_to_do(kind: str, said: str, message: str, remedy: str) -> None:
    cause = type(kind, (Exception,), {})(said)
    error = OSError(said or "something about a model")
    error.__cause__ = cause
    found = refusal("some/model", "its weights", error)
    assert message in found.message
    assert remedy in found.next


def test_a_model_that_was_never_published_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ValueError, match=r"there is no meta-llama/Llama-3.2-8B-Instruct; use .*Llama-3.1-8B"):
        section("meta-llama/Llama-3.2-8B-Instruct")
