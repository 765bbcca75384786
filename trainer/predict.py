"""`python -m trainer predict`: puzzles from a file or the command line in, answers for people or programs out."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.inference import DEFAULT_VOTES, Answer, Solver
from trainer.known import find_known
from trmkit.errors import DataError

MOST_BYTES = 64 << 20
"""Largest input that is read."""


def predict(options: argparse.Namespace) -> str:
    """Return the answers as text. CheckpointError, DataError: the model or the input cannot be used."""
    known = find_known(options.run, options.checkpoint)
    if known.grid.kind == "text":
        from trainer.text_inference import write

        return write(known, sys.stdin.read() if options.input == "-" else options.input, options.device, options.output)
    text, name = read_input(options.input)
    solver = Solver.load(options.run, device=options.device, which=options.checkpoint)
    answers = solver.solve(text, name=name, votes=options.votes or DEFAULT_VOTES)
    if options.output == "json":
        return json.dumps(as_json(solver, answers, steps=options.steps), indent=2)
    return "\n".join(line for answer in answers for line in lines_of(answer, steps=options.steps))


def read_input(given: str) -> tuple[str, str]:
    """Return the text that `given` means, and what to call it. DataError: there is no such file, or it is no text."""
    if given == "-":
        raw, name = sys.stdin.buffer.read(MOST_BYTES + 1), "stdin"
    elif Path(given).is_file():
        with Path(given).open("rb") as file:
            raw, name = file.read(MOST_BYTES + 1), given
    elif given and set(given) <= set(".0123456789"):
        raw, name = given.encode(), "the puzzle"
    else:
        raise DataError(f"{given}: no such file", next="give a file, - for stdin, or a line of digits and '.'")
    if len(raw) > MOST_BYTES:
        raise DataError(f"{name}: is larger than {MOST_BYTES >> 20} MiB", next="give it in parts")
    try:
        return raw.decode("utf-8-sig"), name
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise DataError(f"{name}: line {line}, column {column}: not UTF-8 text", next="save it as UTF-8") from None


def lines_of(answer: Answer, *, steps: bool) -> list[str]:
    """Return an answer as lines for people."""
    votes = f", {answer.candidates[0].votes} of {_views(answer)} votes" if _views(answer) > 1 else ""
    head = f"{answer.label}: confidence {answer.confidence:.3f}{votes}; {answer.check}"
    shown = [head, *_indented(answer.text)]
    if answer.note:
        shown.insert(1, f"  note: {answer.note}")
    if steps:
        for number, guess in enumerate(answer.guesses, 1):
            shown += [f"  step {number}: confidence {guess.confidence:.3f}", *_indented(guess.text, 4)]
    return shown


def _views(answer: Answer) -> int:
    return sum(one.votes for one in answer.candidates)


def _indented(text: str, by: int = 2) -> list[str]:
    return [" " * by + line for line in text.splitlines()]


def as_json(solver: Solver, answers: list[Answer], *, steps: bool) -> dict[str, Any]:
    """Return answers with where they come from, as plain data."""
    known = solver.known
    shown = []
    for answer in answers:
        entry = asdict(answer)
        if not steps:
            del entry["guesses"]
        shown.append(entry)
    return {
        "name": known.run.name,
        "checkpoint": str(known.checkpoint.path),
        "step": known.checkpoint.step,
        "kind": known.grid.kind,
        "answers": shown,
    }
