"""Sudokus as lines of text: one puzzle a line, row after row, `.` or `0` for a blank."""

import numpy as np

from trainer.data.manifest import Grid
from trainer.data.sudoku_shuffle import BOXES
from trainer.data.sudoku_solver import layout_of
from trainer.puzzles import Candidate, Cells, Question, Tokens, Verdict, wrong

UNITS = ("row", "column", "box")


class Sudokus:
    """Reads and checks Sudokus of one side."""

    def __init__(self, grid: Grid, _names: list[str]) -> None:
        self.side = grid.height
        self.layout = layout_of(self.side, *BOXES[self.side])

    def read(self, text: str, source: str, votes: int) -> list[Question]:
        """Return a puzzle for each line that is not empty; `votes` is of no use here."""
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
        found = [self._question(source, number, line) for number, line in lines if line]
        if not found:
            raise wrong(
                source, 1, None, "there is no puzzle", f"give {self.side**2} characters a line, '.' for a blank"
            )
        return found

    def _question(self, source: str, number: int, line: str) -> Question:
        wanted = self.side**2
        remedy = f"give {wanted} characters: the digits 1 to {self.side}, '.' or 0 for a blank"
        for column, character in enumerate(line[: wanted + 1], 1):
            if character not in "." + "0123456789"[: self.side + 1]:
                raise wrong(source, number, column, f"{character!r} is no digit up to {self.side} and no blank", remedy)
        if len(line) != wanted:
            raise wrong(source, number, None, f"has {len(line)} characters, this model takes {wanted}", remedy)
        digits = np.array([0 if character == "." else int(character) for character in line], np.uint8)
        clash = self._clash(digits)
        if clash:
            place, words = clash
            raise wrong(source, number, place + 1, f"the givens contradict each other: {words}", "correct the puzzle")
        return Question(f"line {number}", (digits + np.uint8(1))[None], (0,))

    def _clash(self, digits: Tokens) -> tuple[int, str] | None:
        """Return the first cell whose digit is in its row, column or box already, and the words for it."""
        seen: set[tuple[int, int]] = set()
        for place, digit in enumerate(digits.tolist()):
            for unit in self.layout[place].tolist():
                if digit and (unit, digit) in seen:
                    name = UNITS[unit // self.side]
                    return place, f"{digit} is twice in {name} {unit % self.side + 1}"
                seen.add((unit, digit))
        return None

    def candidates(self, question: Question, preds: Tokens, confidences: list[float]) -> list[Candidate]:
        """Return the one answer."""
        return [Candidate(self.cells(preds[0]), 1, confidences[0])]

    def cells(self, tokens: Tokens) -> Cells:
        """Return digits; a token that is none counts as a blank."""
        digits = np.asarray(tokens, np.int64).clip(min=1) - 1
        found: Cells = digits.reshape(self.side, self.side).tolist()
        return found

    def text(self, cells: Cells) -> str:
        """Write the digits in one line."""
        return "".join(str(digit) if digit else "." for row in cells for digit in row)

    def check(self, question: Question, cells: Cells) -> Verdict:
        """Compare with the givens, and look for digits that are missing or twice in a unit."""
        digits = np.array(cells, np.uint8).ravel()
        givens = question.rows[0] - 1
        changed = np.flatnonzero((givens > 0) & (givens != digits))
        if len(changed):
            row, column = divmod(int(changed[0]), self.side)
            return Verdict(
                False, f"not valid: changes {len(changed)} givens, the first in row {row + 1}, column {column + 1}"
            )
        blanks = int((digits == 0).sum())
        if blanks:
            return Verdict(False, f"not valid: {blanks} cells are left blank")
        clash = self._clash(digits)
        if clash:
            return Verdict(False, f"not valid: {clash[1]}")
        return Verdict(True, "valid Sudoku, keeps the givens")
