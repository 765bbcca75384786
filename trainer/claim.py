"""A run directory belongs to one training at a time, and its log to one writer; it says what is trained and where."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from trainer.agency import HEART
from trainer.dist import StopSignal, World
from trainer.environment import describe_environment
from trmkit.errors import CheckpointError
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

LOOK_SECONDS = 0.5
"""Pause between two looks whether somebody else still writes the log."""


@contextmanager
def claim(run: RunFile, directory: RunDirectory, world: World) -> Iterator[None]:
    """Have the directory to ourselves for the time of a `with` block, with `run.yaml` and `environment.json` in it.

    CheckpointError: another process is training this run.
    """
    held: IO[str] | None = None
    with world.together():
        if world.local_rank == 0:  # machines need not share the folder
            directory.checkpoints.mkdir(parents=True, exist_ok=True)
        if world.first:
            held = lock(directory)
            write_whole(directory.run_file, dump(run))
            describe_environment(directory, world)
    try:
        yield
    finally:
        if held is not None:
            held.close()


@contextmanager
def writing_log(
    directory: RunDirectory, world: World, stop: StopSignal, wait: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Be the only one to write `metrics.jsonl` for the time of a `with` block, once nobody else does; all call it.

    At the end of a run both who trains and who follows may write it, and either may have been started again. Each reads
    what is there, adds what is not, and must not be interrupted between the two by the other. Raises `Stopped`.
    """
    held: IO[str] | None = None
    HEART.rest()  # the other one takes as long as it takes
    while True:
        stop.check(world)
        with world.together():
            if world.first:
                held = only_writer(directory)
        if world.largest(int(held is not None)):
            break
        wait(LOOK_SECONDS)
    try:
        yield
    finally:
        if held is not None:
            held.close()


def only_writer(directory: RunDirectory) -> IO[str] | None:
    """Return an open file that makes this process the log's writer until it is closed; None: another one is."""
    directory.root.mkdir(parents=True, exist_ok=True)
    file = (directory.root / f".{directory.metrics.name}.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def lock(directory: RunDirectory) -> IO[str]:
    """Return an open file that no other process can lock before it is closed, or this process is gone."""
    file = (directory.root / ".lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise CheckpointError(
            f"{directory.root}: process {holder} is training this run", next="wait for it, or end it first"
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
