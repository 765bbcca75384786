"""Where the time of training goes, told apart without making anything wait.

On a CPU a phase takes as long as the clock says. A GPU works behind the program, so there the ends of phases are marked
in its own queue of work, and read when a line of log waits for it anyway.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trmkit.metrics import PHASES

OTHER = "other"
MOST_MARKS = 4096
"""Marks that are kept before those the GPU has passed are added up."""


class Clock:
    """Adds up the seconds of the phases of `trmkit.metrics.PHASES`. A phase inside another interrupts it."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self.start()

    def start(self) -> None:
        """Begin anew, now."""
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._phase = OTHER
        self._since = time.perf_counter()
        self._marks: list[tuple[str, Any]] = [(OTHER, self._mark())] if self._cuda else []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of a `with` block as phase `name`."""
        before = self._phase
        self._switch(name)
        try:
            yield
        finally:
            self._switch(before)

    def read(self) -> dict[str, float]:
        """Return the seconds of every phase since the last call, all of them together the time that has passed."""
        self._switch(self._phase)
        if self._cuda:
            self._marks[-1][1].synchronize()
            self._add_up(len(self._marks) - 1)
        found, self._seconds = self._seconds, dict.fromkeys(PHASES, 0.0)
        return found

    def _switch(self, name: str) -> None:
        if self._cuda:
            self._marks.append((name, self._mark()))
            if len(self._marks) > MOST_MARKS:
                self._add_up(next((i for i, (_, mark) in enumerate(self._marks) if not mark.query()), 1) - 1)
        else:
            now = time.perf_counter()
            self._seconds[self._phase] += now - self._since
            self._since = now
        self._phase = name

    def _mark(self) -> Any:
        mark = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        mark.record()
        return mark

    def _add_up(self, last: int) -> None:
        """Add up the time between the marks up to number `last`, which the GPU has passed, and drop those before it."""
        for (name, begin), (_, end) in zip(self._marks[:last], self._marks[1 : last + 1], strict=True):
            self._seconds[name] += begin.elapsed_time(end) / 1000
        self._marks = self._marks[max(0, last) :]
