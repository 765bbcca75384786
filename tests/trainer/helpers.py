"""Small things that several tests of the trainer do."""

import json
import socket
from pathlib import Path

import torch
from torch import Tensor

from trainer import checkpoint
from trainer.dist import World
from trainer.train import train
from trmkit.spec.load import dump, loads
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import sha256

TASKS = ("apple", "banana", "cherry", "damson")
"""Names of the tasks of the fixture `arc_run`."""

SMALL_RUN = """
name: small
model: {family: trm, hidden_size: 16, num_heads: 2, H_cycles: 2, L_cycles: 1, halt_max_steps: 3,
        puzzle_emb_ndim: 16, puzzle_emb_len: 1, forward_dtype: float32}
data: {source: sudoku-generated, side: 4, train_puzzles: 40, test_puzzles: 24, num_aug: 3}
train: {steps: 12, batch_size: 8, warmup_steps: 2, lr: 1e-3, threads: 1, device: cpu,
        checkpoint: {every_steps: 4, every_minutes: null}, log: {every_steps: 3}}
evaluate: {every_steps: 6, sample: 16, fit_sample: 8, examples: 4}
"""


def change(run: RunFile | None, *overrides: str) -> RunFile:
    """Return the small run, or `run`, with some keys changed."""
    return loads(SMALL_RUN if run is None else dump(run), "small.yaml", overrides)


def train_alone(run: RunFile) -> int:
    """Train in this process."""
    return train(run, RunDirectory.of(run), World(0, 1, 0, torch.device("cpu")))


def final_state(run: RunFile) -> dict[str, Tensor]:
    """Train `run` in this process and return its weights, averages and moments at the end."""
    train_alone(run)
    return newest_state(run)


def newest_state(run: RunFile) -> dict[str, Tensor]:
    """Return weights, averages and moments of the newest checkpoint of `run`."""
    found = checkpoint.newest(RunDirectory.of(run).checkpoints)
    assert found is not None
    files = ("model", "ema", "optimizer")
    return {f"{name}/{key}": value for name in files for key, value in found.tensors(f"{name}.safetensors").items()}


def expect_near(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare tensors as wholes, to what sums in another order may differ by; updates by sign make more of that."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float((found[name] - value).norm()) <= 1e-3 * float(value.norm()) + 1e-7, name


def fingerprint(root: Path) -> dict[str, str]:
    """Return the SHA-256 of everything the newest checkpoint holds but its times."""
    found = checkpoint.newest(root)
    assert found is not None
    state = {name: value for name, value in found.json("state.json").items() if name != "seconds"}
    hashes = {name: sha256(found.path / name) for name in sorted(found.files) if name != "state.json"}
    return hashes | {"state.json": json.dumps(state, sort_keys=True)}


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
