"""Follows a run in a cluster until it is over: its phase, why it waits, and its log, across pods that come and go."""

import queue
import threading
import time
from collections.abc import Callable, Sequence

import click

from trmctl import jobs
from trmctl import pods as p
from trmctl.cluster import Cluster, Object
from trmctl.diagnosis import why
from trmctl.diagnosis.evidence import gather
from trmctl.jobs import Job
from trmctl.output import plain
from trmctl.phase import Phase, State
from trmkit.errors import (
    ClusterError,
    ClusterForbiddenError,
    ClusterMissingError,
    ClusterNotReadyError,
    ClusterUnreachableError,
    TimedOutError,
)

TICK = 2.0
"""Seconds between two looks."""
DENIED_SECONDS = 180.0
"""How long a follower bears that it is refused."""
ASK_WHY = 15.0
"""Seconds between two looks for why a run waits."""
LAST_LINES = 10.0
"""Seconds that readers have for what is left of a log when the run is over."""
COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_cyan", "bright_magenta", "bright_green")
Line = tuple[str, int, str]
"""What is put before it, the rank, the text."""


def follow(
    cluster: Cluster,
    job: Job,
    say: Callable[[str], None],
    *,
    ranks: Sequence[int] | None = (0,),
    timeout: float | None = None,
    since: float | None = None,
    logs: bool = True,
    write: Callable[[str], None] = click.echo,
    farewell: str = "detached; the run goes on. Again: trmctl logs -f {name}; to end it: trmctl cancel {name}",
    wait: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Follow a run until it is over; return 0 (done), 1 (failed), 6 (again may help), 4 (deleted) or 130 (Ctrl-C).

    `say` gets talk: each phase once, and while the run waits, why, once per change. `write` gets the lines of the
    log, of these `ranks` (None: all), with the rank in front when there may be several. Logs of pods that are made
    again are taken up again. `timeout` is in seconds; TimedOutError: the run is not over by then, and goes on.
    `farewell` is said on Ctrl-C, `{name}` replaced. `wait` and `clock` are for tests.
    """
    following = Following(cluster, job, say, write, ranks if logs else (), since)
    began = clock()
    try:
        while True:
            over = following.look(clock())
            if over is not None:
                return over
            if timeout is not None and clock() - began >= timeout:
                raise TimedOutError(
                    f"{job.name} is not over after {timeout:.0f} s: {following.state.phase}",
                    next=f"it goes on; trmctl logs -f {job.name}, or trmctl why {job.name}",
                )
            wait(TICK)
    except KeyboardInterrupt:
        if farewell:
            say(farewell.format(name=job.name))
        return 130


class Following:
    """What a follower has seen and said."""

    def __init__(
        self,
        cluster: Cluster,
        job: Job,
        say: Callable[[str], None],
        write: Callable[[str], None],
        ranks: Sequence[int] | None,
        since: float | None,
    ) -> None:
        self.state = State(Phase.UNKNOWN)
        self._cluster, self._job, self._say, self._write = cluster, job, say, write
        self._ranks = ranks
        self._since = since
        self._readers: dict[str, Reader] = {}
        self._lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
        self._uids: dict[str, str] = {}
        self._said = ""
        self._asked: float | None = None
        self._denied_at: float | None = None

    def look(self, now: float) -> int | None:
        """Look once: say and write what is new. Return the exit code when the run is over."""
        try:
            job = jobs.again(self._cluster, self._job)
            pods = jobs.pods(self._cluster, job or self._job)
        except ClusterUnreachableError as error:
            self._tell(f"the cluster does not answer; still trying: {error.message}")
            return None
        except ClusterForbiddenError as error:  # a token that is being renewed looks like one that is not valid
            self._denied_at = self._denied_at if self._denied_at is not None else now
            if now - self._denied_at > DENIED_SECONDS:
                raise
            self._tell(f"the cluster refuses us; still trying: {error.message}")
            return None
        self._denied_at = None
        if job is None:
            self._drain()
            self._say(f"{self._job.name} was deleted")
            return 4
        self._job = job
        before, self.state = self.state, job.state(pods)
        if before.phase != self.state.phase:
            self._say(
                f"{job.name}: {self.state.phase.lower()}" + (f" ({self.state.message})" if self.state.message else "")
            )
            self._asked = None
        self._attach(pods, now)
        if self.state.finished:
            self._finish(pods, now)
            return self.state.exit_code
        self._why(now)
        self._drain()
        return None

    def _why(self, now: float) -> None:
        """Say what a run waits for, once per change."""
        waits = self.state.phase in (Phase.QUEUED, Phase.PENDING, Phase.STARTING, Phase.RESTARTING)
        if not waits or (self._asked is not None and now - self._asked < ASK_WHY):
            return
        self._asked = now
        try:
            found = why.explain(gather(self._cluster, self._job, deep=False))
        except ClusterError:
            return
        if found:
            self._tell(f"waiting: {found[0].line}")

    def _tell(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)

    def _wanted(self, pods: Sequence[Object]) -> list[Object]:
        return [pod for pod in pods if self._ranks is None or p.rank(pod) in self._ranks]

    def _attach(self, pods: Sequence[Object], now: float) -> None:
        """Read the logs of pods that have one, and go on where a connection was lost."""
        for pod in self._wanted(pods):
            uid, mark = p.uid(pod), p.mark(pod)
            if self._uids.get(mark, uid) != uid:
                self._say(f"{mark} is started again, in a new pod")
            self._uids[mark] = uid
            known = self._readers.get(uid)
            if p.has_started(pod) and (known is None or known.lost(p.is_running(pod))):
                self._readers[uid] = Reader(self._cluster, pod, self._job.namespace, self._lines, known, self._since)
                self._readers[uid].start()

    def _finish(self, pods: Sequence[Object], now: float) -> None:
        """Write what is left of the logs, and say how it ended."""
        for again in (False, True):  # a connection lost just now is taken up once more
            if again:
                self._attach(pods, now)
            for reader in self._readers.values():
                reader.join(LAST_LINES)
        self._drain()
        reason = f" ({self.state.reason}: {self.state.message})" if self.state.phase == Phase.FAILED else ""
        if reason:
            self._say(f"{self._job.name}: failed{reason}; trmctl why {self._job.name} says more")

    def _drain(self) -> None:
        several = self._ranks is None or len(self._ranks) > 1 or len(self._uids) > 1
        while not self._lines.empty():
            mark, rank, text = self._lines.get()
            self._write((coloured(mark, rank) if several else "") + plain(text))


def coloured(mark: str, rank: int) -> str:
    """Return what is put before a line; the terminal, or its absence, decides on the colour."""
    return click.style(f"[{mark}] ", fg=COLOURS[rank % len(COLOURS)])


class Reader(threading.Thread):
    """Reads the log of one pod until it ends. A reader that goes on after `before` leaves out what that one read."""

    def __init__(
        self,
        cluster: Cluster,
        pod: Object,
        namespace: str,
        lines: "queue.SimpleQueue[Line]",
        before: "Reader | None",
        since: float | None,
    ) -> None:
        super().__init__(daemon=True)
        self._cluster, self._pod, self._namespace, self._lines = cluster, pod, namespace, lines
        self._running = p.is_running(pod)
        self._since = since
        self._after: str = before.last if before else ""
        self.last: str = self._after
        """When the last line was written, as text that sorts."""
        self._refused = False
        self._heard: float = time.monotonic() if before is None else before._heard

    def run(self) -> None:
        """Read."""
        since = self._since if not self._after else time.monotonic() - self._heard + 10
        where = p.name(self._pod), p.container(self._pod), self._namespace
        try:
            for line in self._cluster.log(*where, follow=True, stamps=True, since=since):
                stamp, _, text = line.partition(" ")
                stamp = sortable(stamp)
                if stamp > self._after:
                    self.last, self._heard = stamp, time.monotonic()
                    self._lines.put((p.mark(self._pod), p.rank(self._pod), text))
        except (ClusterNotReadyError, ClusterMissingError, ClusterUnreachableError):
            return
        except ClusterForbiddenError as error:
            self._refused = True
            self._lines.put((p.mark(self._pod), p.rank(self._pod), f"[the log cannot be read: {error.message}]"))

    def lost(self, running: bool) -> bool:
        """Say whether it ended before the container did; then another one has to go on."""
        return not self.is_alive() and not self._refused and (running or self._running)


def sortable(stamp: str) -> str:
    """Return a time of RFC 3339 with nine digits of fraction, so that times sort as text."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    return f"{whole}.{fraction.ljust(9, '0')}"
