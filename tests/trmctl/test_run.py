"""`trmctl run`, with a small script in the place of the trainer."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.trmctl.conftest import GOOD
from trmctl.commands.run import again, run
from trmctl.stages import StageError, Trainer
from trmkit.errors import SpecError, StoreError
from trmkit.spec.load import load, loads
from trmkit.store.layout import RunDirectory

TRAINER = """\
import json, os, signal, sys, time
from pathlib import Path
stage, run_file = sys.argv[1:3]
folder = Path(run_file).parent
with open("calls.jsonl", "a") as log:
    log.write(json.dumps([stage, run_file, os.environ.get("WORLD_SIZE", "1"), *sys.argv[3:]]) + "\\n")
if stage == "follow":
    signal.signal(signal.SIGTERM, lambda number, frame: (Path("left").touch(), sys.exit(143)))
    Path("there").touch()
    while not (folder / "checkpoints" / "step_00000010").exists():
        time.sleep(0.01)
if stage == "train":
    while os.environ.get("AFTER") and not Path(os.environ["AFTER"]).exists():
        time.sleep(0.01)
if stage == os.environ.get("FAIL"):
    sys.exit(int(os.environ["CODE"]))
if stage == "train" and os.environ.get("WAIT"):
    caught = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: caught.append(number))
    print("waiting", flush=True)
    while not caught:
        time.sleep(0.01)  # not pause(): a signal just before it would be slept through
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        time.sleep(0.01)
    Path("signals.json").write_text(json.dumps(caught))
    sys.exit(128 + caught[0])
if stage == "train":
    (folder / "checkpoints" / "step_00000010").mkdir(parents=True, exist_ok=True)
if stage == "evaluate":
    (folder / "eval.json").write_text(json.dumps({"step": 10, "total": int(os.environ.get("TOTAL", "10"))}))
if stage == "report":
    (folder / "report.html").write_text("<html>")
"""


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """Return the script; the current folder has a good `run.yaml`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "trainer.py").write_text(TRAINER, encoding="utf-8")
    return Trainer((str(tmp_path / "trainer.py"),))


