"""What a training step keeps for its backward pass, as ratios to a plain rendering, and what recomputing it costs.

    python benchmarks/memory.py [--rows 2] [--rounds 2]

Bytes are counted per row, each tensor once, on a device without numbers, with attention as the fused kernel of a GPU
keeps it. Time is that of a step's forward and backward pass on a CPU, of the Sudoku models alone.
"""

import argparse
from collections.abc import Mapping

import torch
from common import Work, record, table, take_turns
from plain import plainly
from train_step import VOCAB, make_batch

from trainer.describe import kept_bytes
from trainer.models import TrainableModel, build
from trainer.models.base import Draws
from trainer.models.prepare import prepare
from trmkit.spec.model import TrmModel
from trmkit.spec.train import TrainSection

KINDS: Mapping[str, tuple[int, Mapping[str, object]]] = {
    "sudoku, attention": (81, {}),
    "sudoku, mlp_t": (81, {"mlp_t": True, "pos_encodings": "none"}),
    "maze and ARC, attention": (900, {"L_cycles": 4}),
}
TIMED = 81
GOAL = "0.85 of plain or less, better 0.75"
MIB = 1 << 20


def main() -> None:
    """Print one table per kind of model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2, help="rows worked on at once where time is measured")
    parser.add_argument("--rounds", type=int, default=2, help="rounds, of which the fastest counts")
    options = parser.parse_args()
    for kind, (cells, fields) in KINDS.items():
        with torch.device("meta"):
            kept = {name: kept_of(model) for name, model in variants(cells, fields).items()}
        seconds: dict[str, float] = {}
        if cells == TIMED:
            steps = {name: step_of(model, options.rows) for name, model in variants(cells, fields).items()}
            seconds = take_turns(steps, options.rounds)
        print(f"kept for the backward pass, {kind}; goal: {GOAL}")
        record("bytes kept", kind, [kept["ours"]], [kept["plain"]], must=1 / 0.85, stretch=1 / 0.75, unit="B")
        lines = []
        for name, size in kept.items():
            slower = f"{seconds[name] / seconds['plain']:.2f}" if seconds else ""
            lines.append((name, f"{size / MIB:.1f}", f"{size / kept['plain']:.2f}", slower))
        table(("variant", "MiB per row", "to plain", "CPU time to plain"), lines)


def variants(cells: int, fields: Mapping[str, object]) -> dict[str, TrainableModel]:
    """Return the model rendered plainly, as it is, and as it is with activations recomputed."""
    torch.manual_seed(0)
    found: dict[str, TrainableModel] = {}
    for name, recompute in (("ours", False), ("ours, activation_checkpointing", True)):
        model = build(TrmModel.model_validate({"family": "trm", **fields}), VOCAB, cells, 1)
        prepare(model, TrainSection(steps=1, compile=False, activation_checkpointing=recompute))
        found[name] = model.train()
    return {"plain": plainly(found["ours"]), **found}


def kept_of(model: TrainableModel) -> int:
    """Return the bytes that a row keeps: what two rows keep beyond one."""
    here = torch.device("meta")
    one, two = (kept_bytes(model, model.blank_batch(rows, here)) for rows in (1, 2))
    return two - one


def step_of(model: TrainableModel, rows: int) -> Work:
    """Return the forward and backward pass of one step."""
    batch, draws = make_batch(rows), Draws(0, 0, slice(0, rows), rows, torch.device("cpu"))
    return lambda: model(None, batch, draws).loss.backward()


if __name__ == "__main__":
    main()
