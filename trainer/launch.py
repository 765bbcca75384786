"""`python -m trainer.launch`: torchrun, with exit codes that say what happened and without its stack traces.

Takes torchrun's own arguments and `PET_*` variables. Exits with the worker's own code: 0 done, 1 failed, 2 unusable run
file, 128 + N when signal N ended it or asked it to stop, 143 too when another machine of the run went away, or nothing
moved any more. Plain torchrun turns all but 0 into 1, so that a cluster could not tell what to start again.

With `TRM_JOB` set, as in a cluster, the run's attempts are counted, its deadline holds, a stall ends it, and the last
line on stderr, which is also the pod's termination message, says as JSON why it ended.
"""

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from trainer.agency import JOB, Words
from trainer.exit import leave_for_good
from trmkit.errors import SpecError, TrmError
from trmkit.stages import FOLLOW

if TYPE_CHECKING:
    from trmkit.spec.cluster import ClusterSection
    from trmkit.spec.run import RunFile
    from trmkit.store.layout import RunDirectory

TERMINATION_LOG = "/dev/termination-log"
LARGEST = 2048
"""Bytes of a termination message; the cluster cuts longer ones anywhere."""
TO_LEAVE = 10
"""Seconds of the grace period that are the launcher's own."""


@dataclass(frozen=True)
class Terms:
    """What is launched, and what its run file says about that."""

    run: "RunFile | None" = None
    directory: "RunDirectory | None" = None
    job: str | None = None
    """Name of the job in a cluster; None: not in a cluster."""
    beside: str = ""
    """What this job does beside the one that trains, and counts its attempts apart; empty: it is that one."""

    @property
    def cluster(self) -> "ClusterSection":
        """The run file's section, or its defaults."""
        from trmkit.spec.cluster import ClusterSection

        return self.run.cluster if self.run is not None else ClusterSection()

    @property
    def patience(self) -> int:
        """Seconds that workers get to save and leave."""
        grace = self.cluster.grace_seconds
        return max(grace // 2, grace - TO_LEAVE)

    @property
    def lasting(self) -> bool:
        """Whether the count of the run's attempts outlives the pod; nothing is known of what is no run."""
        if self.run is None or self.directory is None or self.run.storage.remote is not None:
            return True
        root = self.directory.root.absolute()
        claims = [one for one in self.cluster.volumes if one.kind == "pvc" and not one.read_only]
        return any(root.is_relative_to(claim.mount_path) for claim in claims)


def main(arguments: list[str] | None = None) -> int:
    """Start the processes, wait for them, and return the exit code."""
    job = os.environ.get(JOB) or None
    if job is not None:  # as process 1 nothing would end it before torch is loaded
        signal.signal(signal.SIGTERM, leave_at_once)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # or it prints a C++ stack for every peer that leaves
    from torch.distributed.run import parse_args

    options = parse_args(arguments)  # type: ignore[no-untyped-call]
    if "OMP_NUM_THREADS" not in os.environ and options.nproc_per_node.isdigit():
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // int(options.nproc_per_node)))
    try:
        terms = terms_of(options, job)
    except SpecError as error:
        print(f"error: {error}", file=sys.stderr)
        return farewell(Words(error.exit_code, "Config", str(error)), job)
    from trainer.agent import supervise

    return farewell(supervise(options, terms), job)


def terms_of(options: Any, job: str | None) -> Terms:
    """Return the terms of `-m trainer COMMAND RUN.yaml`; of any other script, the defaults.

    SpecError: the run file cannot be used, in a cluster; elsewhere the worker says so.
    """
    if not options.module or options.training_script != "trainer":
        return Terms(job=job)
    from trainer.__main__ import open_run, parser

    try:
        asked = parser().parse_args(options.training_script_args)
        run, directory = open_run(asked)
    except SystemExit:
        if job is None:
            return Terms()
        raise SpecError(f"python -m trainer {' '.join(options.training_script_args)}: not understood") from None
    except (TrmError, AttributeError):  # the command has no run file
        if job is None:
            return Terms()
        raise
    return Terms(run, directory, job, FOLLOW.name if FOLLOW.name in getattr(asked, "stages", ()) else "")


def leave_at_once(signum: int, _frame: FrameType | None) -> None:
    """Leave before there is anything to look after: no worker was started yet."""
    farewell(Words(128 + signum, "Preempted", "asked to leave before it had started"), os.environ.get(JOB))
    os._exit(128 + signum)


def farewell(words: Words, job: str | None) -> int:
    """Say in a cluster why this ends, unless all is well; return the exit code."""
    if job is None or words.exit == 0:
        return words.exit
    line = termination_message(words)
    path = Path(os.environ.get("TRM_TERMINATION_LOG", TERMINATION_LOG))
    try:
        path.write_text(line + "\n")
    except OSError as error:
        print(f"{path}: cannot be written: {error.strerror}", file=sys.stderr)
    print(line, file=sys.stderr, flush=True)  # last, because it stands in for a file that could not be written
    return words.exit


def termination_message(words: Words) -> str:
    """Return one line of JSON of at most `LARGEST` bytes, its line end included."""
    message = words.message
    while True:
        line = json.dumps({"exit": words.exit, "reason": words.reason, "message": message, "step": words.step})
        if len(line) < LARGEST:
            return line
        message = message[: len(message) - max(1, (len(line) - LARGEST) // 6)]


if __name__ == "__main__":
    leave_for_good(main(), several=True)
