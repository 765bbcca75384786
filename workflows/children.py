"""Runs one child and passes SIGTERM on to it, so that what Argo ends gets the time to save. Needs no Hera."""

import signal
import subprocess
from collections.abc import Sequence
from types import FrameType


def run(command: Sequence[str]) -> int:
    """Run a child to its end; return its exit code, 128 + N when signal N ended it."""
    child: subprocess.Popen[bytes] | None = None
    told: list[int] = []

    def tell(signum: int, _frame: FrameType | None) -> None:
        told.append(signum)
        if child is not None:
            child.send_signal(signum)

    before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        child = subprocess.Popen(command)
        for number in told:
            child.send_signal(number)
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code
