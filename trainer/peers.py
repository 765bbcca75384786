"""What an error means for the run: a peer went away, a store or a GPU does not work, memory ran out, or it is a bug.

The one place that tells them apart. A peer that is gone is nobody's bug: the run is started again from its newest
checkpoint; so it is in a cluster, as often as its budget allows, when a store does not answer or a GPU is broken.
Anything this module does not know is a bug and ends the run.
"""

import errno
import re
import socket
from collections.abc import Iterator

import torch
import torch.distributed as dist

from trmkit.errors import StoreError, StoreUnavailableError, TrmError

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
ASSERTED = re.compile("device-side assert", re.IGNORECASE)
"""A kernel was given what it may not be given, as an index beyond a table: a bug, on every GPU."""
BROKEN = re.compile(
    r"uncorrectable (NVLink|ECC)|unspecified launch failure|CUDA error: unknown error|CUDA unknown error"
    r"|CUDA driver initialization failed|GPU is lost|fallen off the bus|\bXid\b|no CUDA-capable device"
    r"|CUDA-capable device\S* is/are busy|system not yet initialized",
    re.IGNORECASE,
)
"""How CUDA says that a GPU, or its driver, does not work: on another machine the same run may well."""
AWAY = frozenset(
    (errno.ESTALE, errno.EIO, errno.EREMOTEIO, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN,
     errno.EHOSTUNREACH, errno.ENOTCONN, errno.ETIMEDOUT)
)  # fmt: skip
"""How the system says that a network, or a folder on one, is away."""


class PeerFailedError(TrmError):
    """Another process of this run failed, and says why."""

    exit_code = RETRY


class BrokenMachineError(TrmError):
    """The GPU of this machine does not work; another machine's may."""

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
    if not isinstance(error, RuntimeError) or out_of_memory(error) or ASSERTED.search(str(error)):
        return False
    if isinstance(error, dist.DistBackendError) and MISUSE.search(str(error)):
        return False
    return isinstance(error, dist.DistError) or TRANSPORT.search(str(error)) is not None


def gpu_is_broken(error: BaseException) -> bool:
    """Say whether `error` is about the GPU of this machine, or its driver, and neither its memory nor a bug."""
    if isinstance(error, BrokenMachineError):
        return True
    if not isinstance(error, RuntimeError) or out_of_memory(error) or ASSERTED.search(str(error)):
        return False
    return BROKEN.search(str(error)) is not None


def is_unreachable(error: TrmError | OSError) -> bool:
    """Say whether a store, a network or a folder on one did not answer, and may later.

    A store that refuses, a full disk and a file that is not there are none of these.
    """
    if isinstance(error, StoreError):
        return isinstance(error, StoreUnavailableError)
    return any(_is_away(one) for one in _chain(error))


def _is_away(error: BaseException) -> bool:
    if isinstance(error, StoreUnavailableError | ConnectionError | TimeoutError | socket.gaierror):
        return True
    if isinstance(error, OSError) and error.errno in AWAY:
        return True
    status = getattr(getattr(error, "response", None), "status_code", 0)  # of whatever HTTP library a client uses
    return isinstance(status, int) and (status == 429 or status >= 500)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
