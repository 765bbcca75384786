"""The run files of the suite: a tiny model on tiny puzzles, a minute on half a CPU, and the weights it ends with."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.settings import Settings
from trmkit.render.names import job_name
from trmkit.spec.load import dump, loads
from trmkit.spec.run import RunFile
from trmkit.store.layout import STEP, run_id

QUICK, LONG = 60, 1000
"""Updates of a run that only has to end, and of one that is disturbed on its way."""
PUZZLE = "12....1221....21"
SECRET = "trm-test-store"
BASE = """\
model: {family: trm, hidden_size: 16, num_heads: 2, H_cycles: 2, L_cycles: 1, halt_max_steps: 3,
        puzzle_emb_ndim: 0, puzzle_emb_len: 0, forward_dtype: float32}
data: {source: sudoku-generated, side: 4, train_puzzles: 40, test_puzzles: 24, num_aug: 3}
train:
  batch_size: 16
  warmup_steps: 10
  lr: 1e-3
  threads: 1
  device: cpu
  checkpoint: {every_steps: 50}
  log: {every_steps: 10}
evaluate: {sample: 16, fit_sample: 8, examples: 4}
storage: {stop_seconds: 15}
"""


@dataclass(frozen=True)
class Written:
    """A run file on this machine, and what it will be called."""

    path: Path
    run: RunFile

    @property
    def job(self) -> str:
        """Name of the job in the cluster."""
        return job_name(self.run)

    @property
    def key(self) -> str:
        """`name/id`, its place in the store."""
        return f"{self.run.name}/{run_id(self.run)}"


def written(
    folder: Path, name: str, settings: Settings, store: str | None, *overrides: str, steps: int = QUICK
) -> Written:
    """Write a run file; `overrides` win. The name is no part of the id, so equal runs of other names compare."""
    cluster = (
        f"cluster: {{cpu: '{settings.cpu}', memory: {settings.memory}, shm: 64Mi, scratch: 1Gi, grace_seconds: 30,"
        f" stall_minutes: 10, restarts: 3, rendezvous_seconds: {round(120 * max(1, settings.patience))},"
        " service_account: trm-trainer}\n"
    )
    changes = [f"cluster.image={settings.image}", f"train.steps={steps}", f"evaluate.every_steps={steps}"]
    if store is not None:
        changes += [f"storage.remote={store}", f"cluster.storage_secret={SECRET}"]
    run = loads(f"name: {name}\n{BASE}{cluster}", overrides=[*changes, *overrides])
    place = folder / f"{name}.yaml"
    place.write_text(dump(run), encoding="utf-8")
    return Written(place, run)


def newest(run: Path) -> Path:
    """Return the folder of the newest checkpoint of a run directory."""
    found: Sequence[Path] = sorted(path for path in (run / "checkpoints").iterdir() if STEP.fullmatch(path.name))
    return found[-1]


def weights(run: Path) -> tuple[str, str]:
    """Return the newest checkpoint's name, and the SHA-256 of all tensors in it but those of random generators.

    Names, types, shapes and bytes count, in the order of the names; how the file lays them out does not.
    """
    from safetensors.numpy import load_file

    folder, digest = newest(run), hashlib.sha256()
    for file in ("model.safetensors", "ema.safetensors", "optimizer.safetensors"):
        for name, tensor in sorted(load_file(folder / file).items()):
            digest.update(f"{file} {name} {tensor.dtype} {tensor.shape}".encode())
            digest.update(tensor.tobytes())
    return folder.name, digest.hexdigest()
