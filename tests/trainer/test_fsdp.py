"""Processes that share weights, or each hold all of them, make the updates of a single process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.trainer.helpers import change, final_state, fingerprint, free_port, train_alone
from tests.trainer.models.texts import VARIANTS
from tests.trainer.sharing import RUN, result, trained
from tests.trainer.test_resume import launch_two, write
from trainer import checkpoint
from trainer.dist import World
from trainer.generators import draw_apart
from trmkit.errors import SpecError
from trmkit.spec.load import loads
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

SHARED = ("model.puzzle_emb_ndim=0", "model.puzzle_emb_len=0", "train.parallel=fsdp", "train.grad_clip=0.5")


def share(*arguments: str) -> None:
    """Let two processes work together, and wait for them."""
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.trainer.sharing", *arguments],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait(300) for process in started] == [0, 0]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what two processes ended with."""
    folder = tmp_path_factory.mktemp("of_two")
    share(str(folder))
    return folder


def expect_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare tensors as wholes: where a gradient is all rounding, Adam makes a step of it as of any other.

    The biases of keys have no gradient but rounding, and the weights of the control that has them feel it.
    """
    assert found.keys() == expected.keys()
    biased = any("qkv_proj.bias" in name for name in expected)
    for name, value in expected.items():
        allowed = 1e-2 if "qkv_proj.bias" in name else 1e-4 if biased else 1e-5
        assert float((found[name] - value).norm()) <= allowed * float(value.norm()), name


KINDS = [("adamw", variant) for variant in VARIANTS] + [("adam_atan2", "shared_loop"), ("adam_atan2", "ssm_mem")]


@pytest.mark.parametrize(("optimizer", "variant"), KINDS)
def test_two_processes_end_with_what_one_ends_with(of_two: Path, alone: World, optimizer: str, variant: str) -> None:
    recompute = str(optimizer == "adam_atan2").lower()
    run = loads(RUN, "run.yaml", [f"train.optimizer={optimizer}", f"train.activation_checkpointing={recompute}"])
    expected = result(trained(run, variant, alone))
    for parallel in ("fsdp", "replicate"):
        found = load_file(of_two / f"2-{parallel}-{optimizer}-{variant}.safetensors")
        expect_close(found, expected)


@pytest.mark.full
def test_compiled_blocks_can_be_shared_and_change_no_result(tmp_path: Path, alone: World) -> None:
    share(str(tmp_path), "compiled")
    expect_close(load_file(tmp_path / "found.safetensors"), result(trained(loads(RUN, "run.yaml"), "baseline", alone)))


def test_a_run_of_two_that_was_killed_goes_on_bit_by_bit_and_one_process_can_take_it_over(
    small_run: RunFile, tmp_path: Path
) -> None:
    run = change(small_run, *SHARED, "train.steps=60", "train.checkpoint.every_steps=10", "evaluate.every_steps=30")
    for process in launch_two(write(run, tmp_path / "expected.yaml")):
        assert process.wait(120) == 0
    killed = change(run, f"storage.path={tmp_path / 'killed'}", "train.checkpoint.keep=9")
    file, root = write(killed, tmp_path / "killed.yaml"), RunDirectory.of(killed).checkpoints
    first = launch_two(file)
    deadline = time.monotonic() + 100
    while len(checkpoint.steps(root)) < 2:
        assert time.monotonic() < deadline, "two processes saved nothing in 100 seconds"
        time.sleep(0.02)
    for process in first:
        process.kill()
        process.wait()
    for process in launch_two(file):
        assert process.wait(120) == 0
    assert fingerprint(root) == fingerprint(RunDirectory.of(run).checkpoints)
    found = checkpoint.newest(root)
    assert found is not None
    two = found.tensors("model.safetensors")
    for step in checkpoint.steps(root):
        if step > 30:
            (root / f"step_{step:08d}" / checkpoint.MANIFEST).unlink()
    assert train_alone(killed) == 60
    last = checkpoint.newest(root)
    assert last is not None
    for name, value in last.tensors("model.safetensors").items():
        torch.testing.assert_close(value, two[name], rtol=2e-3, atol=2e-5)


def test_sharing_weights_changes_neither_name_nor_result_of_a_run(small_run: RunFile, tmp_path: Path) -> None:
    alone = change(small_run, *SHARED, f"storage.path={tmp_path / 'alone'}")
    expected = final_state(alone)
    shared = change(alone, f"storage.path={tmp_path / 'shared'}")
    assert RunDirectory.of(change(alone, "train.parallel=replicate")).root == RunDirectory.of(alone).root
    for process in launch_two(write(shared, tmp_path / "shared.yaml")):
        assert process.wait(120) == 0
    found = checkpoint.newest(RunDirectory.of(shared).checkpoints)
    assert found is not None
    for file in ("model", "ema", "optimizer"):
        for name, value in found.tensors(f"{file}.safetensors").items():
            torch.testing.assert_close(value, expected[f"{file}/{name}"], rtol=1e-4, atol=2e-6)


def test_a_puzzle_table_cannot_be_shared(small_run: RunFile) -> None:
    with pytest.raises(SpecError, match="train.parallel: fsdp cannot share a puzzle table"):
        change(small_run, "train.parallel=fsdp")


def test_processes_draw_dropout_apart_and_a_process_alone_as_ever() -> None:
    drawn = []
    for rank in (0, 1, 2):
        torch.manual_seed(5)
        draw_apart(5, rank)
        drawn.append(torch.rand(8))
    torch.manual_seed(5)
    assert torch.equal(drawn[0], torch.rand(8))
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])
