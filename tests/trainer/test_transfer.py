"""Checkpoints of the reference implementation come in, ours go out, and nothing in a file is executed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.helpers import change, train_alone
from trainer import data, models
from trainer.__main__ import main
from trainer.candidates import find_checkpoint
from trainer.data.store import read_split
from trainer.dist import World
from trainer.evaluate import evaluate
from trainer.models import TrainableModel
from trainer.state import make_model
from trainer.transfer import (
    TABLE,
    export_reference,
    import_reference,
    load_reference,
    read_weights,
    reference_weights,
)
from trmkit.errors import CheckpointError
from trmkit.spec.load import dump
from trmkit.spec.model import TrmModel
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


@pytest.fixture
def model(small_run: RunFile) -> TrainableModel:
    """Return a model of the small run with other weights than a fresh one."""
    metadata = read_split(data.build(small_run.data, Path(small_run.storage.data)), "train").metadata
    made = make_model(change(small_run, "seed=7"), metadata, torch.device("cpu"))
    with torch.no_grad():
        made.state_dict()[TABLE].normal_()
    return made


def write(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def imported(run: RunFile) -> dict[str, Tensor]:
    found = find_checkpoint(RunDirectory.of(run), "last")
    assert found.step == 0
    return found.tensors("model.safetensors")


def expect_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.mark.parametrize("prefix", ["model.", "_orig_mod.model."])
def test_a_reference_checkpoint_is_where_the_run_begins(
    small_run: RunFile, model: TrainableModel, tmp_path: Path, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = model.state_dict()
    file = write(tmp_path / "step_1000", {prefix + name: value for name, value in weights.items()})
    (tmp_path / "small.yaml").write_text(dump(small_run))
    assert main(["import", str(tmp_path / "small.yaml"), str(file)]) == 0
    folder = RunDirectory.of(small_run).checkpoints / "step_00000000"
    assert capsys.readouterr().out.strip() == str(folder)
    expect_equal(imported(small_run), weights)


def test_evaluation_scores_the_imported_weights(
    small_run: RunFile, model: TrainableModel, tmp_path: Path, alone: World
) -> None:
    directory = RunDirectory.of(small_run)
    import_reference(small_run, directory, write(tmp_path / "theirs", reference_weights(model)))
    found = evaluate(small_run, directory, alone)
    assert found["step"] == 0
    averages = find_checkpoint(directory, "last").tensors("ema.safetensors")
    expect_equal(averages, {name: p.detach() for name, p in model.named_parameters()})


def test_training_goes_on_from_the_imported_weights(
    small_run: RunFile, model: TrainableModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = change(small_run, "train.lr=1e-30", "train.weight_decay=0", "train.steps=2")
    import_reference(run, RunDirectory.of(run), write(tmp_path / "theirs", reference_weights(model)))
    assert train_alone(run) == 2
    assert "resumed from step 0" in capsys.readouterr().err
    found = find_checkpoint(RunDirectory.of(run), "last").tensors("model.safetensors")
    for name, value in model.state_dict().items():
        if name != TABLE:
            torch.testing.assert_close(found[name], value, atol=1e-20, rtol=0)


def test_what_is_exported_can_be_imported_and_scores_the_same(small_run: RunFile, tmp_path: Path, alone: World) -> None:
    train_alone(small_run)
    directory = RunDirectory.of(small_run)
    file = export_reference(small_run, directory, tmp_path / "ours", "last")
    assert not list(tmp_path.glob(".*"))
    assert all(name.startswith("model.inner.") for name in torch.load(file, weights_only=True))
    again = change(small_run, "name=again")
    import_reference(again, RunDirectory.of(again), file)
    trained = find_checkpoint(directory, "last")
    expect_equal(imported(again), trained.tensors("model.safetensors") | trained.tensors("ema.safetensors"))
    one, two = (evaluate(run, RunDirectory.of(run), alone) for run in (small_run, again))
    assert one["sets"] == two["sets"]
    assert one["examples"] == two["examples"]


def test_a_compiled_reference_reads_what_is_exported_for_it(model: TrainableModel, tmp_path: Path) -> None:
    file = write(tmp_path / "compiled", reference_weights(model, compiled=True))
    assert all(name.startswith("_orig_mod.model.inner.") for name in torch.load(file, weights_only=True))
    expect_equal(read_weights(file), model.state_dict())


def test_a_puzzle_table_of_another_length_becomes_its_mean_in_every_row(model: TrainableModel) -> None:
    table = torch.randn(7, 16)
    load_reference(model, model.state_dict() | {TABLE: table}, Path("theirs"))
    found = model.state_dict()[TABLE]
    assert len(found) == 1
    torch.testing.assert_close(found[0], table.mean(0))


def test_a_puzzle_table_without_rows_or_of_another_width_is_refused(model: TrainableModel) -> None:
    for shape in ((0, 16), (7, 15), (), (16,)):
        with pytest.raises(CheckpointError, match=TABLE):
            load_reference(model, model.state_dict() | {TABLE: torch.zeros(shape)}, Path("theirs"))


def test_weights_that_do_not_fit_are_named_and_change_nothing(model: TrainableModel) -> None:
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    wrong = dict(weights)
    wrong["inner.lm_head.weight"] = torch.zeros(11, 16)
    del wrong["inner.q_head.bias"]
    wrong["inner.H_level.layers.0.mlp.gate_up_proj.weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as refused:
        load_reference(model, wrong, Path("theirs"))
    names = ("inner.H_level.layers.0.mlp.gate_up_proj.weight", "inner.lm_head.weight", "inner.q_head.bias")
    assert str(refused.value).startswith(f"theirs: is of another model: {', '.join(names)} differ")
    expect_equal(model.state_dict(), weights)


def test_a_run_with_checkpoints_takes_no_other_weights(
    small_run: RunFile, model: TrainableModel, tmp_path: Path
) -> None:
    file = write(tmp_path / "theirs", reference_weights(model))
    import_reference(small_run, RunDirectory.of(small_run), file)
    with pytest.raises(CheckpointError, match="has checkpoints already"):
        import_reference(small_run, RunDirectory.of(small_run), file)


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.mkdir, (str(self.canary),)


def test_code_in_a_checkpoint_is_refused_and_does_not_run(
    small_run: RunFile, model: TrainableModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = tmp_path / "canary"
    file = write(tmp_path / "theirs", reference_weights(model) | {"model.extra": Hostile(canary)})
    (tmp_path / "small.yaml").write_text(dump(small_run))
    assert main(["import", str(tmp_path / "small.yaml"), str(file)]) == 1
    text = capsys.readouterr().err
    assert text.startswith(f"error: {file}: no checkpoint of weights")
    assert "weights_only=False" not in text
    assert not canary.exists()
    assert not RunDirectory.of(small_run).checkpoints.exists()
    torch.load(file, weights_only=False)
    assert canary.is_dir(), "the file is as hostile as it is meant to be"


@pytest.mark.parametrize(
    "content", [[1, 2], {"step": 3}, {"model.x": [torch.zeros(2)]}, torch.zeros(2), {1: torch.ones(1)}]
)
def test_something_else_than_tensors_by_name_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(CheckpointError, match="something else than tensors by name"):
        read_weights(write(tmp_path / "theirs", content))


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut"])
def test_a_file_that_is_no_checkpoint_is_refused(model: TrainableModel, tmp_path: Path, damage: str) -> None:
    file = write(tmp_path / "theirs", reference_weights(model))
    whole = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "text": b"weights", "cut": whole[: len(whole) // 2]}[damage])
    with pytest.raises(CheckpointError, match="no checkpoint of weights"):
        read_weights(file)


def test_exporting_into_a_folder_that_is_not_there_is_an_error(small_run: RunFile, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        export_reference(small_run, RunDirectory.of(small_run), tmp_path / "none" / "ours", "last")


@pytest.mark.parametrize("identifiers", [None, 3])
def test_the_recorded_reference_model_loads(vectors: Path, tmp_path: Path, identifiers: int | None) -> None:
    recorded = torch.load(vectors / "trm_small_att.pt", weights_only=True)
    theirs = recorded["config"]
    fields = {name: value for name, value in theirs.items() if name in TrmModel.model_fields}
    cfg = TrmModel(family="trm", **(fields | {"expansion": float(fields["expansion"])}))
    sizes = (theirs["vocab_size"], theirs["seq_len"], identifiers or theirs["num_puzzle_identifiers"])
    model = models.build(cfg, *sizes)
    load_reference(model, read_weights(write(tmp_path / "theirs", recorded["state_dict"])), tmp_path / "theirs")
    expected = {name.removeprefix("model."): value for name, value in recorded["state_dict"].items()}
    if identifiers:
        expected[TABLE] = expected[TABLE].mean(0).expand(identifiers, -1)
    expect_equal(model.state_dict(), expected)
