"""`python -m trainer.launch`: torchrun, with exit codes that say what happened and without its stack traces.

Takes torchrun's own arguments and `PET_*` variables. Exits with the worker's own code: 0 done, 1 failed, 2 unusable run
file, 128 + N when signal N ended it or asked it to stop. Plain torchrun turns all but 0 into 1.
"""

import logging
import os
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

NOISY = ("torch.distributed.elastic.agent.server.api", "torch.distributed.elastic.multiprocessing.api")
"""Loggers that tell again what a worker has said, and warn of signals that we were asked to pass on."""


def main(arguments: list[str] | None = None) -> int:
    """Start the processes, wait for them, and return the exit code."""
    options = parse_args(arguments)  # type: ignore[no-untyped-call]
    if "OMP_NUM_THREADS" not in os.environ and options.nproc_per_node.isdigit():
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // int(options.nproc_per_node)))
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        run(options)  # type: ignore[no-untyped-call]
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    except ChildFailedError as failed:
        _, failure = failed.get_first_failure()
        return failure.exitcode if failure.exitcode >= 0 else 128 - failure.exitcode
    return 0


if __name__ == "__main__":
    sys.exit(main())
