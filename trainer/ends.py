"""What the ends of a machine's workers come to: one exit code, one reason, and whether it may be tried again."""

import signal
from dataclasses import replace
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from trainer.agency import Words, read_words
from trainer.peers import RETRY
from trmkit.store.attempts import KILLED, LARGEST_FINAL, OUT_OF_MEMORY, PREEMPTED

PEER_LOST, STALLED = "PeerLost", "Stalled"
ABORTED = 128 + signal.SIGABRT
"""How NCCL ends a process whose peer is gone."""
REPEATS = (OUT_OF_MEMORY, KILLED, STALLED, "BrokenGpu", "StoreUnavailable")
"""Ends that may well come again in the next attempt, so that somebody has to count them."""
MEMORY_EVENTS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
"""Where the kernel counts, by the second and the first version of its control groups."""


def gone(agency: Path, message: str) -> Words:
    """Return what a worker here said, if it said that it failed or was told to stop; else that a peer is lost."""
    known = said(agency)
    final = [words for words in known if words.exit <= LARGEST_FINAL]
    telling = final or [words for words in known if words.reason == PREEMPTED]
    return telling[0] if telling else Words(RETRY, PEER_LOST, message)


def said(agency: Path) -> list[Words]:
    """Return the last words of the workers here, the first ones first."""
    found = [read_words(agency, int(path.stem)) for path in agency.glob("*.json")]
    return sorted((words for words in found if words is not None), key=lambda words: words.when)


def worst(failed: ChildFailedError, agency: Path | None, killed_for_memory: int) -> Words:
    """Return why a worker failed: a failure that will come again goes before a kill, and that before a peer's."""
    codes = {one.local_rank: _code(one.exitcode) for one in failed.failures.values()}
    code = min(codes.values(), key=lambda code: (code > LARGEST_FINAL, code == RETRY))
    spoken = [] if agency is None else [words for words in said(agency) if words.exit == code]
    if spoken:  # the others only say that it is gone
        return min(spoken, key=lambda words: words.reason == PEER_LOST)
    rank = next(rank for rank, one in codes.items() if one == code)
    if code == 128 + signal.SIGKILL and killed_for_memory:
        return Words(code, OUT_OF_MEMORY, f"local process {rank} was killed, because the pod ran out of memory")
    if code > 128 and code != RETRY:  # NCCL aborts a process whose peer is gone
        return Words(code, KILLED, f"local process {rank} was ended by signal {code - 128}")
    reason = {2: "Config", RETRY: PEER_LOST}.get(code, "Failed")
    return Words(code, reason, f"local process {rank} ended with exit code {code}")


def _code(exitcode: int) -> int:
    return exitcode if exitcode >= 0 else 128 - exitcode


def uncounted(words: Words, *, several: bool) -> Words:
    """Return what an end comes to where nothing outlives the pod that could count attempts: it is final if it repeats.

    Being asked to leave and losing a peer are no reason to end a run. Nor is an abort where `several` machines train:
    it is how NCCL takes the loss of one.
    """
    if words.exit <= LARGEST_FINAL or words.reason not in REPEATS or (several and words.exit == ABORTED):
        return words
    why = "it is not started again, because nothing outlives the pod that could count how often"
    advice = "set storage.remote, or keep storage.path on a volume with a claim (cluster.volumes)"
    return replace(words, exit=1, message=f"{words.message}; {why}\n  next: {advice}")


def oom_kills(files: tuple[Path, ...] = MEMORY_EVENTS) -> int:
    """Return how often the kernel has killed in this container for want of memory."""
    return sum(_count(file) for file in files)


def _count(file: Path) -> int:
    try:
        lines = dict(line.split() for line in file.read_text().splitlines())
        return int(lines.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0
