"""A trained model answers what people hand in, says how sure it is, and says where an input is wrong."""

import doctest
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.helpers import change, train_alone
from trainer import inference
from trainer.__main__ import main
from trainer.data import place_of
from trainer.data.manifest import Grid
from trainer.data.store import read_split
from trainer.inference import Solver
from trainer.puzzles import kind_of
from trmkit.errors import CheckpointError, DataError, SpecError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

PUZZLE = "1.3.3.1.2.4.4.2."


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the directories of three runs that were trained for a few updates: sudoku, maze, arc."""
    root = tmp_path_factory.mktemp("solvers")
    pairs = [{"input": [[k, 0], [0, k]], "output": [[0, k], [k, 0]]} for k in (1, 2, 3, 4)]
    (root / "tasks").mkdir()
    for name in ("flip", "other"):
        start = pairs if name == "flip" else [{"input": p["output"] + [[5, 5]], "output": p["input"]} for p in pairs]
        (root / "tasks" / f"{name}.json").write_text(json.dumps({"train": start[:3], "test": start[3:]}))
    sections = {
        "sudoku": ["data={source: sudoku-generated, side: 4, train_puzzles: 100, test_puzzles: 20, num_aug: 3}"],
        "maze": ["data={source: maze-generated, side: 5, train_puzzles: 40, test_puzzles: 10}"],
        "arc": [
            f"data={{source: arc, collections: [{root}/tasks], test: {root}/tasks, canvas: 4, num_aug: 9}}",
            "train.puzzle_emb_lr=0.05",
        ],
    }
    found = {}
    for kind, keys in sections.items():
        keys += [
            f"storage.path={root}/runs",
            f"storage.data={root}/data",
            "evaluate.every_steps=null",
            "train.steps=10",
        ]
        run = change(None, f"name={kind}", *keys)
        train_alone(run)
        shutil.rmtree(root / "data")  # the checkpoint is all that is needed
        found[kind] = RunDirectory.of(run).root
    return found


def test_the_example_in_the_documentation_runs(runs: dict[str, Path]) -> None:
    finder = doctest.DocTestFinder()
    [example] = [test for test in finder.find(inference.Solver, "Solver", globs={}) if test.examples]
    example.globs = {"Solver": Solver, "run_directory": runs["sudoku"]}
    result = doctest.DocTestRunner().run(example)
    assert result.attempted == 3
    assert result.failed == 0


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "xla"])
def test_a_device_that_is_not_here_is_an_error_that_says_what_is(
    runs: dict[str, Path], device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SpecError, match=f"there is no '{device}' here") as refused:
        Solver.load(runs["sudoku"], device=device)
    assert refused.value.next.endswith("cpu")
    assert main(["predict", str(runs["sudoku"]), PUZZLE, "--device", device]) == 2
    assert capsys.readouterr().err.startswith("error: device: there is no")


def test_auto_takes_a_device_that_is_here(runs: dict[str, Path]) -> None:
    [answer] = Solver.load(runs["sudoku"], device="auto").solve(PUZZLE)
    assert len(answer.text) == 16


def test_answers_are_those_of_the_evaluation(small_run: RunFile) -> None:
    import torch

    from trainer.candidates import find_checkpoint, load_for_inference
    from trainer.data.stream import Rows
    from trainer.dist import World
    from trainer.solve import Plan, solve
    from trainer.state import make_model

    train_alone(small_run)
    world = World(0, 1, 0, torch.device("cpu"))
    split = read_split(place_of(small_run.data, Path(small_run.storage.data)), "test")
    model = make_model(small_run, split.metadata, world.device)
    load_for_inference(model, find_checkpoint(RunDirectory.of(small_run), "last"))
    rows = np.arange(len(split))
    solved = solve(
        model, Rows(split, world.device, on_device=False), rows, Plan(3, 7), world, show=rows, check=lambda: None
    )
    text = "\n".join("".join(str(token - 1) for token in row) for row in split.inputs)
    answers = Solver.load(RunDirectory.of(small_run).root).solve(text)
    for row, answer in enumerate(answers):
        assert answer.cells == (solved.predictions[row].clip(1) - 1).reshape(4, 4).tolist()
        assert answer.confidence == pytest.approx(1 / (1 + np.exp(-solved.q_halt[row, -1])), rel=1e-5)
        assert answer.guesses[-1].cells == answer.cells


def test_a_sudoku_is_taken_as_a_line_or_as_numbers(runs: dict[str, Path]) -> None:
    solver = Solver.load(runs["sudoku"])
    grid = [[0 if cell == "." else int(cell) for cell in PUZZLE[row : row + 4]] for row in range(0, 16, 4)]
    (line,), (numbers,) = solver.solve(PUZZLE), solver.solve(grid)
    assert line == numbers
    assert len(solver.solve(f"{PUZZLE}\n\n{PUZZLE.replace('.', '0')}\r\n")) == 2


def test_a_checkpoint_is_enough_and_a_damaged_one_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs["sudoku"], copy)
    step = copy / "checkpoints" / "step_00000010"
    assert Solver.load(step).solve(PUZZLE) == Solver.load(runs["sudoku"]).solve(PUZZLE)
    (step / "ema.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"ema\.safetensors has 7 bytes"):
        Solver.load(step)
    (copy / "run.yaml").unlink()
    with pytest.raises(CheckpointError, match="is neither a run directory nor"):
        Solver.load(copy)


def test_using_a_model_leaves_random_numbers_alone(runs: dict[str, Path]) -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Solver.load(runs["sudoku"]).solve(PUZZLE)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: there is no puzzle"),
        (PUZZLE + "1", "line 1: has 17 characters, this model takes 16"),
        (f"{PUZZLE}\n{PUZZLE[:5]}x{PUZZLE[6:]}", "line 2, column 6: 'x' is no digit up to 4 and no blank"),
        ("5" + PUZZLE[1:], "line 1, column 1: '5' is no digit up to 4"),
        ("11" + PUZZLE[2:], r"line 1, column 2: the givens contradict each other: 1 is twice in row 1"),
        ("1...1" + "." * 11, r"line 1, column 5: the givens contradict each other: 1 is twice in column 1"),
        ("1....1" + "." * 10, r"line 1, column 6: the givens contradict each other: 1 is twice in box 1"),
    ],
)
def test_a_wrong_sudoku_is_refused_with_its_place(runs: dict[str, Path], text: str, said: str) -> None:
    with pytest.raises(DataError, match=f"^mine: {said}"):
        Solver.load(runs["sudoku"]).solve(text, name="mine")


def test_a_sudoku_answer_is_checked() -> None:
    kind = kind_of(Grid("sudoku", 4, 4), [])
    [question] = kind.read(PUZZLE, "x", 1)
    right = "1234341221434321"

    def words(text: str) -> str:
        return kind.check(question, [[int(c) for c in text[i : i + 4]] for i in range(0, 16, 4)]).words

    assert words(right) == "valid Sudoku, keeps the givens"
    assert words("2" + right[1:]) == "not valid: changes 1 givens, the first in row 1, column 1"
    assert words(right[0] + "0" + right[2:]) == "not valid: 1 cells are left blank"
    assert words(right[0] + "1" + right[2:]) == "not valid: 1 is twice in row 1"


MAZE = "S  ##\n## ##\n#    \n# # #\n#G###\n"


def test_a_maze_is_answered_as_text(runs: dict[str, Path]) -> None:
    solver = Solver.load(runs["maze"])
    [answer] = solver.solve(MAZE)
    assert [len(line) for line in answer.text.splitlines()] == [5] * 5
    both = solver.solve(f"{MAZE}\n{MAZE}")
    assert [one.label for one in both] == ["maze in line 1", "maze in line 7"]
    assert both[0].cells == answer.cells


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MAZE.replace("G", " "), "line 1: the maze that begins here has no G"),
        (MAZE.replace("G", "S"), "line 5, column 2: a second S; the first is in line 1"),
        (MAZE.replace("# # #", "# x #"), "line 4, column 3: 'x' is none of"),
        (MAZE.replace("# # #", "# # ##"), "line 4, column 6: the line has more than 5 characters"),
        (MAZE + "#####", "line 6: there are 6 lines"),
        ("", "line 1: there are 0 lines"),
        (MAZE + "x\n" + MAZE, "line 6: is not empty"),
    ],
)
def test_a_wrong_maze_is_refused_with_its_place(runs: dict[str, Path], text: str, said: str) -> None:
    with pytest.raises(DataError, match=f"^mine: {said}"):
        Solver.load(runs["maze"]).solve(text, name="mine")


def test_a_maze_answer_is_checked() -> None:
    kind = kind_of(Grid("maze", 5, 5), [])
    [question] = kind.read(MAZE, "x", 1)

    def words(text: str) -> str:
        tokens = {c: t for t, c in enumerate("# SGo", 1)}
        return kind.check(question, [[tokens[c] for c in line] for line in text.splitlines()]).words

    assert kind.read("S  ##\n## ##\n#\n# # #\n#G###\n", "x", 1)[0].rows.tolist() == question.rows.tolist()
    right = "Soo##\n##o##\n#oo  \n#o# #\n#G###"
    assert words(right) == "path connects S to G, 8 cells, shortest"
    assert words(right.replace("#oo  ", "#ooo ")) == (
        "not valid: path connects S to G, but with 9 cells marked; the shortest has 8"
    )
    assert words(right.replace("#o# #", "# # #")) == (
        "not valid: the path does not connect S to G; the shortest has 8 cells"
    )
    assert words(right.replace("#G", "oG")) == (
        "not valid: changes 1 cells that are not free, the first in row 5, column 1"
    )
    [shut] = kind.read(MAZE.replace("# # #", "### #"), "x", 1)
    assert (
        kind.check(shut, shut.rows.reshape(5, 5).tolist()).words
        == "not valid: there is no way from S to G in this maze"
    )


TASK = {"train": [], "test": [{"input": [[4, 0], [0, 4]], "output": [[0, 4], [4, 0]]}, {"input": [[5]]}]}


def test_a_known_task_is_asked_in_its_variants_and_their_answers_vote(runs: dict[str, Path]) -> None:
    solver = Solver.load(runs["arc"])
    first, second = solver.solve(TASK, name="some/folder/flip.json", votes=6)
    assert sum(one.votes for one in first.candidates) == 6
    assert [one.votes for one in first.candidates] == sorted((one.votes for one in first.candidates), reverse=True)
    assert first.candidates[0].cells == first.cells
    assert first.valid == (first.cells == [[0, 4], [4, 0]])
    assert (second.valid, second.note) == (None, "")
    assert sum(one.votes for one in solver.solve(TASK, name="flip.json", votes=99)[0].candidates) <= 10


def test_views_are_turned_back_before_they_vote() -> None:
    names = ["<blank>", "t", "t|||t1|||0213456789", "t|||t6|||0123456798"]
    kind = kind_of(Grid("arc", 4, 4), names)
    [question] = kind.read(json.dumps({"test": [{"input": [[1, 2, 0], [9, 9, 8]]}]}), "t.json", 9)
    assert question.identifiers == (1, 2, 3)
    [only] = kind.candidates(question, question.rows, [0.5, 0.25, 0.75])
    assert (only.cells, only.votes, only.confidence) == ([[1, 2, 0], [9, 9, 8]], 3, 0.5)


def test_views_between_marks_are_read_and_turned_back() -> None:
    names = ["<blank>", "t", "t|||t1|||9213456780", "t|||t6|||1023456798"]
    kind = kind_of(Grid("arc", 5, 5, "corners"), names)
    text = json.dumps({"test": [{"input": [[1, 2, 0], [9, 9, 8]]}]})
    [question] = kind.read(text, "t.json", 9)
    [only] = kind.candidates(question, question.rows, [0.5, 0.25, 0.75])
    assert (only.cells, only.votes) == ([[1, 2, 0], [9, 9, 8]], 3)
    assert kind.cells(question.rows[0]) == only.cells
    with pytest.raises(DataError, match="1 x 4 cells, this model takes up to 3 x 3"):
        kind.read(json.dumps({"test": [{"input": [[1, 2, 3, 4]]}]}), "t.json", 9)


def test_an_unknown_task_says_so_and_points_to_fine_tuning(runs: dict[str, Path]) -> None:
    answer, _ = Solver.load(runs["arc"]).solve(TASK, name="new.json")
    assert "never trained on a task 'new'" in answer.note
    assert "fine-tune" in answer.note
    assert [one.votes for one in answer.candidates] == [1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1, column 2: not JSON"),
        ('{"test": [\n1,]}', "line 2, column 3: not JSON"),
        ("[]", "is no task: there are no test pairs"),
        ('{"test": []}', "is no task"),
        ('{"test": [{"output": [[1]]}]}', "test pair 0: has no input"),
        ('{"test": [{"input": [[1, 10]]}]}', "task flip: test pair 0, input: a colour is not"),
        ('{"test": [{"input": [[1, 2, 3, 4, 5]]}]}', "test pair 0, input: 1 x 5 cells, this model takes up to 4 x 4"),
        ("[" * 100_000, "not JSON that can be read"),
    ],
)
def test_a_wrong_task_is_refused_with_its_place(runs: dict[str, Path], text: str, said: str) -> None:
    with pytest.raises(DataError, match=f"^flip.json: {said}"):
        Solver.load(runs["arc"]).solve(text, name="flip.json")


def test_a_run_on_rows_without_a_meaning_is_refused() -> None:
    with pytest.raises(DataError, match="does not say what its rows mean"):
        kind_of(Grid("sequence", 1, 81), ["<blank>"])


def test_the_command_prints_answers_for_people_and_for_programs(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(runs["sudoku"]), PUZZLE, "--steps"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("line 1: confidence 0.")
    assert [line.split(":")[0] for line in lines if "step" in line] == ["  step 1", "  step 2", "  step 3"]
    file = tmp_path / "flip.json"
    file.write_text(json.dumps(TASK))
    assert main(["predict", str(runs["arc"]), str(file), "-o", "json", "--votes", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["step"], len(found["answers"])) == ("arc", 10, 2)
    assert "guesses" not in found["answers"][0]


@pytest.mark.parametrize(
    ("given", "said"), [("nowhere.txt", "nowhere.txt: no such file"), ("12", "the puzzle: line 1: has 2 characters")]
)
def test_a_bad_input_ends_with_1_and_no_traceback(
    runs: dict[str, Path], given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(runs["sudoku"]), given]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}")
    assert "next:" in error


def test_a_file_that_is_no_text_is_refused_with_its_place(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bytes"
    file.write_bytes(b"12\n3\xff")
    assert main(["predict", str(runs["sudoku"]), str(file)]) == 1
    assert f"{file}: line 2, column 2: not UTF-8 text" in capsys.readouterr().err
