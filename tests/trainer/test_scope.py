"""Parts of the test set: whole tasks where tasks vote; and what becomes of the scores of all of it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.helpers import TASKS, change, train_alone
from trainer import data
from trainer.data.manifest import grid_of
from trainer.data.store import Split, read_identifiers, read_split
from trainer.dist import World
from trainer.evaluate import evaluate
from trainer.scope import Part, choose, groups_of
from trmkit.errors import CheckpointError, SpecError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


@pytest.fixture
def opened(arc_run: RunFile) -> Callable[..., Any]:
    """Function that chooses rows of the tasks' test split."""
    folder = data.build(arc_run.data, Path(arc_run.storage.data))

    def scope(part: Part, *overrides: str) -> Any:
        split = read_split(folder, "test")
        return choose(change(arc_run, *overrides), split, grid_of(folder), read_identifiers(folder), part)

    return scope


def names_of(run: RunFile, rows: Any) -> set[str]:
    folder = data.build(run.data, Path(run.storage.data))
    split, names = read_split(folder, "test"), read_identifiers(folder)
    return {names[identifier].split("|||")[0] for identifier in split.row_identifiers[rows]}


def test_a_task_is_scored_with_all_its_rows_or_not_at_all(arc_run: RunFile, opened: Callable[..., Any]) -> None:
    split: Split = read_split(data.build(arc_run.data, Path(arc_run.storage.data)), "test")
    whole = opened(Part())
    assert (whole.whole, len(whole.rows), whole.as_json()) == (
        True, len(split), {"unit": "tasks", "scored": 4, "total": 4}
    )  # fmt: skip
    for scope in (opened(Part(sample=2)), opened(Part(), "evaluate.final_sample=2"), opened(Part(tasks=TASKS[1:3]))):
        assert scope.as_json() == {"unit": "tasks", "scored": 2, "total": 4}
        groups = set(groups_of(split, scope.rows).tolist())
        assert len(groups) == 2
        assert len(scope.rows) == sum(group in groups for group in groups_of(split, whole.rows).tolist())
    assert names_of(arc_run, opened(Part(tasks=("cherry",))).rows) == {"cherry"}
    assert opened(Part(sample=99)).whole


def test_a_part_of_unaugmented_rows_stays_unaugmented(arc_run: RunFile, opened: Callable[..., Any]) -> None:
    scope = opened(Part(tasks=("banana",)), "evaluate.augmented=false")
    assert len(scope.rows) == 2
    assert names_of(arc_run, scope.rows) == {"banana"}


def test_an_unknown_task_is_an_error_that_names_a_close_one(opened: Callable[..., Any]) -> None:
    with pytest.raises(SpecError, match="no task 'chery'; did you mean 'cherry'") as refused:
        opened(Part(tasks=("apple", "chery")))
    assert "it holds 4 tasks" in refused.value.next


def test_rows_without_tasks_are_sampled_one_by_one(small_run: RunFile) -> None:
    folder = data.build(small_run.data, Path(small_run.storage.data))
    split, names = read_split(folder, "test"), read_identifiers(folder)
    scope = choose(small_run, split, grid_of(folder), names, Part(sample=5))
    assert scope.as_json() == {"unit": "rows", "scored": 5, "total": 24}
    with pytest.raises(SpecError, match="no named tasks"):
        choose(small_run, split, grid_of(folder), names, Part(tasks=("apple",)))


def test_a_part_leaves_the_whole_scores_alone(arc_run: RunFile, alone: World) -> None:
    directory = RunDirectory.of(arc_run)
    whole = evaluate(arc_run, directory, alone)
    before = directory.evaluation.read_bytes(), (directory.root / "submission.json").read_bytes()
    part = evaluate(arc_run, directory, alone, "last", Part(tasks=("apple", "damson")))
    assert json.loads(directory.partial_evaluation.read_text())["scope"]["scored"] == 2
    assert part["sets"].keys() == {"test"}
    assert part["sets"]["test"]["voting"]["tasks"] == 2
    assert {task["task"] for task in part["gallery"]} == {"apple", "damson"}
    submitted = json.loads((directory.root / "submission-partial.json").read_text())
    every = json.loads(before[1])
    assert submitted == {name: every[name] for name in ("apple", "damson")}
    directory.partial_evaluation.unlink()
    evaluate(change(arc_run, "evaluate.final_sample=1"), directory, alone)
    assert directory.partial_evaluation.exists()
    assert (directory.evaluation.read_bytes(), (directory.root / "submission.json").read_bytes()) == before
    directory.evaluation.unlink()
    evaluate(change(arc_run, "evaluate.final_sample=1"), directory, alone)
    assert json.loads(directory.evaluation.read_text())["scope"]["scored"] == 1
    assert whole["scope"]["scored"] == 4


