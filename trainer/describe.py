"""What a run costs, before anyone pays for a node: parameters, arithmetic, memory, disk, time.

Nothing is allocated: the model is built on torch's meta device and one step is traced there. The keys of the JSON are
a promise to scripts; `docs/describe.md` explains each.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from trainer.data.expect import expected
from trainer.data.store import Metadata
from trainer.depth import mean_row_flops, pursue, row_flops
from trainer.flops import PEAK_TFLOPS, operations
from trainer.metrics import read_lines
from trainer.models import TrainableModel
from trainer.models import build as build_model
from trainer.models.base import Batch, SparseEmbedding
from trainer.models.prepare import prepare
from trainer.reader_memory import reader_memory
from trainer.state import total_steps
from trmkit.errors import SpecError
from trmkit.spec.curriculum import CurriculumData
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.words import size

UTILISATION = 0.3
"""Part of the peak that training of so small a model is assumed to reach. Published runs: 0.05 to 0.4."""


def describe_run(
    run: RunFile, output: str, *, gpu: str | None = None, rate: float | None = None, memory: bool = False
) -> str:
    """Return the description of `run` as text, `output` being `table` or `json`; of its `memory` alone if asked."""
    found = description(run, gpu=gpu, rate=rate)
    if memory:
        budget = memory_by_stage(run, found["memory"])
        return json.dumps(budget, indent=2) if output == "json" else "\n".join(_budget(found["name"], budget))
    text = isinstance(run.data, CurriculumData)
    return json.dumps(found, indent=2) if output == "json" else _table(found, text=text)


def description(run: RunFile, *, gpu: str | None = None, rate: float | None = None) -> dict[str, Any]:
    """Return the description of `run`: counts, FLOPs, and bytes per process. SpecError: an unknown GPU."""
    data, rows, built = expected(run.data, Path(run.storage.data))
    found = costs(run, data)
    made = getattr(run.data, "augment", "stored") == "on_the_fly"  # a number for each row, and two indices
    dataset = 0 if isinstance(run.data, CurriculumData) else rows * (16 if made else data.seq_len * 2)
    checkpoint = found.pop("checkpoint")
    per_update, updates, processes = found["flops"]["per_update"], total_steps(run, data), found["processes"]
    return {
        "name": run.name,
        "family": run.model.family,
        "model": run.model.title,
        "data": {
            "built": built,
            "rows": rows,
            "groups": data.total_groups,
            "cells": data.seq_len,
            "vocabulary": data.vocab_size,
            "identifiers": data.num_puzzle_identifiers,
        },
        **found,
        "disk": {"dataset": dataset, "checkpoint": checkpoint, "run": checkpoint * (run.train.checkpoint.keep + 1)},
        "time": _time(run, per_update, updates, processes, gpu, rate),
    }


def costs(run: RunFile, data: Metadata) -> dict[str, Any]:
    """Return what training of `run` on `data` takes: `parameters`, `flops`, `processes`, `memory`, and `checkpoint`.

    The last two are in bytes, memory per process.
    """
    with torch.device("meta"):
        model = build_model(run.model, data.vocab_size, data.seq_len, data.num_puzzle_identifiers)
    prepare(model, run.train.model_copy(update={"compile": False}))
    pursue(model, run)
    processes = max(1, run.cluster.nodes * max(1, run.cluster.gpus_per_node))
    traced, parameters = _trace(model), _parameters(model)
    updates = total_steps(run, data)
    if data.windows:
        traced["flops"] = row_flops(run, data, None)
    mean = mean_row_flops(run, data, updates) if run.train.recursion else traced["flops"]
    per_update = mean * run.train.batch_size * model.calls_per_update
    memory = _memory(run, parameters, traced, max(1, run.train.batch_size // processes))
    checkpoint = 4 * (parameters["total"] + parameters["trainable"] * (3 if run.train.ema else 2))
    return {
        "parameters": parameters,
        "flops": {
            "per_sample": traced["flops"],
            "per_token": traced["flops"] / data.seq_len,
            "per_update": per_update,
            "training": per_update * updates,
        },
        "processes": processes,
        "memory": memory | {"total": sum(memory.values())},
        "checkpoint": checkpoint + traced["carry"] * run.train.batch_size,
    }


def memory_by_stage(run: RunFile, training: dict[str, int]) -> dict[str, dict[str, int] | None]:
    """Return the bytes each stage takes on a device, by what they are for; None: the reader's sizes are not known.

    `train` holds the reader only where it reads as it trains; what it would take then is `online`, in any case.
    """
    train = {name: value for name, value in training.items() if name != "total"}
    if run.features is None:
        return {"train": train}
    reader = reader_memory(run.features)
    online = None if reader is None else reader | train
    return {"features": reader, "train": online if run.features.online else train, "online": online}


def _budget(name: str, budget: dict[str, dict[str, int] | None]) -> list[str]:
    lines = [f"{name}: memory of each process"]
    for stage, parts in budget.items():
        lines.append(f"  {STAGE_WORDS[stage]}")
        if parts is None:
            lines.append("    the reader's sizes are not known here; give features.reader a folder that has it")
            continue
        lines += [f"    {size(value):>15}  {part.replace('_', ' ')}" for part, value in parts.items()]
        lines.append(f"    {size(sum(parts.values())):>15}  in all")
    return lines


def _parameters(model: TrainableModel) -> dict[str, int]:
    table = sum(m.weights.numel() for m in model.modules() if isinstance(m, SparseEmbedding))
    trainable = sum(p.numel() for p in model.parameters())
    embeddings = sum(p.numel() for name, p in model.named_parameters() if name.endswith("embedding_weight"))
    buffers = sum(value.numel() for value in model.state_dict().values()) - trainable - table
    core = trainable - embeddings
    return {
        "trainable": trainable,
        "core": core,
        "table": table,
        "buffers": buffers,
        "total": trainable + table + buffers,
    }


def _trace(model: TrainableModel) -> dict[str, int]:
    """Trace a training step: FLOPs of a row (2 per multiply-add), bytes kept for the backward pass, bytes of carry.

    Of what is kept, some grows with the rows, some (weights cast to another type) does not: two sizes tell them apart.
    """
    flops, here = operations(model), torch.device("meta")
    one, two = (kept_bytes(model, model.blank_batch(rows, here)) for rows in (1, 2))
    carry = model.initial_carry(model.blank_batch(1, here)) or {}
    return {
        "flops": flops,
        "activations": two - one,
        "activations_fixed": max(0, 2 * one - two),
        "carry": sum(value.nbytes for value in carry.values()),
    }


STAGE_WORDS = {
    "features": "features: the reader, once for each prompt",
    "train": "train, as the run file has it",
    "online": "reader and training on one device (features.online: true)",
}


class _FusedAttention(TorchFunctionMode):
    """Traces attention as the fused kernel of a GPU, which keeps no T x T matrix; the meta device has only another."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_flash_attention(*args)[0]
        return func(*args, **(kwargs or {}))


