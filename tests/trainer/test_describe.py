"""What a run will cost: counts, arithmetic, bytes and time, without allocating what it describes."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainer.helpers import change, train_alone
from trainer import checkpoint, data
from trainer.candidates import find_checkpoint
from trainer.data.store import read_split
from trainer.data.stream import Rows
from trainer.describe import PEAK_TFLOPS, describe_run, description
from trainer.state import make_model
from trmkit.errors import DataError, SpecError
from trmkit.ladder import VARIANTS
from trmkit.spec.load import load, loads
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

NOWHERE = "storage.data=/nonexistent/data", "storage.path=/nonexistent/runs"
MLP = "mlp_t: true, pos_encodings: none"
KEYS: dict[str, set[str]] = {
    "": {
        "name", "family", "model", "data", "parameters", "flops", "processes", "memory", "disk", "time",
    },
    "data": {"built", "rows", "groups", "cells", "vocabulary", "identifiers"},
    "parameters": {"trainable", "core", "table", "buffers", "total"},
    "flops": {"per_sample", "per_token", "per_update", "training"},
    "memory": {
        "weights", "gradients", "optimizer", "ema", "puzzle_table", "carry", "activations", "total",
    },
    "disk": {"dataset", "checkpoint", "run"},
    "time": {"updates", "rows_per_second", "seconds", "basis"},
}  # fmt: skip


def run_of(source: str, model: str = "", *overrides: str) -> RunFile:
    text = f"""
