"""Whether a training has room in the memory of its device, said before anything is built or loaded."""

import os
from pathlib import Path

import torch

from trainer.data.expect import expected
from trainer.dist import World
from trainer.models import build as build_model
from trainer.models.base import SparseEmbedding
from trmkit.errors import TrainError
from trmkit.spec.data import ArcData
from trmkit.spec.run import RunFile

FLOAT = 4
"""Bytes of a value. Weights, moments, average and table are float32, whatever the forward pass computes in."""

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def refuse_what_does_not_fit(run: RunFile, world: World) -> None:
    """TrainError: table and weights of `run`, with their gradients, moments and average, are more than the memory.

    Activations come on top, so what passes may still run out; what is refused would do so for sure.
    """
    room = device_memory(world)
    table, identifiers, others = foretold_bytes(run)
    if table + others <= room:
        return
    advice = "lower train.batch_size or model.hidden_size"
    if table > others:
        each = run.data.num_aug + 1 if isinstance(run.data, ArcData) else 1
        fewer = int(each * max(0, room - others) / table) - 1
        advice = "lower model.puzzle_emb_ndim, or the number of puzzles with an identifier"
        if isinstance(run.data, ArcData) and fewer >= 0:
            advice = f"lower data.num_aug: {fewer} would leave no room for activations, so take less"
    raise TrainError(
        f"the puzzle table ({identifiers:,} identifiers) takes {_size(table)}, and the weights, with gradients,"
        f" moments and average, {_size(others)}; {world.device} has {_size(room)} for each process",
        next=f"{advice}; `trmctl describe` shows the sizes",
    )


def foretold_bytes(run: RunFile) -> tuple[int, int, int]:
    """Return bytes of the puzzle table, its identifiers, and bytes of all else that has the size of the weights.

    The table has neither moments nor an average; its gradient is that of a batch. Nothing is built for it.
    """
    data, _, _ = expected(run.data, Path(run.storage.data))
    with torch.device("meta"):
        model = build_model(run.model, data.vocab_size, data.seq_len, data.num_puzzle_identifiers)
    table = sum(part.weights.numel() for part in model.modules() if isinstance(part, SparseEmbedding))
    weights = sum(p.numel() for p in model.parameters())
    copies = 5 if run.train.ema else 4  # weights, gradients, two moments, average
    return FLOAT * table, data.num_puzzle_identifiers, FLOAT * copies * weights


def device_memory(world: World) -> int:
    """Return the bytes of memory that each process on this machine can have on its device."""
    device = world.device
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.is_file() else "max"
    whole = min(whole, int(limit)) if limit.isdecimal() else whole
    return whole // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"
