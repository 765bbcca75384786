"""Operations: how many a row of training takes, and how many a second the device could do at best.

A multiply-add is two operations. The utilisation made of both is that of PaLM's appendix B (arXiv 2204.02311), but with
the operations counted in a trace rather than estimated from the number of weights, which recursion uses many times.
"""

import re
import time
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from trainer.models import TrainableModel
from trainer.models import build as build_model
from trmkit.spec.model import ModelSection
from trmkit.spec.recursion import RecursionSection

PEAK_TFLOPS = {
    "T4": 65, "V100": 125, "L4": 121, "A10": 125, "A10G": 125, "A100": 312, "L40": 181, "L40S": 362, "RTX4090": 165,
    "RTX5090": 210, "H100": 989, "H100PCIE": 756, "H100NVL": 835, "H200": 989, "B200": 2250, "MI300X": 1307,
}  # fmt: skip
"""Dense 16-bit peak by the makers' data sheets, in 10^12 operations per second."""
SIDE, TRIES = 512, 20
"""Matrices that are multiplied to see what a device can do, and how often."""


@lru_cache(maxsize=32)
def of_a_row(
    model: ModelSection, cells: int, vocabulary: int, identifiers: int, objective: RecursionSection | None = None
) -> int:
    """Return the operations of one supervised training step of one row; nothing is computed and nothing drawn.

    Where they depend on what is in the row, or drawn, it is an upper bound. Thoughts are counted with all the room for
    their anchors, of which a CPU leaves out what no anchor takes. Drawn rounds of a loop are counted as their mean: of
    the deeper draws `loop_backprop` cuts off more of the backward pass than of the mean.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        built = build_model(model, vocabulary, cells, identifiers)
        if objective is not None:
            built.pursue(objective)
        return operations(built)


def operations(model: TrainableModel) -> int:
    """Return the operations of one supervised training step of one row of `model`, which is on the device `meta`."""
    batch = model.blank_batch(1, torch.device("meta"))
    model.train()
    with FlopCounterMode(display=False) as counter:
        model(model.initial_carry(batch), batch).loss.backward()
    return int(counter.get_total_flops())


@lru_cache(maxsize=8)
def peak(device: torch.device) -> tuple[float, str]:
    """Return the operations a second that `device` could do at best, and where that is from: `datasheet`, `measured`.

    The peak of 16-bit numbers, but on a CPU. What the list does not have multiplies matrices; 0: it cannot.
    """
    if device.type == "cuda":
        known = datasheet(torch.cuda.get_device_name(device))
        if known is not None:
            return known, "datasheet"
    kinds = (torch.float32,) if device.type == "cpu" else (torch.bfloat16, torch.float32)
    side = SIDE if device.type == "cpu" else 8 * SIDE
    for kind in kinds:
        try:
            matrix = torch.ones(side, side, dtype=kind, device=device)
            return max(_rate(matrix) for _ in range(TRIES)), "measured"
        except (RuntimeError, TypeError):  # a device that does not know the type, or has no room: no reason to fail
            continue
    return 0.0, "measured"


def datasheet(name: str) -> float | None:
    """Return the peak of the GPU that calls itself `name`; None: it is not in the list, or only a part of a GPU."""
    words = re.findall(r"[A-Z0-9]+", name.upper())
    said = {*words, *(first + second for first, second in pairwise(words))}
    known = [part for part in said if part in PEAK_TFLOPS]
    return None if not known or "MIG" in words else PEAK_TFLOPS[max(known, key=len)] * 1e12


def _rate(matrix: Tensor) -> float:
    started = time.perf_counter()
    (matrix @ matrix)[0, 0].item()
    return float(2 * len(matrix) ** 3 / (time.perf_counter() - started))
