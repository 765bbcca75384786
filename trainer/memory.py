"""Memory in use and its limit: of the container, or of this process where there is none."""

import os
import resource
import sys
from pathlib import Path

import torch

V2, V1 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")
"""Where the kernel tells of this container, by the second and the first version of its control groups."""
UNLIMITED = 1 << 60
"""A limit of the first version that is none."""


def limit(v2: Path = V2, v1: Path = V1) -> int:
    """Return the bytes that the container may use; without a limit, those of the machine."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = _number(v2 / "memory.max") or _number(v1 / "memory.limit_in_bytes")
    return found if found and found < UNLIMITED else machine


def used(v2: Path = V2, v1: Path = V1) -> int:
    """Return the bytes in use that the kernel cannot just drop: what a limit is held against."""
    for folder, total, droppable in (
        (v2, "memory.current", "inactive_file"),
        (v1, "memory.usage_in_bytes", "total_inactive_file"),
    ):
        found = _number(folder / total)
        if found:
            return max(0, found - _entry(folder / "memory.stat", droppable))
    return resident()


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


def gpu(device: torch.device) -> dict[str, int]:
    """Return the bytes of the GPU that this process has: allocated, reserved, and most allocated; {} on a CPU."""
    if device.type != "cuda":
        return {}
    return {
        "allocated": torch.cuda.memory_allocated(device),
        "reserved": torch.cuda.memory_reserved(device),
        "peak": torch.cuda.max_memory_allocated(device),
    }


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _entry(path: Path, name: str) -> int:
    try:
        return int(dict(line.split() for line in path.read_text().splitlines()).get(name, 0))
    except (OSError, ValueError):
        return 0
