"""Use a trained model: from a checkpoint and a puzzle to an answer. No data set is needed, and nothing is unpickled.

Legend: `V` views of a puzzle, `M` supervision steps, `L` cells.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainer.candidates import load_for_inference
from trainer.data.cutting import cut, on_canvas
from trainer.features.prompts import Prompt
from trainer.features.text import NAME as TEXT
from trainer.features.text import Texts
from trainer.known import Known, find_known, read_sides
from trainer.models import TrainableModel
from trainer.models import build as build_model
from trainer.models.base import IGNORED_LABEL
from trainer.puzzles import Candidate, Cells, Kind, Question, Tokens, Verdict, kind_of
from trmkit.errors import DataError, SpecError

ROWS_AT_ONCE = 64
DEFAULT_VOTES = 16
"""Views of an ARC task that vote."""


@dataclass(frozen=True)
class Guess:
    """The answer as it stood after one supervision step, for the puzzle as it was given."""

    cells: Cells
    text: str
    confidence: float


@dataclass(frozen=True)
class Answer:
    """The answer to one puzzle."""

    label: str
    """Where the puzzle stood in the input."""
    cells: Cells
    """The answer as numbers: digits of a Sudoku, colours of ARC, tokens of a maze."""
    text: str
    """The answer written as the input is."""
    confidence: float
    """The q-head's probability that the answer is right; for ARC, its mean over the views that gave this answer."""
    valid: bool | None
    """Whether it solves the puzzle; None where that cannot be told."""
    check: str
    """The same in words."""
    note: str
    """What is to be known of it, as that an ARC task was never trained on; empty as a rule."""
    guesses: tuple[Guess, ...]
    """What was guessed after each supervision step."""
    candidates: tuple[Candidate, ...]
    """Every answer that some view gave, the best first. Only ARC has more than one."""


