"""Keep at it until a store answers or time is up. An SDK gives up on a refused port within a fifth of a second."""

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from trmkit.errors import StoreUnavailableError

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 4.0
"""Seconds; no pause is longer, so that what waits lands soon after a store is back."""


def persist(
    action: Callable[[], T],
    seconds: float,
    *,
    give_up: threading.Event | None = None,
    waiting: Callable[[StoreUnavailableError], None] | None = None,
) -> T:
    """Return what `action` returns, trying again for `seconds` while the store is unavailable.

    `waiting` is told of the first failure. Pauses grow and are spread at random, so that many pods do not come back at
    once. Raises the last StoreUnavailableError when time is up or `give_up` is set; any other error at once.
    """
    until = time.monotonic() + seconds
    pause = FIRST_PAUSE
    asleep = give_up or threading.Event()
    while True:
        try:
            return action()
        except StoreUnavailableError as error:
            left = until - time.monotonic()
            if left <= 0 or asleep.is_set():
                raise
            if waiting is not None:
                waiting(error)
                waiting = None
            asleep.wait(min(left, random.uniform(pause / 2, pause)))
            pause = min(pause * 2, LONGEST_PAUSE)
