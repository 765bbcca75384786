"""Mazes made here: one shortest path, long enough, and no test maze a turned training maze."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data import build
from trainer.data.manifest import Grid, grid_of
from trainer.data.maze import ALPHABET
from trainer.data.maze_generated import make
from trainer.data.store import read_split
from trmkit.errors import DataError, SpecError
from trmkit.spec.data import MazeGeneratedData
from trmkit.spec.load import loads

WALL, FREE, START, GOAL, PATH = (ALPHABET[character] for character in "# SGo")


def section_of(side: int, **fields: Any) -> MazeGeneratedData:
    given = {"source": "maze-generated", "side": side, "train_puzzles": 20, "test_puzzles": 10}
    return MazeGeneratedData.model_validate({**given, **fields})


def shortest(board: np.ndarray) -> tuple[int, int, set[tuple[int, int]]]:
    """Return moves, number and cells of the shortest paths, level by level, without our kernels."""
    start, goal = (tuple(np.argwhere(board == end)[0].tolist()) for end in (START, GOAL))
    seen: dict[tuple[int, int], int] = {start: 0}
    level = Counter({start: 1})
    levels = [level]
    while goal not in level:
        following: Counter[tuple[int, int]] = Counter()
        for (i, j), ways in level.items():
            for there in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                inside = 0 <= there[0] < len(board) and 0 <= there[1] < len(board)
                if inside and board[there] != WALL and there not in seen:
                    following[there] += ways
        assert following, "there is no path"
        seen |= dict.fromkeys(following, len(levels))
        level = following
        levels.append(level)
    cells, back = {goal}, goal
    for earlier in reversed(levels[:-1]):
        back = next(cell for cell in earlier if abs(cell[0] - back[0]) + abs(cell[1] - back[1]) == 1)
        cells.add(back)
    return len(levels) - 1, level[goal], cells


@pytest.mark.parametrize(("side", "fields"), [(3, {"train_puzzles": 6, "test_puzzles": 2}), (8, {}), (30, {})])
def test_the_answer_is_the_only_shortest_path_and_long_enough(side: int, fields: dict[str, int]) -> None:
    section = section_of(side, **fields)
    for question, answer in zip(*make(section), strict=True):
        board, solved = question.reshape(side, side), answer.reshape(side, side)
        moves, ways, cells = shortest(board)
        assert ways == 1
        assert moves + 1 >= section.least_path
        assert {tuple(cell) for cell in np.argwhere(np.isin(solved, (START, GOAL, PATH))).tolist()} == cells
        assert ((question == answer) | ((question == FREE) & (answer == PATH))).all()


def test_a_path_as_long_as_that_of_maze_hard_is_the_default() -> None:
    assert (section_of(30).least_path, section_of(10).least_path, section_of(3).least_path) == (110, 12, 2)


def test_mazes_have_loops_and_dead_ends() -> None:
    questions, _ = make(section_of(30, train_puzzles=3, test_puzzles=1))
    for board in questions.reshape(-1, 30, 30) != WALL:
        joined = int((board[1:] & board[:-1]).sum() + (board[:, 1:] & board[:, :-1]).sum())
        assert joined > board.sum(), "a maze without loops has fewer joints than cells"
        assert 0.25 < 1 - board.mean() < 0.5


def test_no_maze_is_a_turned_or_mirrored_other_one() -> None:
    questions, _ = make(section_of(3, train_puzzles=40, test_puzzles=20))
    boards = questions.reshape(-1, 3, 3)
    views = [{np.rot90(side, k).tobytes() for side in (board, board.T) for k in range(4)} for board in boards]
    names = [board.tobytes() for board in boards]
    assert not any(name in views[other] for one, name in enumerate(names) for other in range(one))


def test_more_mazes_begin_with_the_same_ones() -> None:
    few, _ = make(section_of(10))
    more, _ = make(section_of(10, test_puzzles=80))
    other, _ = make(section_of(10, seed=1))
    np.testing.assert_array_equal(few, more[:30])
    assert not (few == other).all()


@pytest.mark.parametrize("dihedral", [False, True])
def test_the_data_set_is_that_of_mazes(tmp_path: Path, dihedral: bool) -> None:
    folder = build(section_of(8, dihedral=dihedral), tmp_path)
    train, test = (read_split(folder, split) for split in ("train", "test"))
    copies = 8 if dihedral else 1
    assert (len(train), len(test)) == (20 * copies, 10)
    assert train.group_indices.tolist() == list(range(0, 20 * copies + 1, copies))
    assert train.metadata.vocab_size == 6
    assert grid_of(folder) == Grid("maze", 8, 8)
    np.testing.assert_array_equal(train.inputs[copies - 1] == WALL, train.labels[copies - 1] == WALL)


def test_a_path_that_is_never_found_is_refused_with_the_longest_that_was() -> None:
    with pytest.raises(DataError, match=r"with a path of 17 cells or more; the longest of all had 1[2-6]"):
        make(section_of(5, min_path=17, train_puzzles=400), patience=100)


def test_a_path_no_maze_can_have_is_refused_in_the_run_file() -> None:
    text = "name: a\nmodel: {family: trm}\ndata: {source: maze-generated, side: 10, min_path: 68}\ntrain: {steps: 1}\n"
    with pytest.raises(SpecError, match=r"68 cells are more than any shortest path in a maze of 10 x 10 has; 67 is"):
        loads(text, "run.yaml")