name: described
model: {{family: trm, {model}}}
data: {{source: {source}}}
train: {{epochs: 50000}}
"""
    return loads(text, "described.yaml", [*NOWHERE, *overrides])


@cache
def described(source: str, model: str = "", *overrides: str) -> dict[str, Any]:
    return description(run_of(source, model, *overrides))


@pytest.mark.parametrize(
    ("source", "model", "parameters", "gigaflops"),
    [
        ("sudoku", MLP, 5_028_866, 42.7),
        ("sudoku", MLP + ", puzzle_emb_ndim: 0, puzzle_emb_len: 0", 4_855_298, 31.2),
        ("sudoku", "", 6_828_034, 47.6),
        ("maze", "L_cycles: 4", 6_822_914, 398),
    ],
    ids=["sudoku-mlp", "sudoku-mlp-without-prefix", "sudoku-attention", "maze"],
)
def test_published_models_need_the_arithmetic_worked_out_by_hand(
    source: str, model: str, parameters: int, gigaflops: float
) -> None:
    found = described(source, model)
    assert found["parameters"]["trainable"] == parameters
    assert found["flops"]["per_sample"] / 1e9 == pytest.approx(gigaflops, rel=0.01)
    assert found["flops"]["per_update"] == 768 * found["flops"]["per_sample"]
    assert not found["data"]["built"]


def test_the_length_of_training_is_counted_as_in_the_reference() -> None:
    found = described("sudoku", MLP)
    assert found["flops"]["training"] == 65_104 * found["flops"]["per_update"]
    assert found["data"]["rows"] == 1_001_000


def test_the_keys_are_those_that_were_promised() -> None:
    found = json.loads(describe_run(run_of("sudoku", MLP), "json", rate=100.0))
    assert found.keys() == KEYS[""]
    for name, keys in KEYS.items():
        if name:
            assert found[name].keys() == keys
    assert sum(value for key, value in found["memory"].items() if key != "total") == found["memory"]["total"]
    parts = ("trainable", "table", "buffers")
    assert sum(found["parameters"][key] for key in parts) == found["parameters"]["total"]


def test_the_table_says_what_the_json_says() -> None:
    text = describe_run(run_of("sudoku", MLP), "table", rate=1000.0)
    assert "5,028,866  trainable" in text
    assert "1,001,000 rows of 81 cells" in text
    assert "estimated: the data set is not built yet" in text
    assert "13.9 h  for 65,104 updates, by the given rate" in text


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_rung_of_the_ladder_is_described_by_its_variant_and_size(variant: str) -> None:
    size = "nano"
    run = load("configs/ladder-nano.yaml", [f"model.variant={variant}", f"model.size={size}"])
    found = json.loads(describe_run(run, "json", gpu="H100"))
    assert found["model"] == f"ladder {variant} {size}"
    assert found["flops"]["per_token"] > 4 * found["parameters"]["trainable"]
    assert found["time"]["updates"] == 611
    said = describe_run(run, "table")
    assert "rows of 1,024 tokens, 9,765 in the first phase" in said
    assert not re.search("cells|groups", said)


@pytest.mark.parametrize(("source", "model", "megabytes"), [("sudoku", "", 24.6), ("maze", "L_cycles: 4", 164.8)])
def test_attention_is_counted_as_the_fused_kernel_keeps_it(source: str, model: str, megabytes: float) -> None:
    assert described(source, model)["memory"]["activations"] / 768 / 1e6 == pytest.approx(megabytes, rel=0.01)


def test_recomputing_activations_keeps_a_small_part_of_them() -> None:
    kept = described("sudoku", "")["memory"]["activations"]
    recomputed = described("sudoku", "", "train.activation_checkpointing=true")["memory"]["activations"]
    assert recomputed < kept / 10


def test_activations_are_what_the_cpu_keeps_for_a_model_without_attention(small_run: RunFile) -> None:
    run = change(small_run, "model.mlp_t=true", "model.pos_encodings=none")
    folder = data.build(run.data, Path(run.storage.data))
    found = description(run)
    assert found["data"]["built"]
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    cpu, split = torch.device("cpu"), read_split(folder, "train")
    model = make_model(run, split.metadata, cpu).train()
    batch = Rows(split, cpu, on_device=False).get(torch.arange(run.train.batch_size))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(None, batch)
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    measured = sum(value.untyped_storage().nbytes() for key, value in kept.items() if key not in weights)
    assert found["memory"]["activations"] == pytest.approx(measured, rel=0.01)


def test_a_process_holds_its_share_of_the_rows() -> None:
    alone = described("sudoku", MLP)["memory"]
    shared = described("sudoku", MLP, "cluster.nodes=2", "cluster.gpus_per_node=4")
    parts = described("sudoku", MLP, "train.accumulate=4")["memory"]
    assert shared["processes"] == 8
    assert shared["memory"]["carry"] == alone["carry"] / 8
    assert shared["memory"]["weights"] == alone["weights"]
    assert parts["activations"] < alone["activations"] / 3.9
    assert parts["carry"] == alone["carry"]


def test_the_average_is_counted_when_there_is_one() -> None:
    assert described("sudoku", MLP, "train.ema=0")["memory"]["ema"] == 0
    assert described("sudoku", MLP)["memory"]["ema"] == 4 * 5_028_866


class LargestOnCpu(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers the size of the largest tensor that was made outside the meta device."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for value in found if isinstance(found, tuple | list) else (found,):
            if isinstance(value, torch.Tensor) and value.device.type != "meta":
                self.largest = max(self.largest, value.untyped_storage().nbytes())
        return found


def test_nothing_large_is_allocated() -> None:
    tasks = "arc, collections: [arc1/training], test: arc1/training, max_puzzles: 200"
    with LargestOnCpu() as watched:  # type: ignore[no-untyped-call]
        found = description(run_of(tasks, "L_cycles: 1, H_cycles: 1"))
    assert found["memory"]["puzzle_table"] > 400e6
    assert found["memory"]["activations"] > 10e9
    assert watched.largest < 1e6


def test_the_estimated_checkpoint_has_the_size_of_a_real_one(small_run: RunFile) -> None:
    run = change(small_run, "model.hidden_size=64", "train.steps=2", "evaluate.every_steps=null")
    train_alone(run)
    found = description(run)["disk"]
    files = [path.stat().st_size for path in find_checkpoint(RunDirectory.of(run), "last").path.iterdir()]
    assert found["checkpoint"] == pytest.approx(sum(files), rel=0.05)
    folder = data.build(run.data, Path(run.storage.data)) / "train"
    assert found["dataset"] == sum(np.load(folder / f"all__{name}.npy").nbytes for name in ("inputs", "labels"))
    assert found["run"] == 3 * found["checkpoint"]


def test_a_folder_is_described_by_what_is_in_it(small_run: RunFile) -> None:
    folder = data.build(small_run.data, Path(small_run.storage.data))
    found = description(
        run_of(f"folder, path: {folder}", "hidden_size: 16, num_heads: 2, puzzle_emb_ndim: 16, L_cycles: 1")
    )
    assert found["data"] == {
        "built": True, "rows": 160, "groups": 40, "cells": 16, "vocabulary": 6, "identifiers": 1,
    }  # fmt: skip


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        description(run_of(f"folder, path: {tmp_path / 'none'}"))


def test_time_on_a_gpu_follows_from_its_peak(small_run: RunFile) -> None:
    found = description(small_run, gpu="rtx 4090")
    seconds = found["flops"]["training"] / (0.3 * PEAK_TFLOPS["RTX4090"] * 1e12)
    assert found["time"]["seconds"] == pytest.approx(seconds)
    assert found["time"]["updates"] == 12
    assert found["time"]["rows_per_second"] == pytest.approx(12 * 8 / seconds)
    assert found["time"]["basis"] == "1 x RTX4090 at 30% of 165 TFLOP/s (assumed)"


def test_an_unknown_gpu_is_refused_with_the_known_ones(small_run: RunFile) -> None:
    with pytest.raises(SpecError, match="abacus") as refused:
        description(small_run, gpu="abacus")
    assert all(name in refused.value.next for name in PEAK_TFLOPS)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(small_run: RunFile, rate: float) -> None:
    with pytest.raises(SpecError, match="rows per second"):
        description(small_run, rate=rate)


def test_the_rate_of_the_run_itself_is_used_once_there_is_one(small_run: RunFile) -> None:
    assert description(small_run)["time"] is None
    assert "give --gpu NAME or --rate ROWS_PER_SECOND" in describe_run(small_run, "table")
    directory = RunDirectory.of(small_run)
    directory.root.mkdir(parents=True)
    rates = [1.0, 50.0, 40.0]
    lines = [{"kind": "train", "step": step, "rows_per_second": rate} for step, rate in enumerate(rates)]
    directory.metrics.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"kind": "eval", "step": 9}]))
    found = description(small_run)["time"]
    assert found["rows_per_second"] == 40
    assert found["seconds"] == pytest.approx(12 * 8 / 40)
    assert found["basis"] == "the median rate of this run so far"


def test_describing_leaves_nothing_behind(small_run: RunFile) -> None:
    description(small_run)
    assert not checkpoint.steps(RunDirectory.of(small_run).checkpoints)
    assert not RunDirectory.of(small_run).root.exists()
