"""The text of a row shows its task as the row does, never its own answer, and never loses its question."""

from pathlib import Path

import numpy as np

from trainer.data import build
from trainer.data.augment import redo
from trainer.data.grid import encode
from trainer.data.store import read_identifiers, read_split
from trainer.features.prompts import Prompt, Prompts, cells_text, fitted, tokens_text
from trmkit.spec.run import RunFile

PROMPT = """One rule turns every input grid into its output grid. Digits are colours.

Example 1:
Input:
1 2
3 4
Output:
0

Test Input:
5 6

Apply the rule to the test input and write its output grid."""


def test_the_text_is_this() -> None:
    assert Prompt((("1 2\n3 4", "0"),), "5 6").text() == PROMPT


def test_where_a_grid_lies_on_its_canvas_and_how_its_end_is_marked_does_not_matter() -> None:
    grid = np.array([[0, 1, 2], [9, 0, 3]], np.uint8)
    corner, shifted = encode(grid, 6), encode(grid, 6, down=3, right=1)
    marked = np.zeros((8, 8), np.uint8)
    marked[1, 1] = marked[4, 5] = 1
    marked[2:4, 2:5] = grid + 2
    texts = [tokens_text(row) for row in (corner, shifted, marked.ravel())]
    assert texts == ["0 1 2\n9 0 3"] * 3 == [cells_text(grid)] * 3
    assert tokens_text(np.zeros(36, np.uint8)) == ""


def test_a_row_is_asked_with_the_other_pairs_of_its_own_variant(reading_run: RunFile) -> None:
    folder = build(reading_run.data, Path(reading_run.storage.data))
    splits = {name: read_split(folder, name) for name in ("train", "test")}
    names, prompts = read_identifiers(folder), Prompts(splits)
    numbers = {"one": 0, "two": 1, "three": 2}
    for split, found in splits.items():
        for row, identifier in enumerate(found.row_identifiers.tolist()):
            turn, number = redo(names[identifier]), numbers[names[identifier].split("|||")[0]]
            pairs = [
                tuple(
                    cells_text(turn(np.array(grid, np.uint8)))
                    for grid in ([[k, 0], [0, k], [number, number]], [[0, k], [k, number]])
                )
                for k in (1, 2, 3, 4)
            ]
            prompt = prompts.of(split, row)
            asked = next(k for k, pair in enumerate(pairs) if pair[0] == prompt.question)
            assert asked == 3 if split == "test" else asked < 3
            assert prompt.examples == tuple(pair for k, pair in enumerate(pairs[:3]) if k != asked)


def test_of_a_long_prompt_the_first_examples_are_left_out_and_the_question_never() -> None:
    prompt = Prompt(tuple((str(k), str(-k)) for k in range(5)), "the question")
    words = lambda text: len(text.split())  # noqa: E731
    whole = words(prompt.text())
    assert fitted(prompt, words, whole) == prompt.text()
    shorter = fitted(prompt, words, whole - 1)
    assert shorter == prompt.text(1)
    assert "Example 1:\nInput:\n1\n" in shorter
    assert fitted(prompt, words, 1) == prompt.text(5)
    assert "Example" not in prompt.text(5)
    assert "the question" in prompt.text(5)


def test_a_row_without_an_identifier_has_no_examples(tmp_path: Path) -> None:
    from trainer.data.store import write_identifiers, write_split

    rows = np.stack([encode(np.full((2, 2), k, np.uint8), 4) for k in range(3)])
    for split in ("train", "test"):
        write_split(tmp_path, split, rows, rows, 12)
    write_identifiers(tmp_path, [])
    prompts = Prompts({name: read_split(tmp_path, name) for name in ("train", "test")})
    assert prompts.of("test", 1) == Prompt((), "1 1\n1 1")
