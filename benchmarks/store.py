"""What a store costs, on a real S3 server on this machine: a list of a thousand runs, a checkpoint out and in, a step.

Run: python benchmarks/store.py
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.seaweed import Seaweed
from trmkit.spec.storage import StorageSection
from trmkit.store import manifest as manifests
from trmkit.store.catalog import Listed, index_key, runs
from trmkit.store.fetch import Fetch
from trmkit.store.layout import RunDirectory
from trmkit.store.open import open_store
from trmkit.store.publish import checkpoints, publish
from trmkit.store.summary import Status
from trmkit.store.uploader import Keep, Uploader

RUNS = 1000
MIB = 1 << 20
KEY = "run/0123abcd"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Seaweed(Path(folder) / "server")
        os.environ.update(server.environment)
        server.start()
        try:
            measure(Path(folder))
        finally:
            server.stop()


def measure(folder: Path) -> None:
    store = open_store(StorageSection(remote="s3://trm-artifacts/bench"))
    many = [Listed("run", f"{n:08x}", "training", n, RUNS, "exact_accuracy", 0.5, 0.0) for n in range(RUNS)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda run: store.write(index_key(run), b""), many))
    print(f"list of {RUNS:,} runs: {seconds(lambda: len(runs(store))):.3f} s (goal 1 s)")
    directory = RunDirectory(folder / "run" / "0123abcd")
    path = make(directory, 1, 100 * MIB)
    content = (path / "manifest.json").read_bytes()
    out = seconds(lambda: publish(store, f"{KEY}/checkpoints", path, content))
    again = seconds(lambda: publish(store, f"{KEY}/checkpoints", path, content))
    (one,) = checkpoints(store, f"{KEY}/checkpoints")
    back = seconds(lambda: Fetch(store, 10).folder(one, folder / "here" / "step_00000001"))
    print(f"100 MiB: out {100 / out:.0f} MiB/s, again, with nothing to send, {again:.2f} s, in {100 / back:.0f} MiB/s")
    step_beside_an_upload(folder, directory, store)


def step_beside_an_upload(folder: Path, directory: RunDirectory, store: object) -> None:
    """Compare the time of a training-like step alone with that beside an upload, on the same core budget."""
    import torch

    torch.set_num_threads(1)
    weights = torch.randn(512, 512)

    def step() -> None:
        for _ in range(40):
            torch.mm(weights, weights)

    alone = middle([seconds(step) for _ in range(200)])
    make(directory, 2, 200 * MIB)
    uploader = Uploader(store, KEY, directory, Keep(2), {}, Status(), print)  # type: ignore[arg-type]
    handed_over = seconds(lambda: uploader.checkpoint(2, Status("training", 2, 9)))
    beside = []
    while 2 in uploader.holds():
        beside.append(seconds(step))
    uploader.finish(60)
    print(
        f"a checkpoint is handed over in {1000 * handed_over:.2f} ms; a step takes {middle(beside) / alone:.2f}x"
        f" while 200 MiB go up ({len(beside)} steps; the server shares the machine)"
    )


def make(directory: RunDirectory, step: int, size: int) -> Path:
    path = directory.checkpoints / f"step_{step:08d}"
    path.mkdir(parents=True)
    for number in range(2):
        (path / f"part{number}.safetensors").write_bytes(os.urandom(size // 2))
    (path / "manifest.json").write_text(manifests.write(step, manifests.members(path), {}))
    return path


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    main()
