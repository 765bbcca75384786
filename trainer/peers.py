"""What an error means for the other processes: a peer went away, memory ran out, or something is wrong here.

The one place that tells them apart. A peer that is gone is nobody's bug: the run is started again from its newest
checkpoint. Anything this module does not know is a bug and ends the run.
"""

import re

import torch
import torch.distributed as dist

from trmkit.errors import TrmError

RETRY = 143
"""Exit code that says: start me again. It is that of SIGTERM, which operators take for one."""

TRANSPORT = re.compile(
    r"gloo[/\\]transport|Gloo connectFullMesh|Connection (closed|reset) by peer|NCCL communicator was aborted"
    r"|Rank \d+ failed to pass monitoredBarrier|collective operation timeout|Broken pipe|Socket Timeout"
)
"""How gloo, NCCL and the store say, in a plain RuntimeError, that a connection broke or nobody answered in time."""
MISUSE = re.compile("invalid (usage|argument)", re.IGNORECASE)
"""How NCCL says that it is used wrongly, as by two processes on one GPU: it will be next time."""
MEMORY = re.compile(r"out of memory|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)


class PeerFailedError(TrmError):
    """Another process of this run failed, and says why."""

    exit_code = RETRY


def out_of_memory(error: BaseException) -> bool:
    """Say whether memory ran out here, on the device or the machine: it will again."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and MEMORY.search(str(error)) is not None


def peer_is_gone(error: BaseException) -> bool:
    """Say whether `error` is about another process, or the network to it, and not about this one."""
    if isinstance(error, PeerFailedError):
        return True
    if not isinstance(error, RuntimeError) or out_of_memory(error):
        return False
    if isinstance(error, dist.DistBackendError) and MISUSE.search(str(error)):
        return False
    return isinstance(error, dist.DistError) or TRANSPORT.search(str(error)) is not None
