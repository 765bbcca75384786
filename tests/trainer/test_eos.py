"""What the first description of the text-conditioned model got wrong: a loss that leaves out where a grid ends."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.helpers import train_alone
from trainer import data
from trainer.candidates import find_checkpoint, load_for_inference
from trainer.data.store import read_split
from trainer.data.stream import Rows
from trainer.dist import World
from trainer.evaluators.grids import compare
from trainer.state import make_model
from trmkit.spec.load import loads
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


def run_of(tmp_path: Path, tasks: int, canvas: int, steps: int, *, eos: bool) -> RunFile:
    return loads(
        f"""
name: ends
model: {{family: hybrid, conditioning: [none], hidden_size: 64, num_heads: 2, L_layers: 2, H_cycles: 1, L_cycles: 1,
        expansion: 2.0, halt_max_steps: 1, loss: softmax, forward_dtype: float32, include_eos: {str(eos).lower()}}}
data: {{source: arc, collections: [arc1/training], test: arc1/training, canvas: {canvas}, num_aug: 0,
       max_puzzles: {tasks}, translate: false}}
train: {{steps: {steps}, batch_size: 8, optimizer: adamw, lr: 4e-3, warmup_steps: 20, grad_clip: 1.0, ema: 0,
        threads: 1, device: cpu, checkpoint: {{every_steps: null}}}}
storage: {{path: "{tmp_path / "runs"}", data: "{tmp_path / "data"}"}}
""",
        "ends.yaml",
    )


def learned(run: RunFile, alone: World) -> np.ndarray:
    """Train, and return exact, shape and pixels of every training pair that leaves room on the canvas, as means."""
    train_alone(run)
    split = read_split(data.build(run.data, Path(run.storage.data)), "train")
    model = make_model(run, split.metadata, alone.device).eval()
    load_for_inference(model, find_checkpoint(RunDirectory.of(run), "last"))
    batch = Rows(split, alone.device, on_device=False).get(torch.arange(len(split)))
    with torch.no_grad():
        answers = model(None, batch).outputs["preds"].numpy()
    ends = (np.asarray(split.labels) == 1).any(1)  # a grid that fills the canvas has nothing to end it
    scores: np.ndarray = compare(answers[ends], np.asarray(split.labels)[ends]).mean(1)
    return scores


def test_without_its_end_in_the_loss_no_grid_is_right_and_with_it_they_are(tmp_path: Path, alone: World) -> None:
    with_it, without = (learned(run_of(tmp_path, 3, 8, 200, eos=eos), alone) for eos in (True, False))
    assert with_it[0] > 0.5
    assert without.tolist() == [0, 0, 1]  # every colour right, and no answer


@pytest.mark.full
def test_the_same_on_ten_tasks(tmp_path: Path, alone: World) -> None:
    with_it, without = (learned(run_of(tmp_path, 10, 12, 600, eos=eos), alone) for eos in (True, False))
    assert with_it[0] > 0.5
    assert without[0] == 0
