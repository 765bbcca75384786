"""The convolutional model in the trainer: trained, resumed, shared, scored, asked and described as any other."""

import json
from pathlib import Path

import pytest

from tests.trainer.helpers import change, expect_near, final_state, fingerprint, newest_state, train_alone
from tests.trainer.test_resume import launch_two, write
from trainer import checkpoint
from trainer.describe import description
from trainer.dist import World
from trainer.evaluate import evaluate
from trainer.inference import Solver
from trmkit.errors import SpecError
from trmkit.spec.load import loads
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

RUN = """
name: deep
model: {family: deep_recursion, base_channels: 8, latent_channels: 64, n_res_blocks: 1, dropout: 0.0, n_inner: 2,
        n_outer: 2, puzzle_emb_ndim: 8}
data: {source: arc, collections: [COLLECTION], test: COLLECTION, canvas: 9, layout: corners, permute_black: true,
       num_aug: 3}
train: {steps: 8, batch_size: 4, optimizer: adamw, warmup_steps: 2, lr: 1e-3, ema_warmup: true, threads: 1, device: cpu,
        checkpoint: {every_steps: 3, every_minutes: null}, log: {every_steps: 2}}
evaluate: {every_steps: 4, sample: 8, fit_sample: 4, examples: 2, pass_ks: [1, 2]}
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFile:
    """Return a run on two small tasks."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    for number, name in enumerate("ab"):
        pairs = [{"input": [[k, number, 0]], "output": [[k], [number]]} for k in range(1, 4)]
        (folder / f"{name}.json").write_text(json.dumps({"train": pairs[:2], "test": pairs[2:]}))
    text = RUN.replace("COLLECTION", str(folder))
    return loads(text, "deep.yaml", [f"storage.path={tmp_path / 'runs'}", f"storage.data={tmp_path / 'data'}"])


def go_back(run: RunFile, step: int) -> None:
    """Take a run back to the checkpoint of `step`, as if the later ones had been damaged."""
    root = RunDirectory.of(run).checkpoints
    for later in checkpoint.steps(root):
        if later > step:
            (root / f"step_{later:08d}" / checkpoint.MANIFEST).unlink()


@pytest.mark.parametrize(
    "options",
    [("model.dropout=0.3",), ("model.updates=per_outer", "model.n_outer=3"), ("model.no_grad_inner=true",)],
    ids=str,
)
def test_a_resumed_run_equals_one_that_went_on(run: RunFile, options: tuple[str, ...]) -> None:
    run = change(run, *options, "train.checkpoint.keep=9")
    train_alone(run)
    root = RunDirectory.of(run).checkpoints
    expected = fingerprint(root)
    go_back(run, 3)
    train_alone(run)
    assert fingerprint(root) == expected


def test_two_processes_and_micro_batches_make_the_updates_of_one(run: RunFile, tmp_path: Path) -> None:
    alone = final_state(run)
    parts = final_state(change(run, "train.accumulate=2", f"storage.path={tmp_path / 'parts'}"))
    shared = change(run, f"storage.path={tmp_path / 'two'}")
    for process in launch_two(write(shared, tmp_path / "two.yaml")):
        assert process.wait(120) == 0
    for found in (parts, newest_state(shared)):
        expect_near(found, alone)


def test_two_processes_that_share_the_weights_make_the_updates_of_one(run: RunFile, tmp_path: Path) -> None:
    run = change(run, "model.puzzle_emb_ndim=0", "evaluate.every_steps=null")
    shared = change(run, "train.parallel=fsdp", f"storage.path={tmp_path / 'two'}")
    for process in launch_two(write(shared, tmp_path / "two.yaml")):
        assert process.wait(120) == 0
    expect_near(newest_state(shared), final_state(run))


def test_a_run_is_scored_voted_on_and_asked(run: RunFile, alone: World) -> None:
    run = change(run, "evaluate.supervision_steps=3", "evaluate.rollouts=2", "evaluate.noise=0.1")
    train_alone(run)
    directory = RunDirectory.of(run)
    found = evaluate(run, directory, alone)
    assert found["supervision_steps"] == 3
    assert found["sets"]["test"]["voting"]["ballots"] == 2 * 2 * 4
    assert found["sets"]["fit"]["count"] == 4
    solver = Solver.load(directory.root)
    (answer,) = solver.solve({"train": [], "test": [{"input": [[3, 0, 0]]}]}, name="a.json", votes=4)
    assert sum(one.votes for one in answer.candidates) == 4


def test_it_is_described_and_its_memory_grows_with_inner_steps(run: RunFile) -> None:
    found = description(run)
    assert found["parameters"]["table"] == 8 * (1 + 2 * 4)
    assert found["flops"]["per_update"] == 2 * 4 * found["flops"]["per_sample"]
    deeper = description(change(run, "model.n_inner=6", "model.n_outer=6"))["memory"]["activations"]
    assert 2 < deeper / found["memory"]["activations"] < 3.5


def test_a_table_is_not_shared_among_processes(run: RunFile) -> None:
    with pytest.raises(SpecError, match="fsdp cannot share a puzzle table"):
        change(run, "train.parallel=fsdp")


def test_sudokus_are_a_canvas_too(tmp_path: Path) -> None:
    model, _ = RUN.split("data:")
    data = """
data: {source: sudoku-generated, side: 4, train_puzzles: 20, test_puzzles: 8, num_aug: 1}
train: {steps: 3, batch_size: 4, optimizer: adamw, threads: 1, device: cpu}
"""
    here = [f"storage.path={tmp_path / 'runs'}", f"storage.data={tmp_path / 'data'}"]
    assert train_alone(loads(model + data, "sudoku.yaml", ["model.latent_channels=128", *here])) == 3


@pytest.mark.parametrize("updates", ["accumulate", "per_outer"])
def test_the_loss_that_is_logged_and_scored_is_that_of_a_step_however_updates_are_made(
    run: RunFile, alone: World, updates: str
) -> None:
    run = change(run, f"model.updates={updates}", "evaluate.every_steps=null")
    train_alone(run)
    lines = [json.loads(line) for line in RunDirectory.of(run).metrics.read_text().splitlines()]
    trained = [line for line in lines if line["kind"] == "train"]
    assert trained
    test = evaluate(run, RunDirectory.of(run), alone)["sets"]["test"]
    for line in (*trained, test.get("losses", test)):
        assert line["loss"] == pytest.approx(line["lm_loss"], rel=1e-5)
