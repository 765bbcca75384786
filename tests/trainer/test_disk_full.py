"""A disk that fills up in the middle of a save costs that save and nothing else."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from trainer import checkpoint
from trainer.dist import World
from trmkit.errors import CheckpointError, StoreError
from trmkit.store.local import write_whole

SIZE = 4 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 4 MiB of its own; mounting one needs rights that not every machine gives."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_at_fifty_points_leaves_the_previous_checkpoint(small_disk: Path, alone: World) -> None:
    def save(step: int) -> Path:
        shared: checkpoint.Files = {
            "model.safetensors": {"w": torch.full((60_000,), float(step))},
            "ema.safetensors": {"w": torch.full((60_000,), float(step))},
            "state.json": {"step": step},
        }
        return checkpoint.save(small_disk / "run", step, shared, {"rank0.safetensors": {"z": torch.zeros(9000)}}, alone)

    save(1)
    needed, refused = 560 << 10, 0
    for point in range(50):
        ballast = small_disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, os.statvfs(small_disk).f_bavail * 4096 - needed * point // 50))
        said = ""
        try:
            save(2)
        except CheckpointError as error:
            refused, said = refused + 1, error.message
        if said:
            assert "No space left" in said
            assert [path.name for path in (small_disk / "run").iterdir()] == ["step_00000001"]
        ballast.unlink()
        newest = checkpoint.newest(small_disk / "run")
        assert newest is not None
        assert torch.equal(newest.tensors("model.safetensors")["w"], torch.full((60_000,), float(newest.step)))
        if newest.step == 2:
            checkpoint.prune(small_disk / "run", 1, 1)
    assert refused >= 40


def test_a_file_that_finds_no_room_stays_what_it_was(small_disk: Path) -> None:
    path = small_disk / "eval.json"
    write_whole(path, "old")
    with (small_disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, os.statvfs(small_disk).f_bavail * 4096)
    with pytest.raises(StoreError, match="No space left"):
        write_whole(path, "x" * 100_000)
    assert path.read_text() == "old"
    assert sorted(member.name for member in small_disk.iterdir()) == ["ballast", "eval.json"]
