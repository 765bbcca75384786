"""A second chance, and more: what is wrong with an answer is told in words, and the model answers again.

The words are made of the truth, as the first descriptions of the model have it. So this shows what a model makes of
being told, and is no score of a task that nobody has solved. Legend: `n` rows, `L` cells.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainer.data.grid import decode
from trainer.data.manifest import Layout
from trainer.data.store import Split
from trainer.data.stream import Rows
from trainer.dist import World
from trainer.evaluators import Indices
from trainer.features.prompts import Prompts
from trainer.features.readers import open_reader
from trainer.features.text import NAME, Texts
from trainer.models import TrainableModel
from trainer.progress import say
from trainer.solve import Plan, solve
from trmkit.spec.run import RunFile

MOST_NAMED = 5
"""Wrong cells that are named."""


def reader_at_hand(run: RunFile, device: torch.device) -> None:
    """Open the reader, so that a missing one is said before anything is scored. DataError, SpecError: it is missing."""
    assert run.features is not None
    open_reader(run.features, device).count("")


class Told:
    """The text of rows with what was wrong, as `trainer.data.store.Beside` has it."""

    def __init__(self, texts: Texts, prompts: Prompts, words: Mapping[int, str]) -> None:
        self._texts, self._prompts, self._words, self.identity = texts, prompts, words, texts.identity

    def get(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the vectors of `rows` [B], float16 [B, S, F]."""
        asked = [(self._prompts.of("test", row), self._words[row]) for row in rows.tolist()]
        return self._texts.of([replace(prompt, feedback=words) for prompt, words in asked])


def feedback(answer: npt.NDArray[Any], truth: npt.NDArray[Any]) -> str:
    """Say what is wrong with a grid of colours [h, w]: its size, or its first wrong cells."""
    if answer.shape != truth.shape:
        sizes = [" x ".join(map(str, grid.shape)) for grid in (answer, truth)]
        return f"it has {sizes[0]} cells instead of {sizes[1]}."
    wrong = np.argwhere(answer != truth)
    named = "; ".join(f"row {row + 1}, column {column + 1}" for row, column in wrong[:MOST_NAMED].tolist())
    return f"{len(wrong)} cells are wrong: {named}." if len(wrong) else "it does not end where it should."


def correct(
    run: RunFile, model: TrainableModel, splits: Mapping[str, Split], layout: Layout, rows: Indices, plan: Plan,
    world: World, check: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """Return which part of the test rows is right within 1, 2, … attempts, of `evaluate.self_correction`.

    Every process calls it. The reader is loaded: what it is told was never read before.
    """
    assert run.features is not None
    attempts = run.evaluate.self_correction or 1
    texts, prompts = Texts(run.features, world.device, Path(run.storage.data)), Prompts(splits)
    split, open_rows, right = splits["test"], rows, [0.0] * attempts
    for attempt in range(attempts):
        solved = solve(
            model, Rows(split, world.device, on_device=False), open_rows, plan, world, show=open_rows, check=check
        )
        open_rows = open_rows[~solved.taken("exact")]
        right[attempt] = 1 - len(open_rows) / max(1, len(rows))
        if not len(open_rows) or attempt + 1 == attempts:
            right[attempt:] = [right[attempt]] * (attempts - attempt)
            break
        words = {row: _words(solved.predictions[row], splits["test"], row, layout) for row in open_rows.tolist()}
        split = replace(splits["test"], beside={**splits["test"].beside, NAME: Told(texts, prompts, words)})
    if world.first:
        say(f"told what is wrong: exact within 1, 2, … attempts {', '.join(f'{share:.4f}' for share in right)}")
    return {"attempts": attempts, "exact_by_attempt": right, "told_by": "the truth"}


def _words(answer: npt.NDArray[Any], split: Split, row: int, layout: Layout) -> str:
    return feedback(decode(answer, layout), decode(np.asarray(split.labels[row]), layout))
