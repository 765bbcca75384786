"""What a device could do, and what memory there is."""

from pathlib import Path

import pytest
import torch

from trainer import flops, memory


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA A100-SXM4-40GB", 312), ("Tesla T4", 65),
        ("NVIDIA GeForce RTX 4090", 165), ("NVIDIA L40", 181), ("NVIDIA L40S", 362), ("NVIDIA L4", 121),
        ("NVIDIA T400", None), ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None), ("Somebody's GPU", None),
    ],
)  # fmt: skip
def test_a_gpu_is_known_by_whole_words_of_its_name(name: str, teraflops: int | None) -> None:
    assert flops.datasheet(name) == (None if teraflops is None else teraflops * 1e12)


def test_a_device_that_multiplies_nothing_has_no_peak_and_ends_no_run() -> None:
    assert flops.peak(torch.device("cpu"))[0] > 1e8
    assert flops.peak(torch.device("meta")) == (0.0, "measured")


def test_memory_is_the_containers_where_there_is_one(tmp_path: Path) -> None:
    nothing, new, old = tmp_path / "none", tmp_path / "v2", tmp_path / "v1"
    for folder, files in (
        (new, {"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 1\ninactive_file 200\n"}),
        (old, {"memory.limit_in_bytes": str(1 << 62), "memory.usage_in_bytes": "50", "memory.stat": "cache 1\n"}),
    ):
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    assert (memory.limit(new, nothing), memory.used(new, nothing)) == (1000, 500)
    assert memory.used(nothing, old) == 50
    assert memory.limit(nothing, old) == memory.limit(nothing, nothing) > 1 << 30
    assert 1 << 20 < memory.used(nothing, nothing) < memory.limit(nothing, nothing)
