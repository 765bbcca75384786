"""Rows of training made by other processes, ahead of their use.

`python -m trainer.data.text_worker` reads orders on its standard input, a line each, and writes rows on its standard
output: a line that says what follows, and the arrays as they are in memory. It imports no torch, is in a session of its
own, so that signals for the training do not reach it, and ends when its input does: that is, with the training.

Legend: `N` rows, `L` places of a row.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from trainer.data.packing import Rows
from trainer.data.text_rows import Place, RowMaker
from trmkit.errors import DataError, TrmError
from trmkit.spec.curriculum import CurriculumData

TYPES = {"inputs": np.int32, "labels": np.int32, "documents": np.int32, "prompt_ends": np.bool_}
AHEAD = 2
"""Orders a worker has at a time: one that it works on, and the next."""


class Order(NamedTuple):
    """Rows that are wanted: those of the slots `first` .. `after` - 1 of so many updates, each of `slots` rows."""

    place: Place
    """Where training is at the first of these updates."""
    updates: int
    slots: int
    first: int
    after: int

    def rows(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the numbers of the rows, rising."""
        begins = self.place.row + np.arange(self.updates) * self.slots
        return np.asarray(begins[:, None] + np.arange(self.first, self.after)).ravel()


class Worker:
    """A process that makes rows. Its answers come in the order of the orders."""

    def __init__(self, folder: Path, section: CurriculumData, seed: int) -> None:
        words = [sys.executable, "-m", "trainer.data.text_worker", str(folder), section.model_dump_json(), str(seed)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._answers: queue.SimpleQueue[Rows | DataError] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True, name="text rows")
        self._reader.start()

    def order(self, order: Order) -> None:
        """Ask for rows; does not wait. That the worker has ended is said by `take`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return

    def take(self) -> Rows:
        """Return the rows of the order that was given first and not taken yet. DataError: the worker has ended."""
        found = self._answers.get()
        if isinstance(found, DataError):
            self._answers.put(found)  # for who asks again
            raise found
        return found

    def close(self) -> None:
        """End it at once; it holds nothing that could be lost."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except OSError:  # what was ordered last has not been read
                continue

    def _read(self) -> None:
        """Take in answers as they come, so that the worker never waits for the training to ask."""
        assert self._process.stdout is not None
        try:
            while True:
                self._answers.put(_receive(self._process.stdout))
        except DataError as error:
            self._answers.put(error)
        except (OSError, ValueError):
            code = self._process.wait()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._answers.put(
                DataError(
                    f"a process that makes rows of text ended ({how})",
                    next="look above for what it printed and whether memory ran out; train.data_workers=0 goes without",
                )
            )


def send(stream: IO[bytes], rows: Rows) -> None:
    """Write rows."""
    stream.write(json.dumps({"shape": rows.inputs.shape}).encode() + b"\n")
    for name, kind in TYPES.items():
        stream.write(np.ascontiguousarray(getattr(rows, name), kind).tobytes())
    stream.flush()


def _receive(stream: IO[bytes]) -> Rows:
    """Read rows. DataError: the worker says why there are none. ValueError: it has ended."""
    header = json.loads(stream.readline())
    if "error" in header:
        raise DataError(header["error"], next=header["next"])
    shape = tuple(header["shape"])
    arrays = []
    for kind in TYPES.values():
        array = np.empty(shape, kind)
        into = array.data.cast("B")
        while len(into):
            count = stream.readinto(into)  # type: ignore[attr-defined]
            if not count:
                raise ValueError("it ended in the middle")
            into = into[count:]
        arrays.append(array)
    return Rows(*arrays)


def main(folder: str, section: str, seed: str) -> None:
    """Make rows until there are no more orders."""
    out = sys.stdout.buffer
    try:
        maker = RowMaker(Path(folder), CurriculumData.model_validate_json(section), int(seed))
        for line in sys.stdin.buffer:
            place, *rest = json.loads(line)
            order = Order(Place(place[0], tuple(place[1])), *rest)
            send(out, maker.make(order.place, order.rows()))
    except TrmError as error:
        out.write(json.dumps({"error": error.message, "next": error.next}).encode() + b"\n")
        out.flush()
    except BrokenPipeError:  # the training has ended
        os._exit(0)  # what is left could not be flushed, and Python would say so


if __name__ == "__main__":
    main(*sys.argv[1:])
