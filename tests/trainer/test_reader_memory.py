"""What the reader of text takes, before anyone loads it."""

import json
from pathlib import Path

from trainer.describe import description, memory_by_stage
from trainer.reader_memory import reader_memory, shape_of
from trmkit.spec.features import FeaturesSection
from trmkit.spec.load import load

LLAMA_8B = 8_030_261_248 - 525_336_576
"""Weights of the published model without its head."""
TINY = {
    "vocab_size": 260, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip


def test_the_weights_of_the_default_reader_are_those_it_is_published_with() -> None:
    shape = shape_of(FeaturesSection())
    assert shape is not None
    assert shape.embedding + shape.linear + shape.norms == LLAMA_8B
    found = reader_memory(FeaturesSection())
    assert found is not None
    assert found["reader"] == 2 * LLAMA_8B


def test_four_bits_make_the_linear_layers_smaller_and_nothing_else() -> None:
    found = reader_memory(FeaturesSection(quantize="4bit"))
    assert found is not None
    assert 4.2 * 2**30 < found["reader"] < 4.6 * 2**30


def test_a_reader_in_a_folder_is_as_large_as_its_configuration_says(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    shape = shape_of(FeaturesSection(reader=str(tmp_path)))
    assert shape is not None
    attention = 64 * 64 * 2 + 64 * 32 * 2
    assert shape.embedding + shape.linear + shape.norms == 260 * 64 + 2 * (attention + 3 * 64 * 128 + 128) + 64


def test_of_an_unknown_reader_nothing_is_said(tmp_path: Path) -> None:
    assert reader_memory(FeaturesSection(reader="some/where-else")) is None
    (tmp_path / "config.json").write_text("{}")
    assert reader_memory(FeaturesSection(reader=str(tmp_path))) is None


def test_training_holds_the_reader_only_where_it_reads_as_it_trains() -> None:
    training = {"weights": 5, "activations": 7, "total": 12}
    for online, held in ((False, 0), (True, 2 * LLAMA_8B)):
        run = load("configs/hybrid-phase1.yaml", [f"features.online={str(online).lower()}"])
        train = memory_by_stage(run, training)["train"]
        assert train is not None
        assert train.get("reader", 0) == held


def test_reader_and_the_larger_core_fit_the_forty_gigabytes_that_were_claimed() -> None:
    run = load("configs/hybrid-mvp.yaml")
    online = memory_by_stage(run, description(run)["memory"])["online"]
    assert online is not None
    assert 2 * LLAMA_8B < sum(online.values()) < 40e9