@pytest.mark.parametrize("part", [Part(sample=100_000), Part(tasks=TASKS)])
def test_a_part_that_leaves_nothing_out_is_the_whole(arc_run: RunFile, alone: World, part: Part) -> None:
    directory = RunDirectory.of(arc_run)
    directory.partial_evaluation.unlink(missing_ok=True)
    whole = evaluate(arc_run, directory, alone)
    directory.evaluation.unlink()
    found = evaluate(arc_run, directory, alone, "last", part)
    assert not directory.partial_evaluation.exists()
    assert json.loads(directory.evaluation.read_text())["scope"] == {"unit": "tasks", "scored": 4, "total": 4}
    assert found["sets"] == whole["sets"]


def test_the_gallery_is_spread_evenly_over_the_tasks(arc_run: RunFile, alone: World) -> None:
    found = evaluate(change(arc_run, "evaluate.examples=2"), RunDirectory.of(arc_run), alone)
    every = list(json.loads((RunDirectory.of(arc_run).root / "submission.json").read_text()))
    assert [task["task"] for task in found["gallery"]] == every[::2]
    assert found["sets"]["test"]["voting"]["tasks"] == len(every) == 4


def test_one_checkpoint_is_no_ensemble(arc_run: RunFile, alone: World, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    shutil.copytree(RunDirectory.of(arc_run).root, directory.root)
    for step in (3, 6):
        (directory.checkpoints / f"step_{step:08d}" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"evaluate\.ensemble: .* has one whole checkpoint") as refused:
        evaluate(change(arc_run, "evaluate.ensemble=3"), directory, alone)
    assert "train.checkpoint.keep" in refused.value.next


def test_the_checkpoints_that_vote_together_have_a_score_of_their_own(arc_run: RunFile, alone: World) -> None:
    directory = RunDirectory.of(arc_run)
    plain = evaluate(arc_run, directory, alone)["sets"]["test"]
    found = evaluate(change(arc_run, "evaluate.ensemble=3"), directory, alone)["sets"]["test"]
    assert found["ensemble"]["steps"] == [3, 6, 9]
    assert found["ensemble"]["ballots"] == 3 * found["voting"]["ballots"]
    assert found["ensemble"]["pass_at"].keys() == {"1", "2", "100"}
    assert found["voting"] == plain["voting"]
    best = evaluate(change(arc_run, "evaluate.ensemble=2"), directory, alone)["sets"]["test"]
    assert best["ensemble"]["steps"] == [6, 9]


def test_only_what_votes_can_vote_together(small_run: RunFile, alone: World) -> None:
    train_alone(small_run)
    with pytest.raises(SpecError, match=r"evaluate\.ensemble: only answers to ARC tasks"):
        evaluate(change(small_run, "evaluate.ensemble=2"), RunDirectory.of(small_run), alone)


def test_rollouts_of_arc_are_ballots(arc_run: RunFile, alone: World) -> None:
    run = change(arc_run, "evaluate.rollouts=3", "evaluate.noise=0.1", "evaluate.supervision_steps=4")
    found = evaluate(run, RunDirectory.of(arc_run), alone)
    rows = found["sets"]["test"]["count"]
    assert found["sets"]["test"]["voting"]["ballots"] == 3 * rows
    assert found["rollouts"] == {"count": 3, "noise": 0.1, "select": "q_halt"}
    assert [(entry["steps"], entry["rollouts"]) for entry in found["sets"]["test"]["compute"]] == [
        (1, 1), (2, 1), (3, 1), (4, 1), (4, 1), (4, 2), (4, 3)
    ]  # fmt: skip


@pytest.mark.parametrize("override", ["evaluate.rollouts=2", "evaluate.noise=0.5"])
def test_rollouts_without_noise_and_noise_without_rollouts_are_refused(small_run: RunFile, override: str) -> None:
    with pytest.raises(SpecError, match="give both, or neither"):
        change(small_run, override)


def test_two_processes_and_the_command_find_what_one_process_finds(arc_run: RunFile, alone: World) -> None:
    directory = RunDirectory.of(arc_run)
    overrides = ["evaluate.rollouts=2", "evaluate.noise=0.1", "evaluate.batch_size=5"]
    part = Part(tasks=("apple", "banana", "cherry"))
    expected = json.loads(json.dumps(evaluate(change(arc_run, *overrides[:2]), directory, alone, "last", part)))
    flags = ["--tasks", "apple,banana, cherry", *(word for override in overrides for word in ("--set", override))]
    module = ["-m", "trainer", "evaluate", str(directory.run_file), *flags]
    launcher = ["-m", "trainer.launch", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run([sys.executable, *launcher, *module], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(directory.partial_evaluation.read_text())
    for name in ("scope", "gallery", "examples", "rollouts"):
        assert approximately(found[name]) == approximately(expected[name])
    assert approximately(found["sets"]["test"]) == approximately(expected["sets"]["test"])


def approximately(value: Any) -> Any:
    """Round every number: batches of another size add in another order."""
    if isinstance(value, dict):
        return {name: approximately(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [approximately(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value
