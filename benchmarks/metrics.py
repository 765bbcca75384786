"""What metrics cost: everything an update does for them, as a part of the update itself.

Timed apart and put together, because a half of a percent drowns in the noise of a whole step: for each update the marks
of the clock and the sums of the meter; for each line of log, by the run file's `train.log.every_steps`, the norms, the
line of `metrics.jsonl` and the endpoint's values; and a scrape every 15 seconds.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import table

from trainer.dist import World
from trainer.exporter import Exporter
from trainer.meter import Meter
from trainer.metrics import JsonLines, MetricsLog
from trainer.state import look_at
from trainer.subject import subject_of
from trainer.train import build_state
from trmkit.spec.load import load

UPDATES, CALLS, SCRAPE_SECONDS = 12, 200, 15.0


def least(work: Callable[[], object], calls: int) -> float:
    """Return the least CPU seconds of one call, of five times `calls`."""
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(calls):
            work()
        best = min(best, (time.process_time() - started) / calls)
    return best


def costs(config: str) -> list[str]:
    """Return a row: config, seconds of an update, seconds of its metrics, and their part."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = load(Path(config), [f"storage.path={folder}", "train.device=cpu", "train.compile=false"])
        world = World(0, 1, 0, torch.device("cpu"))
        subject = subject_of(run)(run, world)
        state = build_state(run, subject, world)
        meter, exporter = Meter(state), Exporter("first")
        log = MetricsLog(exporter, [JsonLines(Path(folder) / "metrics.jsonl", 0)])
        update = state.update()
        whole = min(_timed(state.update) for _ in range(UPDATES))

        def marks() -> None:
            for phase in ("data", "forward", "backward", "all_reduce", "optimizer"):
                with state.clock.phase(phase):
                    pass
            meter.add(update)
            exporter.beat()

        def line() -> None:
            meter.add(update)
            log.write("train", 1, meter.read())

        weights = list(state.model.parameters())
        average = list(state.ema.shadow.values()) if state.ema else []
        norms = least(lambda: look_at([p.detach().clone() for p in weights], weights, average), 5)
        each, written, scrape = least(marks, CALLS), least(line, CALLS), least(lambda: list(exporter.collect()), CALLS)
        log.close()
    every = run.train.log.every_steps
    cost = each + (norms + written) / every + scrape * whole / SCRAPE_SECONDS
    micro = [f"{1e6 * seconds:.0f}" for seconds in (each, norms, written, scrape)]
    return [Path(config).stem, f"{1e3 * whole:.1f}", *micro, str(every), f"{100 * cost / whole:.3f} %"]


def _timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    head = ["config", "update, ms", "marks, us", "norms, us", "line, us", "scrape, us", "updates a line", "cost"]
    table(head, [costs(config) for config in sys.argv[1:] or ("configs/sudoku-4x4.yaml", "configs/arc-demo.yaml")])
