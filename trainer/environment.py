"""What produced a run: versions, device, code. Written beside its numbers."""

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from trainer.dist import World
from trmkit import __version__
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

PACKAGES = ("torch", "numpy", "numba", "safetensors", "pydantic")


def describe_environment(directory: RunDirectory, world: World) -> None:
    """Write `environment.json` of the run; the newest start of it is the one that counts."""
    write_whole(directory.environment, json.dumps(environment(world), indent=2))


def environment(world: World) -> dict[str, Any]:
    """Return versions of code and packages, the device, and the number of processes."""
    device = platform.processor() or platform.machine()
    if world.device.type == "cuda":
        device = torch.cuda.get_device_name(world.device)
    return {
        "version": __version__,
        "commit": os.environ.get("TRM_COMMIT") or _commit(),
        "image": os.environ.get("TRM_IMAGE"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "device": {
            "type": world.device.type,
            "name": device,
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "processes": world.size,
    }


def origin() -> dict[str, str]:
    """Return which version, commit and image run; '' where that is not known."""
    commit = os.environ.get("TRM_COMMIT") or _commit()
    return {"version": __version__, "commit": commit or "", "image": os.environ.get("TRM_IMAGE", "")}


def _commit() -> str | None:
    """Return the commit of the source tree this runs from, None outside one."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
