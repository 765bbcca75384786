"""Scores: of the averaged weights, of the checkpoint that was asked for, with everything the report shows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainer.helpers import change, fingerprint, train_alone
from trainer import checkpoint, data
from trainer.candidates import find_checkpoint
from trainer.data.sampler import evenly
from trainer.data.store import read_split
from trainer.data.stream import Rows
from trainer.dist import World
from trainer.evaluate import evaluate
from trainer.evaluators.exact import Solved, calibration, scores
from trainer.state import make_model
from trmkit.errors import CheckpointError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

STEPS = 3
"""Supervision steps of the small run."""

SCORES = {
    "loss",
    "lm_loss",
    "q_halt_loss",
    "halt_depth",
    "halted_by_depth",
    "count",
    "exact_accuracy",
    "accuracy",
    "steps",
    "exact_accuracy_by_step",
    "accuracy_by_step",
    "q_halt_accuracy",
    "calibration",
    "puzzles",
    "interval",
    "compute",
}


def trained(run: RunFile, *overrides: str) -> tuple[RunFile, RunDirectory]:
    run = change(run, *overrides)
    train_alone(run)
    return run, RunDirectory.of(run)


def accuracy_of(run: RunFile, weights: dict[str, torch.Tensor]) -> float:
    """Return the part of cells right on the whole test set, computed in the plainest way."""
    split = read_split(data.build(run.data, Path(run.storage.data)), "test")
    cpu = torch.device("cpu")
    model = make_model(run, split.metadata, cpu)
    model.load_state_dict(weights)
    model.eval()
    batch, carry = Rows(split, cpu, on_device=True).get(torch.arange(len(split))), None
    with torch.no_grad():
        for _ in range(STEPS):
            step = model(carry, batch)
            carry = step.carry
    return float((step.outputs["preds"] == batch["labels"]).float().mean())


def test_eval_json_holds_what_the_report_shows(small_run: RunFile, alone: World) -> None:
    run, directory = trained(small_run, "evaluate.blank_identifiers=true")
    returned = evaluate(run, directory, alone)
    found = json.loads(directory.evaluation.read_text())
    assert found == json.loads(json.dumps(returned))
    assert found.keys() == {
        "step", "total", "checkpoint", "asked", "weights", "scope", "supervision_steps", "early_exit", "settled",
        "rollouts", "seconds", "sets", "grid", "examples", "gallery",
    }  # fmt: skip
    assert found["scope"] == {"unit": "rows", "scored": 24, "total": 24}
    assert (found["step"], found["checkpoint"], found["supervision_steps"]) == (12, "last", STEPS)
    assert found["grid"] == {"kind": "sudoku", "height": 4, "width": 4}
    assert {name: scored["count"] for name, scored in found["sets"].items()} == {"test": 24, "fit": 8, "test_blank": 24}
    for name, scored in found["sets"].items():
        assert scored.keys() == SCORES | ({"rules"} if name == "test" else set())
        assert scored["interval"]["low"] <= scored["exact_accuracy"] <= scored["interval"]["high"]
        assert [entry["exact_accuracy"] for entry in scored["compute"]] == scored["exact_accuracy_by_step"]
        assert len(scored["exact_accuracy_by_step"]) == len(scored["accuracy_by_step"]) == STEPS
        assert scored["accuracy_by_step"][-1] == pytest.approx(scored["accuracy"])
        assert scored["steps"] == STEPS
        assert sum(entry["count"] for entry in scored["calibration"]["bins"]) == scored["count"]
        assert scored["puzzles"]["count"] == scored["count"]


def test_examples_are_rows_of_the_data_set_and_what_was_made_of_them(small_run: RunFile, alone: World) -> None:
    run, directory = trained(small_run)
    found = evaluate(run, directory, alone)["examples"]
    assert [row["set"] for row in found] == ["test"] * 4 + ["fit"] * 4
    folder = data.build(run.data, Path(run.storage.data))
    for row in found:
        split = read_split(folder, "test" if row["set"] == "test" else "train")
        for name, tokens in (("question", split.inputs), ("truth", split.labels)):
            assert np.array_equal(np.ravel(row[name]) + 1, tokens[row["row"]])
        assert np.shape(row["prediction"]) == (4, 4)
        assert row["exact"] == (row["prediction"] == row["truth"])
    assert [row["row"] for row in found[:4]] == [0, 6, 12, 18]


def test_the_average_is_scored_when_there_is_one(small_run: RunFile, alone: World) -> None:
    run, directory = trained(small_run, "train.ema=0.9")
    last = find_checkpoint(directory, "last")
    raw = last.tensors("model.safetensors")
    averaged = accuracy_of(run, raw | last.tensors("ema.safetensors"))
    found = evaluate(run, directory, alone)
    assert found["weights"] == "averaged (EMA)"
    assert found["sets"]["test"]["accuracy"] == pytest.approx(averaged, abs=1e-6)
    assert averaged != pytest.approx(accuracy_of(run, raw), abs=1e-6)


def test_the_raw_weights_are_scored_when_there_is_no_average(small_run: RunFile, alone: World) -> None:
    run, directory = trained(small_run, "train.ema=0")
    found = evaluate(run, directory, alone)
    assert found["weights"] == "raw"
    raw = find_checkpoint(directory, "last").tensors("model.safetensors")
    assert found["sets"]["test"]["accuracy"] == pytest.approx(accuracy_of(run, raw), abs=1e-6)


def test_a_score_during_training_is_the_score_of_that_checkpoint(small_run: RunFile, alone: World) -> None:
    run, directory = trained(small_run, "evaluate.sample=1000")
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    logged = [line for line in lines if line["kind"] == "eval"][-1]
    found = evaluate(run, directory, alone)["sets"]["test"]
    for name in ("count", "exact_accuracy", "accuracy", "steps", "q_halt_accuracy", "halt_depth", "halted_by_depth"):
        assert logged[name] == found[name]
    assert logged["exact_accuracy_by_depth"] == found["exact_accuracy_by_step"]
    assert sum(filter(None, logged["q_halt_rows"])) == logged["count"]
    assert logged["loss"] == pytest.approx(found["loss"])
    assert logged["loss"] == pytest.approx(found["lm_loss"] + found["q_halt_loss"] / 2)


def test_evaluation_during_training_changes_nothing_of_the_training(small_run: RunFile, tmp_path: Path) -> None:
    _, watched = trained(small_run, "evaluate.every_steps=2")
    _, unwatched = trained(small_run, "evaluate.every_steps=null", f"storage.path={tmp_path / 'unwatched'}")
    assert watched.root.name == unwatched.root.name
    one, two = fingerprint(watched.checkpoints), fingerprint(unwatched.checkpoints)
    assert {name for name, content in one.items() if two[name] != content} <= {"state.json"}  # knows of evaluations
    assert one.keys() == two.keys() > {"model.safetensors", "ema.safetensors", "optimizer.safetensors"}


def test_the_best_checkpoint_is_scored_when_asked_for(small_run: RunFile, alone: World) -> None:
    run, directory = trained(small_run)
    checkpoint.write_best(directory.checkpoints, {"step": 8, "metric": "exact_accuracy", "value": 0.5})
    best = evaluate(run, directory, alone, "best")
    assert (best["step"], best["checkpoint"]) == (8, "best")
    assert evaluate(run, directory, alone)["step"] == 12


def test_without_a_best_checkpoint_the_error_says_how_to_get_one(small_run: RunFile, alone: World) -> None:
    run, directory = trained(small_run, "evaluate.every_steps=null")
    with pytest.raises(CheckpointError, match=r"evaluate\.every_steps"):
        evaluate(run, directory, alone, "best")


def test_an_untrained_run_cannot_be_scored(small_run: RunFile, alone: World) -> None:
    directory = RunDirectory.of(small_run)
    with pytest.raises(CheckpointError, match="train first"):
        evaluate(small_run, directory, alone)
    assert not directory.evaluation.exists()


def test_a_damaged_checkpoint_is_passed_over_and_the_best_is_not(small_run: RunFile, alone: World) -> None:
    run, directory = trained(small_run)
    checkpoint.write_best(directory.checkpoints, {"step": 12, "metric": "exact_accuracy", "value": 0.5})
    weights = directory.checkpoints / "step_00000012" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert evaluate(run, directory, alone)["step"] == 8
    with pytest.raises(CheckpointError, match=r"model\.safetensors has"):
        evaluate(run, directory, alone, "best")
    for path in directory.checkpoints.glob("step_*/manifest.json"):
        path.unlink()
    with pytest.raises(CheckpointError, match="holds no whole checkpoint") as refused:
        evaluate(run, directory, alone)
    assert str(refused.value).count("there is no manifest") == len(checkpoint.steps(directory.checkpoints))


def test_another_models_checkpoint_is_refused(small_run: RunFile, alone: World) -> None:
    _, directory = trained(small_run)
    with pytest.raises(CheckpointError):
        evaluate(change(small_run, "model.hidden_size=32"), directory, alone)


def test_a_sample_is_spread_evenly_and_never_repeats() -> None:
    rows = np.arange(100, 110)
    assert evenly(rows, 4).tolist() == [100, 102, 105, 107]
    assert evenly(rows, 10).tolist() == evenly(rows, 99).tolist() == rows.tolist()
    assert evenly(rows, 0).tolist() == []


def test_only_a_part_of_the_test_set_is_scored_when_asked_for(small_run: RunFile, alone: World) -> None:
    run, directory = trained(small_run, "evaluate.final_sample=5", "evaluate.fit_sample=0", "evaluate.examples=0")
    found = evaluate(run, directory, alone)
    assert {name: scored["count"] for name, scored in found["sets"].items()} == {"test": 5}
    assert found["examples"] == []


def solved_by_hand() -> Solved:
    exact = np.array([[0, 0], [0, 1], [1, 1], [0, 0]], dtype=bool)
    accuracy = np.array([[0.0, 0.5], [0.5, 1.0], [1.0, 1.0], [0.25, 0.25]], dtype=np.float32)
    odds = np.array([[1, 1 / 3], [1, 3], [1, 19], [1, 4]])  # probabilities 1/4, 3/4, 0.95, 0.8 after the last step
    return Solved(exact, accuracy, np.log(odds).astype(np.float32), np.array([2, 2, 1, 2], np.int32), {})


def test_scores_of_rows_counted_by_hand() -> None:
    found: dict[str, Any] = scores(solved_by_hand())
    assert found["count"] == 4
    assert found["exact_accuracy"] == 0.5
    assert found["accuracy"] == pytest.approx((0.5 + 1 + 1 + 0.25) / 4)
    assert found["steps"] == pytest.approx(7 / 4)
    assert found["exact_accuracy_by_step"] == [0.25, 0.5]
    assert found["accuracy_by_step"] == pytest.approx([1.75 / 4, 2.75 / 4])
    assert found["q_halt_accuracy"] == 0.75
    assert found["calibration"]["bins"] == [
        {"bin": 2, "count": 1, "predicted": pytest.approx(0.25), "observed": 0.0},
        {"bin": 7, "count": 1, "predicted": pytest.approx(0.75), "observed": 1.0},
        {"bin": 8, "count": 1, "predicted": pytest.approx(0.8), "observed": 0.0},
        {"bin": 9, "count": 1, "predicted": pytest.approx(0.95), "observed": 1.0},
    ]
    assert found["halt_depth"] == pytest.approx((2 + 2 + 2 + 2) / 4)  # the first logit is never above 0
    assert found["halted_by_depth"] == [0.0, 0.75]
    assert found["calibration"]["expected_error"] == pytest.approx((0.25 + 0.25 + 0.8 + 0.05) / 4)


def test_calibration_puts_a_probability_of_one_into_the_last_tenth() -> None:
    found = calibration(np.array([0.92, 1.0, 0.0], np.float32), np.array([True, False, False]))
    assert found["bins"] == [
        {"bin": 0, "count": 1, "predicted": 0.0, "observed": 0.0},
        {"bin": 9, "count": 2, "predicted": pytest.approx(0.96), "observed": 0.5},
    ]
    assert found["expected_error"] == pytest.approx(2 / 3 * 0.46)
