"""The launcher's half of a worker group: torchrun's agent, which also asks for leave to start, and watches.

A machine that leaves or comes ends the attempt on every machine, and the cluster starts all of them again. torchrun
itself would start the workers of those that are left, and then wait for a minute in a rendezvous of the past.
"""

import json
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing.api import PContext, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import RendezvousError, RendezvousTimeoutError
from torch.distributed.launcher import api
from torch.distributed.run import run

from trainer.agency import AGENCY, ATTEMPT, Words, read_life
from trainer.budget import Budget
from trainer.ends import ABORTED, PEER_LOST, STALLED, gone, oom_kills, uncounted, worst
from trainer.launch import Terms
from trainer.peers import RETRY
from trainer.progress import say
from trmkit.store.attempts import LARGEST_FINAL, NOT_MET, PREEMPTED

ELASTIC = "torch.distributed.elastic"
launcher: Any = api
"""The module in which torchrun looks for its agent."""
NOISY = (
    "agent.server.api", "multiprocessing.api", "rendezvous.dynamic_rendezvous", "rendezvous.c10d_rendezvous_backend",
    "rendezvous.static_tcp_rendezvous", "utils.store",
)  # fmt: skip
"""Loggers that tell again what a worker has said, and warn of what is expected here."""
STALL = "TRM_STALL_SECONDS"
"""Tells workers how long a collective may take."""
STACKS_SECONDS = 0.5
"""How long each worker gets to print its stacks."""
NEWS_SECONDS = 3.0
"""How long the first machine waits for another one to say why it left."""
NEWS_EVERY = 1.0
"""Seconds between two looks at whether another machine has left."""
ANSWER = timedelta(minutes=1)
"""How long the machine with the store may be silent before it counts as gone."""
ENDED = "trm/ended"
HEARD = "trm/heard"
"""How many machines have heard why the first one left."""


class EndedError(Exception):
    """The launcher itself ended the attempt."""

    def __init__(self, words: Words) -> None:
        super().__init__(words.message)
        self.words = words


