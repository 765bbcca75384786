"""What tests of the page share: runs as they lie on a disk, a page that is served, and how it is asked."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trmctl.dashboard.server import Numbers, Site, serve
from trmkit.metrics import PHASES

START = 1_790_000_000.0
LOSS = 'trm_train_loss{part="total"}'
RIGHT = 'trm_eval_accuracy_by_depth_ratio{level="exact"}'
GRID = [[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]]


def train_line(step: int, total: int, rate: float) -> dict[str, Any]:
    spent = {f"{phase}_seconds": 0.1 * (index + 1) for index, phase in enumerate(PHASES)}
    return {
        "kind": "train", "step": step, "loss": 2.0 * rate ** (step / 10), "accuracy": 1 - rate ** (step / 5),
        "exact_accuracy": step / total, "steps": 4 - 3 * step / total, "grad_norm": 1 + step % 7, "update_norm": 0.01,
        "lr": 1e-3, "step_seconds": 0.05, "mfu": 0.2, "memory_bytes": 2 << 30, "total_steps": total, "updates": 10,
        "remaining_seconds": 0.05 * (total - step), **spent, "time": START + step,
    }  # fmt: skip


def write_run(folder: Path, key: str, steps: int, total: int = 100, rate: float = 0.8) -> Path:
    root = folder / key
    root.mkdir(parents=True)
    (root / "run.yaml").write_text("name: demo\n")
    (root / "checkpoints").mkdir()
    lines: list[dict[str, Any]] = [{"kind": "run", "step": 0, "attempt": 1, "time": START}]
    for step in range(10, steps + 1, 10):
        lines.append(train_line(step, total, rate))
        if step % 50 == 0:
            lines.append(
                {
                    "kind": "eval", "step": step, "loss": rate ** (step / 10), "exact_accuracy": step / 200,
                    "accuracy": 0.5, "halt_depth": 2.5, "exact_accuracy_by_depth": [0.1, 0.2, 0.3, step / 200],
                    "halted_by_depth": [0.0, 0.5, 0.75, 1.0], "q_halt_predicted": [0.05, None, 0.95],
                    "q_halt_observed": [0.1, None, 0.9], "best": step / 200, "time": START + step,
                }
            )  # fmt: skip
            lines.append({"kind": "checkpoint", "step": step, "bytes": 10, "time": START + step})
    (root / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    wrong = [row[::-1] for row in GRID]
    rows = [{"set": "test", "row": 0, "puzzle": "", "exact": exact, "question": [[0] * 4, *GRID[1:]], "truth": GRID,
             "prediction": GRID if exact else wrong} for exact in (True, False)]  # fmt: skip
    (root / "samples.json").write_text(json.dumps({"step": steps, "kind": "sudoku", "rows": rows}))
    return root


@contextmanager
def site(*places: Numbers, every: float = 0.2, address: str = "127.0.0.1") -> Iterator[str]:
    server = serve(Site(places, every), address, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def get(url: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def add(root: Path, line: dict[str, Any]) -> None:
    with (root / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