def calls() -> list[list[str]]:
    path = Path("calls.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def start(trainer: Trainer, *overrides: str, resume: bool = False, processes: int = 1) -> int:
    return run("run.yaml", overrides, resume, processes, trainer)


def test_the_stages_run_in_order_on_the_resolved_file(trainer: Trainer, capfd: pytest.CaptureFixture[str]) -> None:
    assert start(trainer, "train.lr=3e-4") == 0
    directory = RunDirectory.of(load("run.yaml", ["train.lr=3e-4"]))
    assert [call[0] for call in calls()] == ["build", "train", "evaluate", "report"]
    assert {call[1] for call in calls()} == {str(directory.run_file)}
    assert load(directory.run_file) == load("run.yaml", ["train.lr=3e-4"])
    assert capfd.readouterr().out == f"done, see {directory.report}\n"


FOLLOWED = ("evaluate.mode=job", "evaluate.every_steps=5")


def test_training_that_is_followed_has_somebody_beside_it_who_is_waited_for(trainer: Trainer) -> None:
    assert start(trainer, *FOLLOWED) == 0
    stages = [call[0] for call in calls()]
    assert sorted(stages[1:3]) == ["follow", "train"]
    assert [call[3:] for call in calls() if call[0] == "follow"] == [["--set", "evaluate.batch_size=8"]]
    assert stages[:1] + stages[3:] == ["build", "evaluate", "report"]
    assert not Path("left").exists()


def test_who_follows_is_asked_to_leave_when_training_fails(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FAIL": "train", "CODE": "7", "AFTER": "there"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StageError, match="train ended with exit code 7"):
        start(trainer, *FOLLOWED)
    assert Path("left").exists()


def test_a_run_fails_when_who_follows_fails(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL", "follow")
    monkeypatch.setenv("CODE", "3")
    with pytest.raises(StageError, match="exit code 3"):
        start(trainer, *FOLLOWED)


def test_a_finished_run_starts_nothing(trainer: Trainer, capfd: pytest.CaptureFixture[str]) -> None:
    start(trainer)
    assert start(trainer) == 0
    assert len(calls()) == 4
    assert capfd.readouterr().out.count("done, see ") == 2


def test_a_newer_checkpoint_or_another_evaluation_makes_a_run_unfinished(trainer: Trainer) -> None:
    start(trainer)
    start(trainer, "evaluate.examples=3")
    assert len(calls()) == 8
    (RunDirectory.of(load("run.yaml")).checkpoints / "step_00000012").mkdir()
    start(trainer, "evaluate.examples=3")
    assert len(calls()) == 12


def test_scores_of_a_training_that_was_stopped_do_not_end_the_run(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOTAL", "100")
    start(trainer)
    start(trainer)
    assert len(calls()) == 8


def test_a_run_that_went_on_with_other_settings_does_not_go_back_unnoticed(trainer: Trainer) -> None:
    start(trainer)
    start(trainer, "train.lr=3e-4", resume=True)
    with pytest.raises(SpecError, match=r"train.lr: 0.0001 -> 0.0003"):
        start(trainer)


def test_a_batch_that_the_processes_cannot_share_is_refused_before_anything_starts(trainer: Trainer) -> None:
    with pytest.raises(SpecError, match="divided over 3 processes"):
        start(trainer, processes=3)
    assert calls() == []


def test_train_and_evaluate_run_on_several_processes() -> None:
    command = Trainer().command("train", "run.yaml", processes=2)
    assert command[1:] == [
        *("-m", "trainer.launch", "--standalone", "--nproc-per-node", "2"),
        *("-m", "trainer", "train", "run.yaml"),
    ]
    assert Trainer().command("build", "run.yaml") == [sys.executable, "-m", "trainer", "build", "run.yaml"]


def test_a_failing_stage_ends_the_run_with_its_exit_code(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL", "train")
    monkeypatch.setenv("CODE", "7")
    with pytest.raises(StageError, match="train ended with exit code 7") as caught:
        start(trainer)
    assert caught.value.exit_code == 7
    assert caught.value.next == "then go on with: trmctl run -c run.yaml"
    assert [call[0] for call in calls()] == ["build", "train"]


def test_going_on_is_said_with_the_same_options() -> None:
    line = again("my run.yaml", ["train.lr=3e-4"], True, 2)
    assert line == "trmctl run -c 'my run.yaml' --set train.lr=3e-4 --resume --nproc 2"


def test_resume_goes_on_in_the_old_directory_with_the_new_file(
    trainer: Trainer, capfd: pytest.CaptureFixture[str]
) -> None:
    start(trainer)
    directory = RunDirectory.of(loads(GOOD))
    assert start(trainer, "train.steps=20", "evaluate.sample=5", resume=True) == 0
    assert load(directory.run_file).train.steps == 20
    assert {call[1] for call in calls()} == {str(directory.run_file)}
    assert len(calls()) == 8
    said = capfd.readouterr().err
    assert "  train.steps: 10 -> 20\n" in said
    assert "  evaluate.sample: 1024 -> 5\n" in said


def test_resume_refuses_what_the_checkpoint_does_not_fit(trainer: Trainer) -> None:
    start(trainer)
    before = RunDirectory.of(loads(GOOD)).run_file.read_bytes()
    with pytest.raises(SpecError) as caught:
        start(trainer, "model.hidden_size=32", "data.side=6", "seed=1", "train.optimizer=adamw", resume=True)
    lines = caught.value.message.splitlines()
    assert lines[1:] == [
        "  model.hidden_size: 64 -> 32",
        "  data.side: 4 -> 6",
        "  train.optimizer: adam_atan2 -> adamw",
        "  seed: 0 -> 1",
    ]
    assert RunDirectory.of(loads(GOOD)).run_file.read_bytes() == before


def test_resume_without_an_earlier_run_is_an_error(trainer: Trainer) -> None:
    with pytest.raises(StoreError, match="there is no earlier run 'little'"):
        start(trainer, resume=True)


STARTER = textwrap.dedent(
    """
    import sys
    from trmctl.commands.run import run
    from trmctl.stages import Trainer
    sys.exit(run("run.yaml", (), False, 1, Trainer(("trainer.py",))))
    """
)


@pytest.mark.parametrize(
    ("number", "arrived"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGHUP, signal.SIGTERM)],
)
def test_a_signal_reaches_the_trainer_once_and_is_waited_for(
    trainer: Trainer, number: signal.Signals, arrived: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "WAIT": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        process_group=0,
    ) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line == "waiting\n":
                break
        os.killpg(child.pid, number)
        rest = child.stderr.read()
    assert child.returncode == 128 + number
    assert json.loads(Path("signals.json").read_text()) == [arrived]
    assert "to go on: trmctl run -c run.yaml" in rest
    assert [call[0] for call in calls()] == ["build", "train"]