class Solver:
    """A trained model that answers puzzles.

    Sudokus are lines of digits with `.` or `0` for a blank, or grids of numbers; mazes are text with `#`, space, `S`
    and `G`; ARC tasks are JSON text, or what it says, and are known by the `name` they were trained under.

    >>> solver = Solver.load(run_directory)
    >>> [answer] = solver.solve("1.3.3.1.2.4.4.2.")
    >>> len(answer.text), len(answer.guesses) == solver.steps, 0 <= answer.confidence <= 1
    (16, True, True)
    """

    def __init__(self, model: TrainableModel, known: Known, device: torch.device) -> None:
        """Answer with `model`; `load` is the way to get one."""
        self.known, self.device = known, device
        self.steps = model.max_steps
        self._model = model.eval()
        read = known.run.features
        sides = read_sides(known.directory) if known.metadata.windows else None
        self._kind: Kind = kind_of(known.grid, known.names, reads_text=read is not None, sides=sides)
        self._texts = Texts(read, device, Path(known.run.storage.data)) if read is not None else None

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu", which: str = "last") -> "Solver":
        """Return a solver with `which` checkpoint, `last` or `best`, of a run directory, or a checkpoint's folder.

        `device` is `cpu`, `cuda`, `cuda:1`, `mps`, or `auto`. Every byte is verified before it is parsed.
        CheckpointError: there is none, or it cannot be used. SpecError: there is no such device.
        """
        place = device_of(device)
        known = find_known(Path(path), which)
        data = known.metadata
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn and then replaced
            model = build_model(known.run.model, data.vocab_size, data.seq_len, data.num_puzzle_identifiers)
        model = model.to(place)
        load_for_inference(model, known.checkpoint)
        return cls(model, known, place)

    def solve(
        self, puzzle: str | dict[str, Any] | Sequence[Sequence[int]], *, name: str = "input", votes: int = DEFAULT_VOTES
    ) -> list[Answer]:
        """Return an answer for every puzzle in `puzzle`; `name` is its file, which for ARC says the task.

        Up to `votes` views of a known ARC task are asked. DataError: the puzzle is none, with line and column.
        """
        if votes < 1:
            raise DataError(f"votes: {votes} views cannot vote", next="give 1 or more")
        questions = self._kind.read(_as_text(puzzle), name, votes)
        preds, confidences = self._work(questions)
        answers, first = [], 0
        for question in questions:
            rows = slice(first, first + len(question.rows))
            answers.append(self._answer(question, preds[:, rows], confidences[:, rows]))
            first = rows.stop
        return answers

    def _work(self, questions: list[Question]) -> tuple[Tokens, npt.NDArray[np.float64]]:
        """Return what all views of all questions answered after each step, [M, V, L], and the confidences, [M, V]."""
        rows = np.concatenate([question.rows for question in questions])
        identifiers = np.array([one for question in questions for one in question.identifiers], np.int32)
        prompts = [one for question in questions for one in question.prompts]
        sides = np.concatenate([np.full(len(question.rows), question.side or 0) for question in questions])
        preds = np.zeros((self.steps, *rows.shape), np.uint8)
        sure = np.zeros(preds.shape[:2])
        for side in np.unique(sides).tolist():
            places = np.flatnonzero(sides == side)
            for some in np.split(places, range(ROWS_AT_ONCE, len(places), ROWS_AT_ONCE)):
                read = [prompts[place] for place in some] if prompts else []
                preds[:, some], sure[:, some] = self._batch(rows[some], identifiers[some], read, side or None)
        return preds, sure

    @torch.no_grad()
    def _batch(
        self, rows: Tokens, identifiers: npt.NDArray[np.int32], prompts: list[Prompt], side: int | None
    ) -> tuple[Tokens, npt.NDArray[np.float64]]:
        """Return what rows [V, L] of one shape answered after each step; with a `side`, in windows of their canvas."""
        inputs = torch.from_numpy(rows.astype(np.int32)).to(self.device)
        batch = {
            "inputs": inputs,
            "labels": torch.full_like(inputs, IGNORED_LABEL),
            "puzzle_identifiers": torch.from_numpy(identifiers).to(self.device),
        }
        if self._texts is not None:
            batch[TEXT] = torch.from_numpy(self._texts.of(prompts)).to(self.device)
        if side is not None:
            batch = cut(batch, side)
        carry = self._model.initial_carry(batch)
        preds, logits = [], []
        for _ in range(self.steps):
            step = self._model(carry, batch)
            carry = step.carry
            answer = step.outputs["preds"]
            whole = answer if side is None else on_canvas(answer, batch["positions"], inputs)
            preds.append(whole.cpu().numpy().astype(np.uint8))
            logits.append(step.outputs["q_halt"].double().sigmoid().cpu().numpy())
        return np.stack(preds), np.stack(logits)

    def _answer(self, question: Question, preds: Tokens, confidences: npt.NDArray[np.float64]) -> Answer:
        kind = self._kind
        found = kind.candidates(question, preds[-1], confidences[-1].tolist())
        best = found[0]
        verdict: Verdict = kind.check(question, best.cells)
        steps = zip(preds[:, 0], confidences[:, 0], strict=True)
        guesses = [(kind.cells(tokens), float(sure)) for tokens, sure in steps]
        return Answer(
            label=question.label,
            cells=best.cells,
            text=kind.text(best.cells),
            confidence=best.confidence,
            valid=verdict.valid,
            check=verdict.words,
            note=question.note,
            guesses=tuple(Guess(cells, kind.text(cells), sure) for cells, sure in guesses),
            candidates=tuple(found),
        )


def device_of(wanted: str) -> torch.device:
    """Return the device of this name; `auto` is the first of cuda, mps, cpu. SpecError: it is not here."""
    here = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    here = [*(["cuda"] if here else []), *here, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
    if wanted == "auto":
        return torch.device(here[0])
    if wanted not in here:
        raise SpecError(f"device: there is no {wanted!r} here", next=f"take auto, or what is here: {', '.join(here)}")
    return torch.device(wanted)


def _as_text(puzzle: str | dict[str, Any] | Sequence[Sequence[int]]) -> str:
    if isinstance(puzzle, str):
        return puzzle
    if isinstance(puzzle, dict):
        return json.dumps(puzzle)
    return "".join(str(digit) for row in puzzle for digit in row)
