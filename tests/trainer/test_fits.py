"""What has no room is refused before anything is built."""

from pathlib import Path

import pytest
import torch

from tests.trainer.helpers import train_alone
from trainer import fits
from trainer.describe import description
from trainer.dist import World
from trainer.fits import device_memory, refuse_table_without_room, table_bytes
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
        size, identifiers = table_bytes(arc_run(num_aug, tmp_path))
        assert identifiers == 800 * (num_aug + 1) + 1
        assert size == identifiers * 512 * 4 == pytest.approx(gigabytes * 1e9, rel=1e-3)
    assert list(tmp_path.iterdir()) == []


def test_the_size_is_the_one_that_describe_says(small_run: RunFile) -> None:
    assert table_bytes(small_run) == (description(small_run)["memory"]["puzzle_table"], 1)


def test_a_table_without_room_is_refused_before_the_build_with_what_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("1000000000\n")
    monkeypatch.setattr(fits, "CGROUP_LIMIT", limit)
    with pytest.raises(
        TrainError, match=r"800,801 identifiers x 512 x 4 bytes, takes 1\.53 GiB; cpu has 953\.7 MiB"
    ) as no:
        train_alone(arc_run(1000, tmp_path))
    assert no.value.next.startswith("lower data.num_aug: with 609 the table alone")
    assert not (tmp_path / "data").exists()
    refuse_table_without_room(arc_run(300, tmp_path), World(0, 1, 0, torch.device("cpu")))


def test_processes_of_one_machine_share_its_memory(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = device_memory(alone)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert device_memory(alone) == whole // 4
