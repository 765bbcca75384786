"""Runs the trainer's stages as child processes, and passes Ctrl-C and SIGTERM on to them once."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from trmctl.output import talk
from trmkit.errors import TrmError
from trmkit.stages import FOLLOW, Stage

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STDERR = 2
SECOND_CTRL_C_AFTER = 1.0
"""Seconds; `timeout` and some shells deliver one Ctrl-C twice."""


@dataclass(frozen=True)
class Trainer:
    """How the trainer is started."""

    module: tuple[str, ...] = ("-m", "trainer")
    """What Python is to run; a test gives a script."""

    def command(self, *arguments: str, processes: int = 1) -> list[str]:
        """Return the command line for one stage on so many processes."""
        launcher = ["-m", "trainer.launch", "--standalone", "--nproc-per-node", str(processes)]
        return [sys.executable, *(launcher if processes > 1 else []), *self.module, *arguments]


class StageError(TrmError):
    """A stage ended with an exit code that is not 0; the trainer has said why."""

    def __init__(self, message: str, code: int, *, next: str) -> None:
        super().__init__(message, next=next)
        self.exit_code = code


def require_trainer() -> None:
    """Raise TrmError where the trainer cannot run."""
    if importlib.util.find_spec("torch") is None:
        raise TrmError("PyTorch is not installed, so nothing can be trained here", next="pip install 'trmctl[train]'")


def run_stages(
    run_file: Path,
    stages: Sequence[Stage],
    trainer: Trainer,
    processes: int,
    again: str,
    *,
    followed: Sequence[str] | None = None,
) -> int:
    """Run `stages` in order; `again` is the command that goes on later. Return the exit code. Raises StageError.

    Training that is `followed` has somebody beside it who scores its checkpoints, with these options, and who is waited
    for; None: nobody.
    """
    with relay() as children:
        for number, stage in enumerate(stages, 1):
            talk(f"[{number}/{len(stages)}] {stage.name}")
            count = processes if stage.everywhere else 1
            command = trainer.command(stage.name, str(run_file), processes=count)
            if followed is not None and stage.name == "train":
                code = children.run_both(command, trainer.command(FOLLOW.name, str(run_file), *followed))
            else:
                code = children.run(command, STDERR)
            if children.caught is not None:
                talk(f"stopped in {stage.name}; to go on: {again}")
                return 128 + children.caught
            if code:
                raise StageError(f"{stage.name} ended with exit code {code}", code, next=f"then go on with: {again}")
    return 0


def run_one(command: Sequence[str], stdin: int = subprocess.DEVNULL) -> int:
    """Run one child, which reads the file `stdin`; return its exit code, or that of the signal that ended it."""
    with relay() as children:
        code = children.run(command, stdin=stdin)
        return code if children.caught is None else 128 + children.caught


@dataclass
class Children:
    """Runs children one after the other, in process groups of their own: a terminal's Ctrl-C reaches only us."""

    current: "subprocess.Popen[bytes] | None" = None
    caught: int | None = None
    caught_at: float = field(default=0.0)

    def run(self, command: Sequence[str], stdout: int | None = None, stdin: int = subprocess.DEVNULL) -> int:
        """Run one child to its end; return its exit code, 128 + N when signal N ended it."""
        if self.caught is not None:
            return 128 + self.caught
        with subprocess.Popen(command, stdin=stdin, stdout=stdout, process_group=0) as child:
            self.started(child)
            code = child.wait()
            self.current = None
        return code if code >= 0 else 128 - code

    def run_both(self, command: Sequence[str], beside: Sequence[str]) -> int:
        """Run a child, and another one beside it that ends by itself after the first has ended well.

        Return the first exit code that is not 0. When the first ends badly, the other one is asked to leave.
        """
        with subprocess.Popen(beside, stdin=subprocess.DEVNULL, stdout=STDERR, process_group=0) as other:
            threading.Thread(target=say_if_it_fails, args=(other,), daemon=True).start()
            code = self.run(command, STDERR)
            if code:
                other.terminate()
            else:
                self.started(other)
            ended = other.wait()
            self.current = None
        return code or (ended if ended >= 0 else 128 - ended)

    def started(self, child: "subprocess.Popen[bytes]") -> None:
        """Remember the running child; a signal that came while it started is passed on now."""
        self.current = child
        if self.caught is not None:
            self.forward(self.caught)

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Pass the first signal on; a second Ctrl-C, a while later, stops the child at once."""
        if self.caught is None:
            self.caught, self.caught_at = number, time.monotonic()
            self.forward(number)
        elif number == signal.SIGINT and time.monotonic() - self.caught_at > SECOND_CTRL_C_AFTER and self.current:
            os.killpg(self.current.pid, signal.SIGKILL)

    def forward(self, number: int) -> None:
        """Ask the running child to save and leave. A closed terminal counts as SIGTERM."""
        if self.current is not None:
            self.current.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)
            os.write(STDERR, b"\nstopping: the trainer saves and leaves; Ctrl-C again stops it at once\n")


def say_if_it_fails(other: "subprocess.Popen[bytes]") -> None:
    """Wait for the child that scores checkpoints, and say at once that nobody does any more if it fails."""
    code = other.wait()
    if code not in (0, -signal.SIGTERM, 128 + signal.SIGTERM, 128 + signal.SIGINT):
        talk(f"{FOLLOW.name} ended with exit code {code}: training goes on, and nobody scores its checkpoints")


@contextmanager
def relay() -> Iterator[Children]:
    """Handle signals while children run; afterwards everything is as before. An ignored signal stays ignored."""
    children = Children()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, children.on_signal)
    try:
        yield children
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
