"""What the rungs of the ladder cost beside the baseline, and what a cache saves: `python benchmarks/ladder_models.py`.

Training steps and reading are measured in this process, one after the other, over and over; ratios are of medians.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from trainer.flops import operations
from trainer.models import TrainableModel, build
from trainer.models.base import Batch
from trainer.models.text import TextModel
from trmkit.spec.ladder import LadderModel

VARIANTS = ("baseline", "shared_loop", "latent", "act", "ssm", "ssm_mem", "nano_absolute")
VOCAB, ROWS, CELLS, PROMPT, NEW, TIMES = 260, 8, 256, 96, 32, 5


def model_of(variant: str, size: str) -> TrainableModel:
    section = LadderModel(**cast(Any, {"family": "ladder", "variant": variant, "size": size}))
    return build(section.model_copy(update={"forward_dtype": "float32"}), VOCAB, CELLS, 1)


def rows(model: TrainableModel) -> Batch:
    """Return packed rows of documents of 50 tokens, each half a prompt."""
    batch = model.blank_batch(ROWS, torch.device("cpu"))
    places = torch.arange(CELLS).expand(ROWS, -1)
    tokens = torch.randint(4, VOCAB, (ROWS, CELLS), dtype=torch.int32)
    return batch | {
        "inputs": tokens, "labels": tokens, "documents": (places // 50).int(), "prompt_ends": places % 50 == 25,
    }  # fmt: skip


def seconds(work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(TIMES):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def step(model: TrainableModel, batch: Batch) -> None:
    model.train()(None, batch).loss.backward()


def cached(model: TrainableModel, prompt: Tensor) -> None:
    reader = cast(TextModel, model.eval())
    reading = reader.start(len(prompt), PROMPT + NEW)
    token = reader.read(prompt, reading, prompt_ends=True)[:, -1:].argmax(-1)
    for _ in range(NEW - 1):
        token = reader.read(token, reading)[:, -1:].argmax(-1)


def uncached(model: TrainableModel, prompt: Tensor) -> None:
    reader = cast(TextModel, model.eval())
    for _ in range(NEW):
        reading = reader.start(len(prompt), PROMPT + NEW)
        token = reader.read(prompt, reading)[:, -1:].argmax(-1)
        prompt = torch.cat((prompt, token), 1)


def main(size: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    base_time = base_work = 0.0
    print(f"{size}, {ROWS} rows of {CELLS} tokens; {NEW} tokens after a prompt of {PROMPT}")
    print(
        "| variant | parameters | tokens/s of training | of baseline | FLOPs, of baseline | generating, cache : none |"
    )
    print("|---|---|---|---|---|---|")
    for variant in VARIANTS:
        model = model_of(variant, size)
        batch, prompt = rows(model), torch.randint(4, VOCAB, (ROWS, PROMPT))
        with torch.device("meta"):
            work = operations(model_of(variant, size))
        taken = seconds(lambda model=model, batch=batch: step(model, batch))  # type: ignore[misc]
        base_time, base_work = base_time or taken, base_work or work
        slow = seconds(lambda model=model, prompt=prompt: uncached(model, prompt))  # type: ignore[misc]
        fast = seconds(lambda model=model, prompt=prompt: cached(model, prompt))  # type: ignore[misc]
        parameters = sum(p.numel() for p in model.parameters())
        print(
            f"| {variant} | {parameters:,} | {ROWS * CELLS / taken:,.0f} | {base_time / taken:.2f} |"
            f" {work / base_work:.2f} | {ROWS * NEW / fast:,.0f} : {ROWS * NEW / slow:,.0f} ({slow / fast:.1f}x) |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "pico")
