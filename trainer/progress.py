"""What a person watching the training sees: a bar on a terminal, plain lines elsewhere. All of it on stderr."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

BRIEF = {"lm_loss": "loss", "exact_accuracy": "right"}
SHOWN = ("lm_loss", "accuracy", "exact_accuracy", "steps")


def say(text: str) -> None:
    """Print a line for the person who watches."""
    print(text, file=sys.stderr, flush=True)


class TrainingProgress:
    """The progress of `total` updates, of which `done` are made; silent unless `visible`."""

    def __init__(self, total: int, done: int, *, visible: bool) -> None:
        self._total, self._first, self._visible = total, done, visible
        self._started = time.monotonic()
        self._bar: Progress | None = None
        console = Console(stderr=True)
        if visible and console.is_terminal:
            self._bar = Progress(
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[numbers]}"),
                console=console,
            )
            self._task = self._bar.add_task("", total=total, completed=done, numbers="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, step: int, numbers: dict[str, float]) -> None:
        """Show the numbers of a line of log."""
        if not self._visible:
            return
        if self._bar:  # short enough, with the other columns, for 80 characters
            text = "  ".join(f"{word} {numbers[name]:.2f}" for name, word in BRIEF.items() if name in numbers)
            self._bar.update(self._task, completed=step, numbers=text)
        else:
            text = "  ".join(f"{name} {numbers[name]:.4g}" for name in SHOWN if name in numbers)
            say(f"step {step}/{self._total}  {text}  {self._left(step)}")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar:
            self._bar.console.print(text, highlight=False)
        elif self._visible:
            say(text)

    def _left(self, step: int) -> str:
        if step <= self._first:
            return ""
        seconds = (time.monotonic() - self._started) / (step - self._first) * (self._total - step)
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} left"
