"""Whether a run in a cluster may start once more: asked by the first machine, told to all, noted beside the run."""

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any, TypeVar

from trainer.agency import Words
from trainer.checkpoint import steps
from trainer.launch import Terms
from trainer.progress import say
from trmkit.errors import StoreError, StoreUnavailableError
from trmkit.spec.run import RunFile
from trmkit.store import attempts, scores
from trmkit.store.attempts import Verdict
from trmkit.store.base import Store
from trmkit.store.folder import FolderStore
from trmkit.store.layout import CHECKPOINTS, RunDirectory, store_key
from trmkit.store.open import open_store
from trmkit.store.publish import checkpoints

T = TypeVar("T")

AT_START, AT_END = 60.0, 5.0
"""Seconds that a store gets; one that does not answer must not keep a run from starting, or a pod from leaving."""
VERDICT = "trm/verdict"


class Budget:
    """The attempts of one run, on one of its machines."""

    def __init__(self, terms: Terms) -> None:
        """Find out where they are noted; nothing is asked yet."""
        self._terms = terms
        self.number: int | None = None
        """Of the attempt that has begun; None: it could not be noted."""
        self._place: tuple[Store, str] | None = None

    def ask(self, shared: Any, *, first: bool) -> Verdict:
        """Return the verdict of the first machine, on all machines alike; they speak through the store `shared`."""
        if first:
            verdict = self._decide()
            shared.set(VERDICT, json.dumps(asdict(verdict)))
            return verdict
        shared.wait([VERDICT], timedelta(seconds=2 * AT_START))
        return Verdict(**json.loads(shared.get(VERDICT)))

    def begin(self) -> None:
        """Note that an attempt begins; the first machine does."""
        self._note(lambda store, key: self._begin(store, key), AT_START)

    def end(self, words: Words) -> None:
        """Note how it ended; the first machine does."""
        number = self.number
        if number is None:
            return

        def change(store: Store, key: str) -> None:
            known = attempts.read(store, key)
            attempts.write(store, key, attempts.ended(known, number, time.time(), words.exit, words.reason))

        self._note(change, AT_END)

    def refuse(self, words: Words) -> None:
        """Note an attempt that ended before it began."""
        self.begin()
        self.end(words)

    def missed(self, words: Words, since: float) -> Words:
        """Note that not all machines have come `since`, a time since 1970; return how this ends. One pod does."""
        cluster = self._terms.cluster

        def change(store: Store, key: str) -> Verdict:
            known = attempts.begun(attempts.read(store, key), self._newest(store), since, socket.gethostname())
            number = known[-1].number
            known = attempts.ended(known, number, time.time(), words.exit, words.reason)
            verdict = attempts.not_met(known, cluster.restarts, cluster.rendezvous_seconds)
            if verdict.reason:
                known = attempts.ended(known, number, time.time(), 1, verdict.reason)
            attempts.write(store, key, known)
            return verdict

        verdict = self._note(change, AT_START)
        if verdict is None or not verdict.reason:
            return words
        return Words(1, verdict.reason, f"{verdict.message}\n  next: {verdict.next}")

    def _decide(self) -> Verdict:
        cluster, now = self._terms.cluster, time.time()
        found = self._note(lambda store, key: (attempts.read(store, key), self._newest(store)), AT_START)
        known, step = found if found is not None else ((), 0)
        return attempts.decide(known, step, cluster.restarts, cluster.deadline_seconds, now)

    def _begin(self, store: Store, key: str) -> None:
        known = attempts.begun(attempts.read(store, key), self._newest(store), time.time(), socket.gethostname())
        self.number = known[-1].number
        attempts.write(store, key, known)

    def _newest(self, store: Store) -> int:
        """Return the step of the newest checkpoint, here or in the run's store; 0: there is none."""
        run, directory = self._terms.run, self._terms.directory
        assert run is not None
        assert directory is not None
        key, remote = store_key(run, directory), run.storage.remote is not None
        if self._terms.beside:  # it gets on by scores
            known = scores.here_of(directory.scores) | (scores.steps(store, key) if remote else set())
            return max(known, default=0)
        published = [one.step for one in checkpoints(store, f"{key}/{CHECKPOINTS}")] if remote else []
        return max([0, *steps(directory.checkpoints), *published])

    def _note(self, action: Callable[[Store, str], T], seconds: float) -> T | None:
        """Do something with the file within `seconds`, or say why not and go on without."""
        if self._terms.run is None or self._terms.directory is None:
            return None
        result: list[T] = []
        failed: list[StoreError] = []

        def work() -> None:
            try:
                result.append(action(*self._open()))
            except StoreError as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="attempts", daemon=True)
        thread.start()
        thread.join(seconds)
        if not result:
            reason = failed[0] if failed else StoreUnavailableError(f"no answer within {seconds:g} seconds")
            say(f"attempts are not counted now: {reason.message}")
        return result[0] if result else None

    def _open(self) -> tuple[Store, str]:
        if self._place is None:
            run, directory = self._terms.run, self._terms.directory
            assert run is not None
            assert directory is not None
            self._place = ledger(run, directory, self._terms.beside)
        return self._place


def ledger(run: RunFile, directory: RunDirectory, beside: str = "") -> tuple[Store, str]:
    """Return the store and the key below which a run's attempts are noted; those of a job `beside` it have their own.

    StoreError: the store may not be used.
    """
    tail = f"/{beside}" if beside else ""
    if run.storage.remote is not None:
        return open_store(run.storage), store_key(run, directory) + tail
    root = directory.root.absolute()
    return FolderStore(root.parent), root.name + tail
