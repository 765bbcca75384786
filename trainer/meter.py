"""Adds up what updates report, and makes a line of log of it.

Legend: `G` rows over all processes (the global batch).
"""

import os
import time
from collections import deque

import torch
from torch import Tensor

from trainer import flops, memory
from trainer.state import TrainState, Update

PACE = 10
"""Lines of log that the time left is estimated from."""


class Meter:
    """Adds up what updates report, on the device, until a line of log is due."""

    def __init__(self, state: TrainState) -> None:
        self._state = state
        self._before = state.seconds
        self._started = time.monotonic()
        self._paused = 0.0
        self._pace = deque([(self._started, state.step)], maxlen=PACE)
        self._clear()

    def _clear(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._norms: dict[str, Tensor] = {}
        self._updates, self._lr, self._since, self._row_flops = 0, 0.0, self.seconds(), 0

    def add(self, update: Update) -> None:
        """Add one update."""
        for name, value in {**update.metrics, "grad_norm": update.grad_norm}.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._updates += 1
        self._lr, self._norms = update.lr, update.norms
        self._row_flops += update.row_flops

    def pause(self, seconds: float) -> None:
        """Leave out `seconds` that did not go into training."""
        self._paused += seconds

    def seconds(self) -> float:
        """Return the seconds of training so far, over all interruptions, without evaluations and saves."""
        return self._before + time.monotonic() - self._started - self._paused

    def read(self) -> dict[str, float]:
        """Return the means over all processes since the last call; this waits for the device."""
        state = self._state
        world, batch = state.world, state.run.train.batch_size
        precision = torch.float32 if world.device.type == "mps" else torch.float64
        norm = float(self._sums.pop("grad_norm")) / self._updates
        sums = world.sum(torch.stack([value.to(precision) for value in self._sums.values()])).tolist()
        totals = dict(zip(self._sums, sums, strict=True))
        finished = totals.pop("count")
        any_finished = finished > 0  # else there is nothing to say of rows that became final
        rows = batch * self._updates * state.model.calls_per_update
        known = {name: value for name, value in totals.items() if any_finished or name.endswith("loss")}
        means = {name: value / (rows if name.endswith("loss") else finished) for name, value in known.items()}
        seconds = self.seconds() - self._since
        numbers = {
            **means,
            "grad_norm": norm,
            **{name: float(value) for name, value in self._norms.items()},
            "lr": self._lr,
            "rows_per_second": rows / seconds,
            "step_seconds": seconds / self._updates,
            "seconds": self.seconds(),
            **self._work(rows, seconds),
            **self._progress(),
            **state.feed.numbers(),
            "memory_bytes": memory.used(),
            **{f"gpu_memory_{kind}_bytes": value for kind, value in memory.gpu(world.device).items()},
        }
        self._clear()
        return numbers

    def rest(self) -> dict[str, float]:
        """Return where the time since the last line went."""
        return {f"{phase}_seconds": spent for phase, spent in self._state.clock.read().items()}

    def _work(self, rows: int, seconds: float) -> dict[str, float]:
        """Return what was done in `seconds` of training, and where all the time since the last call went."""
        world = self._state.world
        here = rows * int(os.environ.get("LOCAL_WORLD_SIZE", "1")) // world.size
        done = {**self.rest(), "updates": self._updates, "rows": here}
        if not self._row_flops:
            return done
        operations = self._row_flops * rows // self._updates
        best, _ = flops.peak(world.device)
        mfu = {"mfu": operations / (seconds * best * world.size)} if best else {}
        return {**done, "flops": operations, **mfu}

    def _progress(self) -> dict[str, float]:
        state, now = self._state, time.monotonic()
        then, before = self._pace[0]
        self._pace.append((now, state.step))
        pace = (now - then) / max(1, state.step - before)
        return {
            "total_steps": state.total,
            "progress": state.step / state.total,
            "remaining_seconds": pace * (state.total - state.step),
        }
