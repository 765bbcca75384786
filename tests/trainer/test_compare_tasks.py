"""Runs that answer the same tasks, side by side."""

from pathlib import Path

from tests.trainer.helpers import train_alone
from trainer.dist import World
from trainer.evaluate import evaluate
from trainer.report.compare import compare_runs
from trainer.report.gallery import same_tasks
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


def scored(run: RunFile, alone: World) -> RunDirectory:
    train_alone(run)
    directory = RunDirectory.of(run)
    directory.run_file.write_text(dump(run))
    evaluate(run, directory, alone)
    return directory


def test_runs_of_the_same_tasks_are_compared_by_votes_costs_and_pictures(
    arc_run: RunFile, alone: World, tmp_path: Path
) -> None:
    storage = arc_run.storage.model_copy(update={"path": str(tmp_path / "runs")})
    runs = [arc_run.model_copy(update={"seed": seed, "storage": storage}) for seed in (5, 6)]
    page = tmp_path / "compare.html"
    table = compare_runs([scored(run, alone) for run in runs], "table", page)
    for name in ("test pass@2", "parameters", "puzzle table", "FLOPs of training", "memory, estimated"):
        [line] = [line for line in table.splitlines() if line.startswith(name)]
        assert "–" not in line
    text = page.read_text()
    assert "The same tasks" in text
    assert "answer of run 2" in text


def test_tasks_of_one_name_that_ask_something_else_are_not_put_side_by_side() -> None:
    one = {"question": [[1]], "truth": [[2]], "answers": [{"grid": [[2]]}]}
    other = one | {"truth": [[3]]}
    shown = [
        {"gallery": [{"task": name, "tests": tests}]} for name, tests in (("a", [one]), ("a", [one]), ("a", [other]))
    ]
    assert [task["name"] for task in same_tasks(shown[:2])] == ["a"]
    assert same_tasks(shown) == []
    assert same_tasks([*shown[:1], {"gallery": [{"task": "a", "tests": [one, one]}]}]) == []
