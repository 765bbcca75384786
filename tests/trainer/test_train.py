"""Training: it learns, it logs, it stops when it should, and how it is spread changes no number."""

import importlib.util
import json
import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from tests.trainer.helpers import change, final_state, train_alone
from trainer import checkpoint
from trainer.claim import claim
from trainer.dist import Stopped, StopSignal, World
from trainer.subject import subject_of
from trainer.train import Session, build_state
from trmkit.errors import SpecError, TrainError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


def lines(run: RunFile) -> list[dict[str, float]]:
    return [json.loads(line) for line in RunDirectory.of(run).metrics.read_text().splitlines()]


def test_a_run_leaves_numbers_checkpoints_and_its_environment(small_run: RunFile) -> None:
    train_alone(small_run)
    found = lines(small_run)
    kinds = ("train", "eval", "run")
    assert [(line["kind"], line["step"]) for line in found if line["kind"] in kinds] == [
        ("run", 0), ("train", 3), ("train", 6), ("eval", 6), ("train", 9), ("train", 12), ("eval", 12),
    ]  # fmt: skip
    assert {line["step"] for line in found if line["kind"] == "checkpoint"} >= {4, 8, 12}
    first = found[1]
    assert first["loss"] == pytest.approx(first["lm_loss"] + first["q_halt_loss"] / 2)
    assert first["rows_per_second"] > 0
    assert first["weight_norm"] > first["update_norm"] > 0
    assert first["ema_gap"] > 0
    directory = RunDirectory.of(small_run)
    assert checkpoint.steps(directory.checkpoints)[-2:] == [8, 12]
    assert checkpoint.read_best(directory.checkpoints) is not None
    assert json.loads(directory.environment.read_text())["packages"]["torch"] == torch.__version__


def test_checkpoints_are_made_by_time_too(small_run: RunFile) -> None:
    run = change(
        small_run,
        "train.checkpoint.every_steps=null",
        "train.checkpoint.every_minutes=1e-6",
        "train.checkpoint.keep=20",
        "evaluate.every_steps=null",
    )
    train_alone(run)
    assert checkpoint.steps(RunDirectory.of(run).checkpoints) == list(range(1, 13))


def test_micro_batches_change_no_number(small_run: RunFile, tmp_path: Path) -> None:
    whole = final_state(small_run)
    parts = final_state(change(small_run, "train.accumulate=4", f"storage.path={tmp_path / 'parts'}"))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=2e-3, atol=2e-5)


def test_a_repeated_run_gives_the_same_bits(small_run: RunFile, tmp_path: Path) -> None:
    one = final_state(small_run)
    two = final_state(change(small_run, f"storage.path={tmp_path / 'again'}"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_another_seed_gives_other_weights(small_run: RunFile) -> None:
    one, two = final_state(small_run), final_state(change(small_run, "seed=1"))
    assert not all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_gradient_that_is_not_finite_stops_the_run_and_the_last_good_state_stays(
    small_run: RunFile, alone: World
) -> None:
    subject = subject_of(small_run)(small_run, alone)
    state = build_state(small_run, subject, alone)
    directory = RunDirectory.of(small_run)
    with claim(small_run, directory, alone), Session(state, subject, directory, StopSignal(), None) as session:
        for _ in range(2):
            session.update()
        session.save()
        state.model.get_parameter("inner.lm_head.weight").data[0, 0] = float("nan")
        with pytest.raises(TrainError, match="update 3 is not finite"):
            session.update()
        with pytest.raises(TrainError, match="checkpoint is of step 2"):
            session.save()
    found = checkpoint.newest(directory.checkpoints)
    assert found is not None
    assert found.step == 2
    assert all(value.isfinite().all() for value in found.tensors("model.safetensors").values())
    assert lines(small_run)[-1]["kind"] == "stopped"


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_leaves(small_run: RunFile, signum: signal.Signals, code: int) -> None:
    run = change(small_run, "train.steps=100000", "evaluate.every_steps=null", "train.checkpoint.every_steps=null")
    threading.Timer(0.5, os.kill, (os.getpid(), signum)).start()
    with pytest.raises(Stopped) as stopped:
        train_alone(run)
    assert stopped.value.exit_code == code
    found = checkpoint.newest(RunDirectory.of(run).checkpoints)
    assert found is not None
    assert 0 < found.step < 100000


def test_a_batch_that_cannot_be_divided_is_refused(small_run: RunFile, alone: World) -> None:
    subject = subject_of(small_run)(small_run, alone)
    with pytest.raises(SpecError, match="cannot be divided"):
        build_state(small_run, subject, World(0, 3, 0, torch.device("cpu")))


@pytest.mark.parametrize(
    ("package", "override"), [("tensorboard", "train.log.tensorboard=true"), ("wandb", "train.log.wandb_project=x")]
)
def test_a_logger_works_offline_or_its_absence_is_an_error_that_names_it(
    small_run: RunFile, monkeypatch: pytest.MonkeyPatch, package: str, override: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = change(small_run, override)
    if importlib.util.find_spec(package) is None:
        with pytest.raises(SpecError, match=package):
            train_alone(run)
    else:
        assert train_alone(run) == 12
        assert any(RunDirectory.of(run).root.glob(f"{package}/**/*"))


def test_slots_work_on_a_puzzle_until_it_halts(small_run: RunFile, alone: World) -> None:
    subject = subject_of(small_run)(small_run, alone)
    state = build_state(small_run, subject, alone)
    before = None
    for _ in range(8):
        state.update()
        (carry,) = state.carries
        assert carry is not None
        if before is not None:
            going_on = ~before["halted"]
            assert torch.equal(carry["inputs"][going_on], before["inputs"][going_on])
            assert torch.equal(carry["steps"][going_on], before["steps"][going_on] + 1)
            assert (carry["steps"][before["halted"]] == 1).all()
        before = carry
