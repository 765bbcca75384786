"""A run directory belongs to one training at a time, and says what is trained in it and where."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from trainer.dist import World
from trainer.environment import describe_environment
from trmkit.errors import CheckpointError
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole


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
