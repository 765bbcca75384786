"""How long to wait for an API server, and how to ask again: with growing pauses, some chance in them, and an end."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from trmctl.client.answers import Answer


@dataclass(frozen=True)
class Patience:
    """Times in seconds. Tests make them small."""

    connect: float = 5.0
    """For a connection."""
    read: float = 20.0
    """For an answer; a webhook may take ten."""
    total: float = 60.0
    """For a question with all its repetitions."""
    contact: float = 6.0
    """The same while the cluster has not answered at all yet: a wrong address should be said soon."""
    webhook: float = 120.0
    """The same while an operator's webhook does not answer: they need a minute or two to start."""
    quiet: float = 45.0
    """For the next byte of a watch, before it is asked for again from where it was."""
    first: float = 0.25
    """First pause; each further one is twice as long."""
    longest: float = 8.0


class Tries:
    """The tries of one question."""

    def __init__(self, patience: Patience, known: bool, say: Callable[[str], None]) -> None:
        """Begin; `known` says that this cluster has answered before."""
        self._patience = patience
        self._known = known
        self._say = say
        self._began = time.monotonic()
        self._count = 0
        self._said = ""

    @property
    def timeout(self) -> float:
        """How long this try may wait for an answer."""
        return max(0.5, min(self._patience.read, self._left(self._patience.total)))

    def again(self, why: str, answer: Answer | None) -> bool:
        """Pause before the next try; False: there has been enough waiting. `answer` None: there was no connection."""
        down = answer.webhook_down if answer else ""
        limit = self._patience.webhook if down else self._patience.total
        if answer is None and not self._known:
            limit = self._patience.contact
        pause = min(self._patience.longest, self._patience.first * 2**self._count) * random.uniform(0.5, 1.0)
        if answer is not None and answer.retry_after is not None:
            pause = min(answer.retry_after, limit) + random.uniform(0.0, self._patience.first)
        if pause >= self._left(limit):
            return False
        if self._count >= 2 and (down or why) != self._said:
            self._said = down or why
            self._say(f"waiting for the cluster: {self._said}")
        self._count += 1
        time.sleep(pause)
        return True

    def _left(self, limit: float) -> float:
        return self._began + limit - time.monotonic()
