"""Whether the puzzle table has room in the memory of the device, said before anything is built or loaded."""

import os
from pathlib import Path

import torch

from trainer.data.expect import expected
from trainer.dist import World
from trmkit.errors import TrainError
from trmkit.spec.data import ArcData
from trmkit.spec.run import RunFile
from trmkit.words import size

FLOAT = 4
"""Bytes of a value of the table, which is float32 whatever the network computes in."""

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def refuse_table_without_room(run: RunFile, world: World) -> None:
    """TrainError: the puzzle table of `run`, of which every process holds a whole one, is larger than its memory.

    Weights, activations and data come on top, so what passes may still run out; what is refused would do so for sure.
    """
    if not run.model.puzzle_emb_ndim:
        return
    table, identifiers = table_bytes(run)
    room = device_memory(world)
    if table <= room:
        return
    advice = "lower model.puzzle_emb_ndim, or the number of puzzles with an identifier"
    if isinstance(run.data, ArcData):
        most = (run.data.num_aug + 1) * room // table - 1
        advice = f"lower data.num_aug: with {max(0, most)} the table alone would fill the memory, so take less"
    raise TrainError(
        f"the puzzle table, {identifiers:,} identifiers x {run.model.puzzle_emb_ndim} x {FLOAT} bytes, takes"
        f" {size(table)}; {world.device} has {size(room)} for each process",
        next=f"{advice}; `trmctl describe` shows all sizes",
    )


def table_bytes(run: RunFile) -> tuple[int, int]:
    """Return bytes and identifiers of the puzzle table; nothing is built for it.

    The table is all there is: it has no moments and no average, and its gradient is that of the rows of a batch.
    """
    data, _, _ = expected(run.data, Path(run.storage.data))
    return FLOAT * data.num_puzzle_identifiers * run.model.puzzle_emb_ndim, data.num_puzzle_identifiers


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
