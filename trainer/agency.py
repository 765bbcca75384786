"""What a worker and the launcher that started it tell each other: signs of life, and last words.

The launcher makes a folder and names it in `TRM_AGENCY`. Each worker has two files there: `<local rank>.life`, 24 bytes
that it overwrites, and `<local rank>.json`, written once before it leaves. Without the variable nothing is written.

A thread writes a pulse every second, which stops when the process is frozen. Progress is written by whoever makes it:
an update, a batch of an evaluation, a save. Between `rest()` and the next progress only the pulse counts: building a
data set, the first update with its compilation, and waiting for a store take as long as they take.
"""

import faulthandler
import json
import os
import signal
import struct
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

AGENCY = "TRM_AGENCY"
JOB = "TRM_JOB"
"""Name of the job, in a cluster."""
ATTEMPT = "TRM_ATTEMPT"
"""Set by the launcher for the workers of the first machine: the number of this start of the run."""
PULSE_SECONDS = 1.0
LIFE = struct.Struct("<ddq")
"""Time of the last pulse, time of the last progress or 0 at rest, both on the machine's monotonic clock; the step."""
LONGEST = 1200
"""Characters of a message."""


@dataclass(frozen=True)
class Words:
    """Why a worker, or a whole node, ends."""

    exit: int
    reason: str
    message: str = ""
    step: int = 0
    when: float = 0.0
    """On the machine's monotonic clock."""


@dataclass(frozen=True)
class Life:
    """The last signs of life of a worker."""

    pulse: float
    progress: float
    step: int


class Heart:
    """The signs of life of this process; does nothing where no launcher listens."""

    def __init__(self) -> None:
        self._file: int | None = None
        self.step = 0

    def start(self) -> None:
        """Begin, if a launcher listens: open the files, start the pulse, print stacks upon SIGUSR1 or in a crash."""
        folder = os.environ.get(AGENCY)
        if folder is None or self._file is not None:
            return
        name = f"{os.environ.get('LOCAL_RANK', '0')}.life"
        self._file = os.open(Path(folder) / name, os.O_RDWR | os.O_CREAT, 0o600)
        self._put(0, LIFE.pack(time.monotonic(), 0.0, 0))
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        faulthandler.enable(all_threads=True)  # NCCL aborts a process that waited too long
        threading.Thread(target=self._pulse, name="pulse", daemon=True).start()

    def _pulse(self) -> None:
        while True:
            self._put(0, struct.pack("<d", time.monotonic()))
            time.sleep(PULSE_SECONDS)

    def beat(self, step: int | None = None) -> None:
        """Say that something was done; from now on the next thing must not take too long."""
        self.step = self.step if step is None else step
        self._put(8, struct.pack("<dq", time.monotonic(), self.step))

    def rest(self, step: int | None = None) -> None:
        """Say that what follows takes as long as it takes, until the next beat."""
        self.step = self.step if step is None else step
        self._put(8, struct.pack("<dq", 0.0, self.step))

    def _put(self, place: int, content: bytes) -> None:
        if self._file is not None:
            os.pwrite(self._file, content, place)


HEART = Heart()


def in_cluster() -> bool:
    """Say whether somebody starts this process again when it ends with a code above 127."""
    return bool(os.environ.get(JOB))


def last_words(exit: int, reason: str, message: str = "") -> None:
    """Tell the launcher why this process ends; the first words count."""
    folder = os.environ.get(AGENCY)
    if folder is None:
        return
    path = Path(folder) / f"{os.environ.get('LOCAL_RANK', '0')}.json"
    if not path.exists():
        words = Words(exit, reason, message[:LONGEST], HEART.step, time.monotonic())
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(words)))
        draft.rename(path)


def read_words(folder: Path, local_rank: int) -> Words | None:
    """Return the last words of a worker; None: it died without any."""
    try:
        return Words(**json.loads((folder / f"{local_rank}.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def read_life(folder: Path, local_rank: int) -> Life | None:
    """Return the last signs of life of a worker; None: there are none yet."""
    try:
        return Life(*LIFE.unpack((folder / f"{local_rank}.life").read_bytes()))
    except (OSError, struct.error):
        return None
