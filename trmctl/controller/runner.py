"""Keeps a controller going: who of several replicas decides, looks at all runs again and again, and at some at once."""

import heapq
import threading
import time
from collections.abc import Callable

from trmctl.controller.lease import LASTS, Lease
from trmctl.controller.loop import Controller, Key, Log
from trmkit.errors import TrmError

SETTLES = 0.5
"""Seconds after which a run is looked at to which something happened: what happens to it comes in crowds."""
WORKERS = 4
LEAVES = 15.0
"""Seconds for what is being done when a signal comes; the chart gives the pod twice as long in all."""
GIVEN_UP = 180.0
"""Seconds without a successful look at all runs, beyond three times their distance, after which this process is ill."""


class Queue:
    """Runs that are to be looked at, each once, and when. May be used by several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._changed = threading.Condition()
        self._closed = False

    def put(self, key: Key, after: float) -> None:
        """Have a run looked at in so many seconds, or before if that was said already."""
        at = self._clock() + after
        with self._changed:
            if at < self._due.get(key, float("inf")):
                self._due[key] = at
                heapq.heappush(self._heap, (at, key))
                self._changed.notify()

    def take(self) -> Key | None:
        """Wait for the next run whose time has come, and return it; None: there will be no more."""
        with self._changed:
            while not self._closed:
                while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
                    heapq.heappop(self._heap)  # it was asked for earlier, and taken
                left = self._heap[0][0] - self._clock() if self._heap else None
                if left is not None and left <= 0:
                    key = heapq.heappop(self._heap)[1]
                    del self._due[key]
                    return key
                self._changed.wait(left)
            return None

    def close(self) -> None:
        """Have everybody who waits leave."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._due)


class Runner:
    """Runs a controller in threads of its own."""

    def __init__(self, controller: Controller, lease: Lease, every: float, log: Log) -> None:
        """Take how many seconds there are between two looks at all runs."""
        self._controller = controller
        self._lease = lease
        self._every = every
        self._log = log
        self._queue = Queue()
        self._stop = threading.Event()
        self._asked = time.monotonic()
        self._threads: list[threading.Thread] = []
        self._leads = threading.Event()

    def start(self) -> None:
        """Begin."""
        for work in (self._lead, self._resync, *[self._work] * WORKERS):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End what is being done, and let another replica decide at once if nothing is under way any more."""
        self._stop.set()
        self._queue.close()
        until = time.monotonic() + LEAVES
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):  # what it does may still reach the cluster
            self._log("the lease is not given back", error=f"something takes longer than {LEAVES:g} s")
            return
        try:
            self._lease.release()
        except TrmError as error:
            self._log("the lease was not given back", error=error.message)

    def wake(self, namespace: str, name: str) -> None:
        """Have a run looked at soon."""
        if name and self._leads.is_set():
            self._queue.put((namespace, name), SETTLES)

    def job_changed(self, namespace: str, job: str) -> None:
        """Have the run looked at that a job is for."""
        self.wake(namespace, self._controller.owner(namespace, job))

    @property
    def ready(self) -> bool:
        """Whether the cluster has answered lately."""
        return time.monotonic() - self._asked < LASTS

    @property
    def healthy(self) -> bool:
        """Whether all runs were looked at lately; of a replica that waits, whether it is waiting still."""
        since = self._controller.metrics.resynced_at if self._leads.is_set() else self._asked
        return time.monotonic() - since < 3 * self._every + GIVEN_UP

    @property
    def _decides(self) -> bool:
        """Whether this replica decides at this very moment: a question about the Lease may be under way for long."""
        return self._leads.is_set() and self._lease.lasts(time.monotonic())

    def _lead(self) -> None:
        while not self._stop.is_set():
            try:
                held = self._lease.held(time.monotonic())
                self._asked = time.monotonic()
            except Exception as error:  # noqa: BLE001 - as below
                held = self._lease.lasts(time.monotonic())
                self._failed(error, "the lease cannot be asked for")
            if held != self._leads.is_set():
                self._log("decides" if held else "waits for another replica")
                if held:
                    self._controller.metrics.resynced_at = time.monotonic()
                    self._leads.set()
                else:
                    self._leads.clear()
            self._controller.metrics.leader.set(held)
            self._stop.wait(2.0)

    def _resync(self) -> None:
        while not self._stop.is_set():
            if not self._leads.wait(1.0) or not self._decides:
                self._stop.wait(0.1)
                continue
            try:
                for key, due in self._controller.resync():
                    self._queue.put(key, due)
            except Exception as error:  # noqa: BLE001 - a thread that ended would look at nothing any more
                self._failed(error, "could not look at all runs")
            self._stop.wait(self._every)

    def _failed(self, error: Exception, event: str, **where: str) -> None:
        self._controller.metrics.errors.labels(type(error).__name__).inc()
        said = error.message if isinstance(error, TrmError) else f"{type(error).__name__}: {error}"
        self._log(event, **where, error=said, next=getattr(error, "next", ""))

    def _work(self) -> None:
        while (key := self._queue.take()) is not None:
            self._controller.metrics.queue.set(len(self._queue))
            if not self._decides:
                continue
            try:
                due = self._controller.look_at(*key)
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(error, "could not look at a run", namespace=key[0], run=key[1])
                due = self._every
            if due is not None:
                self._queue.put(key, due)
