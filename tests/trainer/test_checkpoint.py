"""A checkpoint is whole or absent, and what is not whole is refused before it is parsed."""

import json
import os
import random
import resource
from pathlib import Path

import pytest
import torch

from trainer import checkpoint
from trainer.dist import World
from trmkit.errors import CheckpointError


def save(root: Path, step: int, world: World) -> Path:
    shared: checkpoint.Files = {"model.safetensors": {"w": torch.arange(64.0)}, "state.json": {"step": step}}
    return checkpoint.save(root, step, shared, {"rank0.safetensors": {"z": torch.zeros(2)}}, world)


def test_what_was_saved_comes_back(tmp_path: Path, alone: World) -> None:
    save(tmp_path, 7, alone)
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.step == 7
    assert torch.equal(found.tensors("model.safetensors")["w"], torch.arange(64.0))
    assert found.json("state.json") == {"step": 7}
    assert not list(tmp_path.glob(".*"))


def test_random_damage_is_always_refused_and_the_one_before_is_used(tmp_path: Path, alone: World) -> None:
    save(tmp_path, 1, alone)
    path = save(tmp_path, 2, alone)
    chance = random.Random(5)
    names = ["model.safetensors", "state.json", "rank0.safetensors"]
    for _ in range(120):
        member = path / chance.choice(names)
        whole = member.read_bytes()
        damaged = bytearray(whole)
        kind = chance.choice(["flip", "cut", "zeros"])
        at = chance.randrange(len(damaged))
        if kind == "flip":
            damaged[at] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            del damaged[at:]
        else:
            damaged[at : at + 8] = bytes(len(damaged[at : at + 8]))
        if bytes(damaged) == whole:
            continue
        member.write_bytes(damaged)
        reasons: list[str] = []
        found = checkpoint.newest(tmp_path, reasons)
        assert found is not None
        assert found.step == 1
        assert member.name in reasons[0]
        member.write_bytes(whole)
    assert checkpoint.verify(path).step == 2


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{",
        '{"format": 99}',
        '{"format": 1, "step": 2, "files": []}',
        '{"format": 1, "step": 2, "files": {"../evil": {"bytes": 1, "sha256": "x"}}}',
        '{"format": 1, "step": 2, "files": {"/etc/passwd": {"bytes": 1, "sha256": "x"}}}',
        '{"format": 1, "step": 2, "files": {"model.safetensors": 3}}',
        '{"format": 1, "step": 3, "files": {}}',
        "[" * 100_000,
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path: Path, alone: World, manifest: str) -> None:
    path = save(tmp_path, 2, alone)
    (path / checkpoint.MANIFEST).write_text(manifest)
    with pytest.raises(CheckpointError):
        checkpoint.verify(path)


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path, alone: World) -> None:
    path = save(tmp_path, 2, alone)
    (path / "state.json").rename(tmp_path / "elsewhere.json")
    os.symlink(tmp_path / "elsewhere.json", path / "state.json")
    with pytest.raises(CheckpointError, match="missing"):
        checkpoint.verify(path)


def test_the_best_and_the_newest_stay(tmp_path: Path, alone: World) -> None:
    for step in range(1, 7):
        save(tmp_path, step, alone)
    checkpoint.write_best(tmp_path, {"step": 2, "metric": "exact_accuracy", "value": 0.5})
    (tmp_path / ".step_00000009.tmp").mkdir()
    checkpoint.prune(tmp_path, keep=2, current=6)
    assert checkpoint.steps(tmp_path) == [2, 5, 6]
    assert not list(tmp_path.glob(".step_*"))


@pytest.mark.parametrize("room", [0, 50, 100, 300])
def test_a_full_disk_leaves_the_previous_checkpoint_and_nothing_else(tmp_path: Path, alone: World, room: int) -> None:
    save(tmp_path, 1, alone)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(CheckpointError, match="cannot be written"):
            save(tmp_path, 2, alone)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]
    assert checkpoint.verify(tmp_path / "step_00000001").step == 1


def test_going_back_past_damaged_checkpoints_keeps_what_is_good(tmp_path: Path, alone: World) -> None:
    for step in (4, 8, 12):
        save(tmp_path, step, alone)
    for step in (8, 12):
        (tmp_path / f"step_{step:08d}" / "state.json").write_text("damaged")
    assert (found := checkpoint.newest(tmp_path)) is not None
    assert found.step == 4
    save(tmp_path, 6, alone)
    checkpoint.prune(tmp_path, keep=2, current=6)
    assert checkpoint.steps(tmp_path) == [4, 6]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"step": "x"}', '{"step": 99}'])
def test_a_best_that_is_not_there_is_no_best(tmp_path: Path, alone: World, text: str) -> None:
    save(tmp_path, 4, alone)
    (tmp_path / checkpoint.BEST).write_text(text)
    assert checkpoint.read_best(tmp_path) is None


def test_nothing_is_pickled(tmp_path: Path, alone: World) -> None:
    path = save(tmp_path, 1, alone)
    assert {member.suffix for member in path.iterdir()} == {".safetensors", ".json"}
    assert json.loads((path / checkpoint.MANIFEST).read_text())["files"]["model.safetensors"]["bytes"] > 256
