"""ARC tasks as their JSON files have them. A task is known to a model by its name, which is that of its file.

A known task is asked in several of the variants it was trained in; every answer is turned back, and the answers vote.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.arc_tasks import parse_grid
from trainer.data.augment import SEPARATOR, redo, undo
from trainer.data.grid import MARKS, decode, encode
from trainer.data.manifest import Grid
from trainer.data.window import fitting
from trainer.features.prompts import Prompt, cells_text
from trainer.puzzles import Candidate, Cells, Question, Tokens, Verdict, wrong
from trmkit.errors import DataError

REMEDY = 'give a task as ARC has it: {"train": [...], "test": [{"input": [[0, 1], ...]}, ...]}'

UNKNOWN = (
    "the model was never trained on a task {!r}, and knows a task by its identifier alone: with the blank one, expect"
    ' about 0 % right; see "New ARC tasks: fine-tune" in docs/data.md'
)
TOLD = (
    "the model was never trained on a task {!r}, and goes by the text of its examples alone; the scores of its run are"
    " of tasks whose examples were trained on, and say nothing of this one"
)


class ArcPuzzles:
    """Reads tasks for a model that knows the identifiers `names`, and perhaps a task's text, or works in windows."""

    def __init__(
        self, grid: Grid, names: list[str], *, reads_text: bool = False, sides: Mapping[str, int] | None = None
    ) -> None:
        """`sides` are those of the windows that the model's tasks were worked on in; None: it saw whole canvases."""
        self.sides = sides
        self.canvas, self.layout, self.reads_text = grid.height, grid.layout, reads_text
        self.largest = grid.height - MARKS if grid.layout == "corners" else grid.height
        self.place = {name: index for index, name in enumerate(names)}
        self.variants: dict[str, list[str]] = {}
        for name in names[1:]:
            self.variants.setdefault(name.split(SEPARATOR)[0], []).append(name)

    def read(self, text: str, source: str, votes: int) -> list[Question]:
        """Return a question for each test input, in up to `votes` views if the task is known."""
        task = _parse(text, source)
        name = Path(source).stem
        names = self._views(name, votes)
        note = "" if names != ("",) else (TOLD if self.reads_text else UNKNOWN).format(name)
        examples = self._examples(source, name, task) if self.reads_text else []
        found = []
        for number, pair in enumerate(task["test"]):
            where = f"test pair {number}"
            if not isinstance(pair, dict) or "input" not in pair:
                raise DataError(f"{source}: {where}: has no input", next=REMEDY)
            grid = self._grid(source, name, f"{where}, input", pair["input"])
            truth = (
                self._grid(source, name, f"{where}, output", pair["output"]).tolist() if pair.get("output") else None
            )
            rows = np.stack([encode(turn(grid), self.canvas, layout=self.layout) for turn in map(_redo, names)])
            identifiers = tuple(self.place.get(view, 0) for view in names)
            prompts = tuple(_prompt(examples, grid, turn) for turn in map(_redo, names)) if self.reads_text else ()
            side = self._side(source, name, task, grid)
            found.append(Question(f"test input {number + 1}", rows, identifiers, names, truth, prompts, side, note))
        return found

    def _side(self, source: str, name: str, task: dict[str, Any], question: Tokens) -> int | None:
        """Return the side of the window in which a question is worked on: its task's, or more if it needs more.

        Of a task that was not trained on it is what it would have been; without examples, what the question needs.
        """
        if self.sides is None:
            return None
        known = self.sides.get(name, 0)
        examples = self._examples(source, name, task) if not known and task.get("train") else []
        return max(known, fitting(examples, [(question, question)], self.canvas, self.layout))

    def _examples(self, source: str, name: str, task: dict[str, Any]) -> list[tuple[Tokens, Tokens]]:
        """Return the demonstration pairs of a task, as its file has them. DataError: there are none, or one is none."""
        pairs = task.get("train")
        if not isinstance(pairs, list) or not pairs:
            raise DataError(f"{source}: has no train pairs, and the model needs them", next=REMEDY)
        found = []
        for number, pair in enumerate(pairs):
            where = f"train pair {number}"
            if not isinstance(pair, dict) or not {"input", "output"} <= set(pair):
                raise DataError(f"{source}: {where}: has no input or no output", next=REMEDY)
            one, other = (parse_grid(Path(source), name, f"{where}, {key}", pair[key]) for key in ("input", "output"))
            found.append((one, other))
        return found

    def _views(self, name: str, votes: int) -> tuple[str, ...]:
        """Return the names of the views: the task itself, then variants evenly spread; an empty one if unknown."""
        known = self.variants.get(name)
        if not known:
            return ("",)
        first, others = known[0], known[1:]
        count = min(votes - 1, len(others))
        return (first, *(others[index * len(others) // count] for index in range(count)))

    def _grid(self, source: str, name: str, where: str, rows: Any) -> Tokens:
        grid = parse_grid(Path(source), name, where, rows)
        if max(grid.shape) > self.largest:
            raise DataError(
                f"{source}: {where}: {grid.shape[0]} x {grid.shape[1]} cells, this model takes up to {self.largest} x"
                f" {self.largest}",
                next="use a model that was trained with a larger data.canvas",
            )
        return grid

    def candidates(self, question: Question, preds: Tokens, confidences: list[float]) -> list[Candidate]:
        """Turn the answers back and let them vote: most votes first, the more confident among equals."""
        ballots: dict[str, tuple[Cells, list[float]]] = {}
        for name, tokens, confidence in zip(question.names, preds, confidences, strict=True):
            cells: Cells = (undo(name)[1] if name else np.copy)(decode(tokens, self.layout)).tolist()
            ballots.setdefault(json.dumps(cells), (cells, []))[1].append(confidence)
        found = [Candidate(cells, len(some), sum(some) / len(some)) for cells, some in ballots.values()]
        return sorted(found, key=lambda one: (one.votes, one.confidence), reverse=True)

    def cells(self, tokens: Tokens) -> Cells:
        """Return the colours of the grid that a row of tokens shows."""
        found: Cells = decode(tokens, self.layout).tolist()
        return found

    def text(self, cells: Cells) -> str:
        """Write the colours as digits, a line for each row."""
        return "\n".join("".join(map(str, row)) for row in cells) or "(no grid)"

    def check(self, question: Question, cells: Cells) -> Verdict:
        """Compare with the output, where the file has it."""
        if question.truth is None:
            return Verdict(None, "cannot be checked: the file has no output for it")
        if cells == question.truth:
            return Verdict(True, "equals the output in the file")
        sizes = [f"{len(grid)} x {len(grid[0]) if grid else 0}" for grid in (cells, question.truth)]
        if sizes[0] != sizes[1]:
            return Verdict(False, f"differs from the output in the file: {sizes[0]} instead of {sizes[1]} cells")
        count = int((np.array(cells) != np.array(question.truth)).sum())
        return Verdict(False, f"differs from the output in the file in {count} cells")


def _prompt(examples: list[tuple[Tokens, Tokens]], question: Tokens, turn: Callable[[Tokens], Tokens]) -> Prompt:
    """Return the text of a view: the examples and the question, turned alike."""
    pairs = tuple((cells_text(turn(one)), cells_text(turn(other))) for one, other in examples)
    return Prompt(pairs, cells_text(turn(question)))


def _redo(name: str) -> Callable[[Tokens], Tokens]:
    return redo(name) if name else np.copy


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise wrong(source, error.lineno, error.colno, f"not JSON: {error.msg}", REMEDY) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source}: not JSON that can be read ({error})", next=REMEDY) from None
    if not isinstance(content, dict) or not isinstance(content.get("test"), list) or not content["test"]:
        raise DataError(f"{source}: is no task: there are no test pairs", next=REMEDY)
    return content
