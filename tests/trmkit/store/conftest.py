"""Both kinds of store, and a folder to publish."""

import json
import random
from pathlib import Path

import pytest

from trmkit.spec.storage import StorageSection
from trmkit.store import manifest as manifests
from trmkit.store.base import Store
from trmkit.store.open import open_store


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Return an empty store."""
    remote = request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path / "share")
    return open_store(StorageSection(remote=remote))


def make_checkpoint(folder: Path, step: int, *, seed: int = 0, size: int = 5000, best: int | None = None) -> bytes:
    """Write a folder that looks like a checkpoint; return its manifest."""
    path = folder / f"step_{step:08d}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(random.Random(seed * 1000 + step).randbytes(size))
    (path / "state.json").write_text(json.dumps({"step": step, "seed": seed}))
    about = {"best": {"step": best, "metric": "accuracy", "value": 0.5} if best is not None else None}
    text = manifests.write(step, manifests.members(path), about)
    (path / "manifest.json").write_text(text)
    return text.encode()