class Agent(LocalElasticAgent):
    """torchrun's agent on the terms of a run in a cluster."""

    def __init__(self, *args: Any, terms: Terms, agency: Path, **options: Any) -> None:
        super().__init__(*args, **options)
        self.formed = False
        self.budget = Budget(terms)
        self._terms, self._agency = terms, agency
        minutes = terms.cluster.stall_minutes
        self._stall = None if minutes is None else 60 * minutes
        self._until: float | None = None
        self._asked = 0.0
        self._started = 0.0
        self._heard: Words | None = None

    @property
    def first(self) -> bool:
        """Whether this is the first machine, which keeps the books."""
        return self._worker_group.group_rank == 0

    @property
    def machines(self) -> int:
        """How many machines have met."""
        return (self._worker_group.group_world_size or 1) if self.formed else 1

    @property
    def _shared(self) -> Any:
        """The store through which the machines speak."""
        return self._worker_group.store

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        """Ask for leave, wait as long as it says, then start the workers."""
        self.formed = True
        verdict = self.budget.ask(worker_group.store, first=self.first)
        if verdict.reason:
            words = Words(1, verdict.reason, f"{verdict.message}\n  next: {verdict.next}")
            if self.first:
                self.budget.refuse(words)
            raise EndedError(words)
        if verdict.wait:
            say(f"waiting {verdict.wait:g} s: {verdict.without_progress} attempts before this one got no further")
            time.sleep(verdict.wait)
        if self.first:
            self.budget.begin()
            os.environ[ATTEMPT] = "" if self.budget.number is None else str(self.budget.number)
        self._shared.set_timeout(ANSWER)
        self._until = None if verdict.left is None else time.monotonic() + verdict.left
        self._started = time.monotonic()
        started: dict[int, Any] = super()._start_workers(worker_group)
        return started

    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        """Torchrun would start the workers again when a machine joins: it takes the place of one that is gone."""
        raise EndedError(Words(RETRY, PEER_LOST, "a machine of this run was replaced"))

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        """Look at the workers, as torchrun does, and at the clock and their signs of life."""
        result: RunResult = super()._monitor_workers(worker_group)
        if result.state.name != "HEALTHY" or self._pcontext is None:
            return result
        now = time.monotonic()
        if self._until is not None and now > self._until:
            self._pcontext.close(signal.SIGTERM)
            seconds = self._terms.cluster.deadline_seconds
            raise EndedError(Words(1, "Deadline", f"the run has taken longer than {seconds} s; it was asked to save"))
        if now - self._asked > NEWS_EVERY:  # a worker that has not met the others yet would wait for them
            self._asked = now
            if self._shared.check([ENDED]):
                self.news()  # as long as somebody can be asked
                raise EndedError(Words(RETRY, PEER_LOST, "another machine of this run has left"))
        if self._stall is not None:
            self._end_if_stalled(self._pcontext, now, self._stall)
        return result

    def _end_if_stalled(self, workers: PContext, now: float, limit: float) -> None:
        found = {}
        for local_rank in workers.pids():
            life = read_life(self._agency, local_rank)
            pulse, progress = (self._started, 0.0) if life is None else (life.pulse, life.progress)
            if now - pulse > limit:
                found[local_rank] = "gives no sign of life"
            elif progress and now - progress > limit:
                found[local_rank] = f"made no progress after step {life.step if life else 0}"
        if not found:
            return
        text = "; ".join(f"local process {rank} {what}" for rank, what in found.items())
        say(f"stalled for {limit:g} s: {text}; the stacks of all processes here follow")
        for number, seconds in ((signal.SIGUSR1, STACKS_SECONDS), (signal.SIGKILL, 0.0)):
            for pid in workers.pids().values():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
                time.sleep(seconds)  # one after the other, or their lines mix
        raise EndedError(Words(RETRY, STALLED, f"for {limit:g} s {text}"))

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = 30) -> None:
        """End the workers; a second signal does not cut their time short."""
        if self._pcontext is not None:
            _ignore_signals()
        super()._shutdown(death_sig, timeout)

    def _exit_barrier(self) -> None:
        """Wait for the launchers of the other machines; all workers are done, so nothing can be saved any more."""
        _ignore_signals()
        super()._exit_barrier()  # type: ignore[no-untyped-call]

    def done(self) -> bool:
        """Say whether all workers have ended well."""
        handlers = getattr(self._pcontext, "subprocess_handlers", {})
        return bool(handlers) and all(handler.proc.returncode == 0 for handler in handlers.values())

    def tell(self, words: Words) -> None:
        """Tell the other machines that this one leaves, and why, unless one has said so already.

        If it is for good, stay a moment until all have heard: they leave for good, too, and the store may be here.
        """
        if not self.formed or self.news() is not None:
            return
        until = time.monotonic() + NEWS_SECONDS
        with suppress(dist.DistError):
            self._shared.set(ENDED, json.dumps(asdict(words)))
            while words.exit <= LARGEST_FINAL and time.monotonic() < until:
                if self._shared.add(HEARD, 0) >= self.machines - 1:
                    break
                time.sleep(0.1)

    def news(self) -> Words | None:
        """Return why the first machine left that did; None: none has, or nobody can be asked."""
        with suppress(dist.DistError):
            if self._heard is None and self._shared.check([ENDED]):
                self._heard = Words(**json.loads(self._shared.get(ENDED)))
                self._shared.add(HEARD, 1)
        return self._heard

    def learn(self, words: Words) -> Words:
        """Return `words` with what the machine said that is gone, if it had the time.

        What ended that one for good ends this one for good, so that a cluster sees the same code whoever leaves first.
        """
        lost = words.reason == PEER_LOST or words.exit == ABORTED
        until = time.monotonic() + (NEWS_SECONDS if lost else 0.0)
        while words.exit > LARGEST_FINAL and self.machines > 1:
            news = self.news()
            if news is not None and (lost or news.exit <= LARGEST_FINAL):
                code = news.exit if news.exit <= LARGEST_FINAL else RETRY
                return replace(words, exit=code, reason=news.reason, message=news.message)
            if time.monotonic() >= until:
                break
            time.sleep(0.1)
        return words


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def supervise(options: Any, terms: Terms) -> Words:
    """Run what torchrun's `options` say to its end, and return what came of it."""
    for name in NOISY:
        logging.getLogger(f"{ELASTIC}.{name}").setLevel(logging.CRITICAL)
    with patient_close(terms.patience):
        if terms.job is not None:
            return _in_cluster(options, terms)
        try:
            run(options)  # type: ignore[no-untyped-call]
        except SignalException as stopped:
            return Words(128 + int(stopped.sigval), PREEMPTED)
        except ChildFailedError as failed:
            return worst(failed, None, 0)
    return Words(0, "")


