"""What the tests of text features share: a few small ARC tasks, a run that reads them, a tiny language model."""

import json
from pathlib import Path
from typing import Any

import pytest

from trmkit.spec.load import loads
from trmkit.spec.run import RunFile

TASKS = ("one", "two", "three")
RUN = """
name: reading
model: {{family: hybrid, hidden_size: 16, num_heads: 2, H_cycles: 2, L_cycles: 1, halt_max_steps: 3,
        forward_dtype: float32, conditioning: [text_add], text_hidden_size: 64}}
data: {{source: arc, collections: [{root}/tasks], test: {root}/tasks, canvas: 6, num_aug: 2}}
features: {{reader: hash, width: 64, max_length: 1024}}
train: {{steps: 6, batch_size: 8, warmup_steps: 2, lr: 1e-3, threads: 1, device: cpu,
        checkpoint: {{every_steps: 3, every_minutes: null}}, log: {{every_steps: 3}}}}
evaluate: {{every_steps: null, examples: 2}}
storage: {{path: {root}/runs, data: {root}/data}}
"""


def task(number: int) -> dict[str, Any]:
    """Return a task of three demonstrations and one test pair."""
    pairs = [{"input": [[k, 0], [0, k], [number, number]], "output": [[0, k], [k, number]]} for k in (1, 2, 3, 4)]
    return {"train": pairs[:3], "test": pairs[3:]}


@pytest.fixture
def reading_run(tmp_path: Path) -> RunFile:
    """Return a run on three tasks in three variants each, read by the reader without weights."""
    (tmp_path / "tasks").mkdir()
    for number, name in enumerate(TASKS):
        (tmp_path / "tasks" / f"{name}.json").write_text(json.dumps(task(number)))
    return loads(RUN.format(root=tmp_path), "reading.yaml")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random language model with a token for each byte."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: no language model read")
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("llama")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {letter: number for number, letter in enumerate([*alphabet, "<s>", "</s>"])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.LlamaConfig(
            vocab_size=260, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2,
        )  # fmt: skip
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder
