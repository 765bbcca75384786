"""What compiling costs before the first step: blocks alone, as `train.compile` has it, or the whole model at once.

    python benchmarks/cold_start.py [--rows 2]

Every variant runs in a process of its own with an empty cache: CPU seconds of the first training step, less those of
the third, which has nothing left to compile. The whole model is the plain rendering, unrolled as compilers see it.
"""

import argparse
import os
import subprocess
import sys
import tempfile

import torch
from common import cpu_seconds, record, table
from plain import plainly
from train_step import KINDS, OurStep, make, make_batch

from trainer.models.prepare import prepare
from trmkit.spec.train import TrainSection

WAYS = ("blocks", "whole model")
GOAL = "3 times as fast as the whole model, better 5 times"


def main() -> None:
    """Print one table, or, as a child, the seconds of one variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2, help="rows worked on at once")
    parser.add_argument("--child", nargs=2, metavar=("KIND", "WAY"), help="measure this variant in this process")
    options = parser.parse_args()
    if options.child:
        print(measure(*options.child, options.rows))
        return
    lines = []
    for kind in KINDS:
        seconds = {way: in_a_process(kind, way, options.rows) for way in WAYS}
        record(
            "compiling",
            f"{kind}, blocks to the whole",
            [seconds["blocks"]],
            [seconds["whole model"]],
            must=3,
            stretch=5,
        )
        lines += [(kind, way, f"{s:.1f}", f"{seconds['whole model'] / s:.1f}x") for way, s in seconds.items()]
    print(f"compiling before the first step; goal: {GOAL}")
    table(("model", "what is compiled", "CPU seconds", "how much faster"), lines)


def in_a_process(kind: str, way: str, rows: int) -> float:
    """Return what `measure` finds in a fresh process with an empty cache."""
    command = [sys.executable, __file__, "--rows", str(rows), "--child", kind, way]
    with tempfile.TemporaryDirectory() as folder:
        fresh = {"TORCHINDUCTOR_CACHE_DIR": folder, "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
        # compiling in this process, not in helpers whose time nobody would count
        env = os.environ | fresh | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
        return float(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)


def measure(kind: str, way: str, rows: int) -> float:
    """Return the CPU seconds that compiling adds to the first step, those of compilers that it starts included."""
    torch.set_num_threads(1)
    model = make(dict(KINDS[kind]), forward_dtype="bfloat16")
    if way == "blocks":
        prepare(model, TrainSection(steps=1, compile=True))
    else:
        model = plainly(model)
        model.compile()
    step = OurStep(model, make_batch(rows))
    before = children()
    first = cpu_seconds(step) + children() - before
    return first - [cpu_seconds(step) for _ in range(2)][-1]


def children() -> float:
    """Return the CPU seconds of processes that this one started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
