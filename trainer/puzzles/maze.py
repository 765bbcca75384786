"""Mazes as text: a line for each row, `#` a wall, space free, `S` the start, `G` the goal; answers mark the path `o`.

Several mazes stand below each other with an empty line in between. Editors cut spaces at the end of a line, so a short
line is filled up with them.
"""

import numpy as np

from trainer.data.manifest import Grid
from trainer.data.maze import ALPHABET
from trainer.data.maze_paths import explore
from trainer.puzzles import Candidate, Cells, Question, Tokens, Verdict, wrong

WALL, FREE, START, GOAL, PATH = (ALPHABET[character] for character in "# SGo")
CHARACTERS = {token: character for character, token in ALPHABET.items()} | {0: "?"}


class Mazes:
    """Reads and checks mazes of one side."""

    def __init__(self, grid: Grid, _names: list[str]) -> None:
        self.side = grid.height

    def read(self, text: str, source: str, votes: int) -> list[Question]:
        """Return the mazes, one below the other; `votes` is of no use here."""
        lines = text.splitlines()
        while lines and len(lines) % (self.side + 1) != self.side and not lines[-1].strip():
            lines.pop()
        remedy = f"give {self.side} lines of {self.side} characters each: '#', space, one S and one G"
        if not lines or (len(lines) + 1) % (self.side + 1):
            what = f"there are {len(lines)} lines; mazes of this model have {self.side}, with an empty line in between"
            raise wrong(source, max(1, len(lines)), None, what, remedy)
        found = []
        for first in range(0, len(lines), self.side + 1):
            after = first + self.side
            if after < len(lines) and lines[after].strip():
                raise wrong(source, after + 1, None, "is not empty, as the line after a maze is", remedy)
            found.append(self._question(source, first, lines[first:after], remedy))
        return found

    def _question(self, source: str, first: int, lines: list[str], remedy: str) -> Question:
        board = np.full((self.side, self.side), FREE, np.uint8)
        ends: dict[int, int] = {}
        for row, line in enumerate(lines):
            for column, character in enumerate(line.rstrip("\r\n"), 1):
                place = (source, first + row + 1, column)
                if column > self.side:
                    if character.isspace():
                        break
                    raise wrong(*place, f"the line has more than {self.side} characters", remedy)
                token = ALPHABET.get(character)
                if token is None or token == PATH:
                    raise wrong(*place, f"{character!r} is none of '#', space, S and G", remedy)
                if token in ends:
                    raise wrong(*place, f"a second {character}; the first is in line {ends[token]}", remedy)
                if token in (START, GOAL):
                    ends[token] = first + row + 1
                board[row, column - 1] = token
        for token in (START, GOAL):
            if token not in ends:
                raise wrong(source, first + 1, None, f"the maze that begins here has no {CHARACTERS[token]}", remedy)
        return Question(f"maze in line {first + 1}", board.reshape(1, -1), (0,))

    def candidates(self, question: Question, preds: Tokens, confidences: list[float]) -> list[Candidate]:
        """Return the one answer."""
        return [Candidate(self.cells(preds[0]), 1, confidences[0])]

    def cells(self, tokens: Tokens) -> Cells:
        """Return the tokens as a grid."""
        found: Cells = np.asarray(tokens).reshape(self.side, self.side).tolist()
        return found

    def text(self, cells: Cells) -> str:
        """Write the maze with its path."""
        return "\n".join("".join(CHARACTERS.get(token, "?") for token in row) for row in cells)

    def check(self, question: Question, cells: Cells) -> Verdict:
        """Say whether the marked cells lead from S to G, and how many the shortest path has."""
        maze, answer = question.rows[0], np.array(cells, np.uint8).ravel()
        marked = answer == PATH
        wrongly = np.flatnonzero((maze != answer) & ~((maze == FREE) & marked))
        if len(wrongly):
            row, column = divmod(int(wrongly[0]), self.side)
            words = f"changes {len(wrongly)} cells that are not free, the first in row {row + 1}, column {column + 1}"
            return Verdict(False, f"not valid: {words}")
        start, goal = (int(np.flatnonzero(maze == end)[0]) for end in (START, GOAL))
        shortest = self._moves(maze != WALL, start, goal) + 1
        if not shortest:
            return Verdict(False, "not valid: there is no way from S to G in this maze")
        if self._moves(marked | (maze == START) | (maze == GOAL), start, goal) < 0:
            return Verdict(False, f"not valid: the path does not connect S to G; the shortest has {shortest} cells")
        count = int(marked.sum()) + 2
        if count > shortest:
            words = f"path connects S to G, but with {count} cells marked; the shortest has {shortest}"
            return Verdict(False, f"not valid: {words}")
        return Verdict(True, f"path connects S to G, {count} cells, shortest")

    def _moves(self, open_cells: np.ndarray, start: int, goal: int) -> int:
        """Return the moves from start to goal, -1 where there is no way."""
        count = self.side**2
        distances, queue = np.empty(count, np.int32), np.empty(count, np.int32)
        explore(open_cells.astype(np.uint8), self.side, start, distances, np.empty(count, np.uint8), queue)
        return int(distances[goal])
