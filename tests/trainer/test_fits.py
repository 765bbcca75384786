"""What has no room is refused before anything is built."""

from pathlib import Path

import pytest
import torch

from tests.trainer.helpers import change, train_alone
from trainer import fits
from trainer.describe import description
from trainer.dist import World
from trainer.fits import device_memory, foretold_bytes, refuse_what_does_not_fit
from trmkit.errors import TrainError
from trmkit.spec.load import loads
from trmkit.spec.run import RunFile


def arc_run(num_aug: int, folder: Path, width: int = 512) -> RunFile:
    text = f"""
name: tables
model: {{family: trm, hidden_size: {width}, num_heads: 8, puzzle_emb_ndim: {width}}}
data: {{source: arc, num_aug: {num_aug}}}
train: {{epochs: 100000, device: cpu}}
storage: {{path: {folder}/runs, data: {folder}/data}}
"""
    return loads(text, "tables.yaml")


def test_the_table_of_arc_is_known_before_the_data_is_built(tmp_path: Path) -> None:
    for num_aug, gigabytes in ((300, 0.493), (1000, 1.640)):
        table, identifiers, _ = foretold_bytes(arc_run(num_aug, tmp_path))
        assert identifiers == 800 * (num_aug + 1) + 1
        assert table == identifiers * 512 * 4 == pytest.approx(gigabytes * 1e9, rel=1e-3)
    assert list(tmp_path.iterdir()) == []


def test_the_sizes_are_those_that_describe_says(small_run: RunFile) -> None:
    table, _, others = foretold_bytes(small_run)
    memory = description(small_run)["memory"]
    assert memory["puzzle_table"] == table
    parts = ("weights", "gradients", "optimizer", "ema")
    assert others == pytest.approx(sum(memory[name] for name in parts), rel=1e-2)


def test_a_table_without_room_is_refused_before_the_build_with_what_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("1000000000\n")
    monkeypatch.setattr(fits, "CGROUP_LIMIT", limit)
    with pytest.raises(TrainError, match=r"800,801 identifiers\) takes 1\.53 GiB.*cpu has 0\.93 GiB") as refused:
        train_alone(arc_run(1000, tmp_path))
    assert refused.value.next.startswith("lower data.num_aug: 5")
    assert not (tmp_path / "data").exists()
    refuse_what_does_not_fit(arc_run(300, tmp_path), World(0, 1, 0, torch.device("cpu")))


def test_weights_without_room_are_refused_too(
    small_run: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("1000000\n")
    monkeypatch.setattr(fits, "CGROUP_LIMIT", limit)
    with pytest.raises(TrainError, match=r"1 identifiers\) takes 0\.0 MiB") as refused:
        train_alone(change(small_run, "model.hidden_size=64"))
    assert refused.value.next.startswith("lower train.batch_size or model.hidden_size")


def test_processes_of_one_machine_share_its_memory(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = device_memory(alone)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert device_memory(alone) == whole // 4