def kept_bytes(model: TrainableModel, batch: Batch) -> int:
    """Return the bytes that the forward pass of a training step keeps for the backward pass."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    saved: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        key = tensor.untyped_storage()._cdata
        if key not in weights:
            saved[key] = tensor  # held, so that no later storage gets the same key
        return tensor

    carry = model.initial_carry(batch)
    with _FusedAttention(), saved_tensors_hooks(note, lambda tensor: tensor):
        model(carry, batch)
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())


def _memory(run: RunFile, parameters: dict[str, int], traced: dict[str, int], rows: int) -> dict[str, int]:
    weights = 4 * parameters["trainable"]
    return {
        "weights": weights + 4 * parameters["buffers"],
        "gradients": weights,
        "optimizer": 2 * weights,
        "ema": weights if run.train.ema else 0,
        "puzzle_table": 4 * parameters["table"],
        "carry": traced["carry"] * rows,
        "activations": traced["activations"] * -(-rows // run.train.accumulate) + traced["activations_fixed"],
    }


def _time(
    run: RunFile, per_update: int, updates: int, processes: int, gpu: str | None, rate: float | None
) -> dict[str, Any] | None:
    """Return the estimated time of the training and what it rests on; None when there is nothing to go by."""
    if gpu is not None:
        name = gpu.upper().replace(" ", "").replace("-", "")
        if name not in PEAK_TFLOPS:
            raise SpecError(f"--gpu: {gpu!r} is not known", next=f"one of {', '.join(PEAK_TFLOPS)}; or give --rate")
        seconds = per_update / (PEAK_TFLOPS[name] * 1e12 * UTILISATION * processes)
        basis = f"{processes} x {name} at {UTILISATION:.0%} of {PEAK_TFLOPS[name]} TFLOP/s (assumed)"
        rate = run.train.batch_size / seconds
    elif rate is not None:
        if not 0 < rate < math.inf:
            raise SpecError(f"--rate: {rate} is no number of rows per second", next="give a number above 0")
        basis = "the given rate"
    else:
        rates = [
            line["rows_per_second"] for line in read_lines(RunDirectory.of(run).metrics) if line["kind"] == "train"
        ]
        if not rates:
            return None
        rate, basis = sorted(rates)[len(rates) // 2], "the median rate of this run so far"
    return {
        "updates": updates,
        "rows_per_second": rate,
        "seconds": updates * run.train.batch_size / rate,
        "basis": basis,
    }


def _table(found: dict[str, Any], *, text: bool) -> str:
    lines = [f"{found['name']} ({found['model']})"]
    data = found["data"]
    if text:
        lines.append(f"  data        rows of {data['cells']:,} tokens, {data['rows']:,} in the first phase")
    else:
        source = "as built" if data["built"] else "estimated: the data set is not built yet"
        lines.append(
            f"  data        {data['rows']:,} rows of {data['cells']} cells, {data['groups']:,} groups ({source})"
        )
    names = {
        "trainable": "trainable",
        "core": "without embeddings",
        "table": "puzzle table",
        "buffers": "buffers",
        "total": "total",
    }
    lines += [f"  parameters  {found['parameters'][key]:>15,}  {name}" for key, name in names.items()]
    lines += [f"  FLOPs       {value:>15.3g}  {key.replace('_', ' ')}" for key, value in found["flops"].items()]
    lines += [f"  memory      {size(value):>15}  {key.replace('_', ' ')}" for key, value in found["memory"].items()]
    lines += [f"  disk        {size(value):>15}  {key}" for key, value in found["disk"].items()]
    if found["processes"] > 1:
        lines.append(f"  memory is per process, {found['processes']} processes")
    time = found["time"]
    if time is None:
        lines.append("  time        give --gpu NAME or --rate ROWS_PER_SECOND")
    else:
        hours = time["seconds"] / 3600
        length = f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
        lines.append(f"  time        {length:>15}  for {time['updates']:,} updates, by {time['basis']}")
    return "\n".join(lines)
