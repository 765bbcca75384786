"""Where the time of training goes, told apart without making anything wait.

On a CPU a phase takes as long as the clock says. A GPU works behind the program, so there the ends of phases are marked
in its own queue of work, and read when a line of log waits for it anyway.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Protocol

import torch

from trmkit.metrics import PHASES

OTHER = "other"
MOST_MARKS = 4096
"""Marks that are kept before those the GPU has passed are added up."""


class Mark(Protocol):
    """A place in a device's queue of work, as `torch.cuda.Event` is one."""

    def query(self) -> bool:
        """Say whether the device has passed it."""

    def synchronize(self) -> None:
        """Wait until it has."""

    def elapsed_time(self, end: "Mark", /) -> float:
        """Return the milliseconds from here to `end`; the device has passed both."""


def mark() -> Mark:
    """Return a mark at the end of the GPU's queue."""
    event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    made: Mark = event
    return made


class Clock:
    """Adds up the seconds of the phases of `trmkit.metrics.PHASES`. A phase inside another interrupts it."""

    def __init__(self, marks: Callable[[], Mark] | None = None) -> None:
        """Begin now; `marks` makes those of a device that works behind the program, None: it works along with it."""
        self._make = marks
        self.start()

    @classmethod
    def of(cls, device: torch.device) -> "Clock":
        """Return the clock for work on `device`."""
        return cls(mark if device.type == "cuda" else None)

    def start(self) -> None:
        """Begin anew, now."""
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._phase = OTHER
        self._since = time.perf_counter()
        self._marks: list[tuple[str, Mark]] = [(OTHER, self._make())] if self._make else []

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
        if self._marks:
            self._marks[-1][1].synchronize()
            self._add_up(len(self._marks))
        found, self._seconds = self._seconds, dict.fromkeys(PHASES, 0.0)
        return found

    def _switch(self, name: str) -> None:
        if self._make:
            self._marks.append((name, self._make()))
            if len(self._marks) > MOST_MARKS:
                unpassed = (index for index, (_, mark) in enumerate(self._marks) if not mark.query())
                self._add_up(next(unpassed, len(self._marks)))
        else:
            now = time.perf_counter()
            self._seconds[self._phase] += now - self._since
            self._since = now
        self._phase = name

    def _add_up(self, passed: int) -> None:
        """Add up the time between the first `passed` marks, which the GPU has passed, and keep the last of them."""
        for (name, begin), (_, end) in pairwise(self._marks[:passed]):
            self._seconds[name] += begin.elapsed_time(end) / 1000
        self._marks = self._marks[max(0, passed - 1) :]