@contextmanager
def patient_close(seconds: int) -> Iterator[None]:
    """Have torchrun wait so long for workers that save, for the time of a `with` block; it kills them after 30 s."""
    close = PContext.close

    def patiently(self: PContext, death_sig: signal.Signals | None = None, timeout: int = 30) -> None:
        close(self, death_sig, seconds)

    PContext.close = patiently  # type: ignore[method-assign]
    try:
        yield
    finally:
        PContext.close = close  # type: ignore[method-assign]


def _in_cluster(options: Any, terms: Terms) -> Words:
    options.max_restarts = 0
    if not options.rdzv_conf:
        name = "timeout" if options.rdzv_backend == "static" else "join_timeout"
        options.rdzv_conf = f"{name}={terms.cluster.rendezvous_seconds}"
    if terms.cluster.stall_minutes is not None:
        os.environ[STALL] = str(60 * terms.cluster.stall_minutes)
    agency = Path(tempfile.mkdtemp(prefix="trm-agency-"))
    os.environ[AGENCY] = str(agency)
    try:
        return _until_formed(options, terms, agency)
    finally:
        shutil.rmtree(agency, ignore_errors=True)


def _until_formed(options: Any, terms: Terms, agency: Path) -> Words:
    """Try until all machines have met, for as long as the run file says; then the attempt runs, once."""
    until, since = time.monotonic() + terms.cluster.rendezvous_seconds, time.time()
    while True:
        agents: list[Agent] = []
        words = _attempt(options, terms, agency, agents)
        if words.reason != "RendezvousLost":
            break
        if time.monotonic() > until:
            words = replace(words, reason=NOT_MET)
            break
        time.sleep(1)
    words = replace(words, step=max([words.step, *_steps(agency)]))
    for agent in agents:
        words = agent.learn(words)
    if words.reason == NOT_MET and speaks_for_all(os.environ, socket.gethostname()):
        words = Budget(terms).missed(words, since)
    if not terms.lasting:
        words = uncounted(words, several=any(agent.machines > 1 for agent in agents))
    for agent in agents:
        if words.exit:
            agent.tell(words)
        if agent.first:
            agent.budget.end(words)
    return words


def speaks_for_all(environment: Mapping[str, str], host: str) -> bool:
    """Say whether this is the pod that notes that not all have met: the first by the cluster's own numbers."""
    for name in ("PET_NODE_RANK", "JOB_COMPLETION_INDEX"):
        if name in environment:
            return environment[name] == "0"
    return host.endswith("-0")


def _steps(agency: Path) -> list[int]:
    lives = (read_life(agency, int(path.stem)) for path in agency.glob("*.life"))
    return [life.step for life in lives if life is not None]


def _attempt(options: Any, terms: Terms, agency: Path, agents: list[Agent]) -> Words:
    """Run one attempt; the agent that ran it goes to `agents`, once there is one."""
    theirs, kills = launcher.LocalElasticAgent, oom_kills()

    def agent(*args: Any, **given: Any) -> Agent:
        agents.append(Agent(*args, terms=terms, agency=agency, **given))
        return agents[-1]

    launcher.LocalElasticAgent = agent
    try:
        run(options)  # type: ignore[no-untyped-call]
    except EndedError as ended:
        return gone(agency, ended.words.message) if ended.words.reason == PEER_LOST else ended.words
    except SignalException as stopped:
        if agents and agents[-1].done():  # the others are, too: started again, this machine would wait for them
            return Words(0, "")
        return Words(128 + int(stopped.sigval), PREEMPTED, "asked to leave")
    except ChildFailedError as failed:
        return worst(failed, agency, oom_kills() - kills)
    except RendezvousTimeoutError:
        seconds = terms.cluster.rendezvous_seconds
        return Words(RETRY, NOT_MET, f"not all machines of this run came within {seconds} s")
    except (RendezvousError, dist.DistError) as error:
        if agents and agents[-1].formed:
            return gone(agency, f"the machine that all met at is gone: {_line(error)}")
        return Words(RETRY, "RendezvousLost", f"the machine that all meet at does not answer: {_line(error)}")
    except OSError as error:
        return Words(1, "Failed", f"the workers cannot be started: {error}")
    finally:
        launcher.LocalElasticAgent = theirs
    return Words(0, "")


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300] + f" ({socket.gethostname()})"
