"""The last thing a process does: end with its exit code, whatever threads of a group's transport still run.

Workers of a group, and the launcher that holds the store they met at, have C++ threads. When the interpreter takes
itself apart, one that is not done yet ends the process by `std::terminate`, exit code 134, though all of its work is
done: seen once in some thousand runs of two processes. So such a process ends without that.
"""

import atexit
import os
import sys
from typing import NoReturn


def in_a_group() -> bool:
    """Say whether this process still belongs to a group of processes that work together."""
    dist = sys.modules.get("torch.distributed")
    return dist is not None and bool(dist.is_available() and dist.is_initialized())


def leave_for_good(code: int, *, several: bool | None = None) -> NoReturn:
    """End this process; at once, if it is one of `several` (default: as torchrun's WORLD_SIZE says), or starts them.

    With a group whose members are gone, nothing is waited for that they would have to do.
    """
    if several is None:
        several = os.environ.get("WORLD_SIZE", "1") != "1"
    if not (several or in_a_group()):
        sys.exit(code)
    if not in_a_group():
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
