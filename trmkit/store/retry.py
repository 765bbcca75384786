"""Keep at it until a store answers or time is up. An SDK gives up on a refused port within a fifth of a second."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from trmkit.errors import StoreUnavailableError

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 4.0
"""Seconds; no pause is longer, so that what waits lands soon after a store is back."""
GLANCE = 0.1
"""Seconds between two looks, in a pause, at whether to give up."""


def persist(
    action: Callable[[], T],
    seconds: float,
    *,
    give_up: Callable[[], bool] = lambda: False,
    waiting: Callable[[StoreUnavailableError], None] | None = None,
) -> T:
    """Return what `action` returns, trying again for `seconds` while the store is unavailable.

    `waiting` is told of the first failure. Pauses grow and are spread at random, so that many pods do not come back at
    once. Raises the last StoreUnavailableError when time is up or `give_up()`; any other error at once.
    """
    until = time.monotonic() + seconds
    pause = FIRST_PAUSE
    while True:
        try:
            return action()
        except StoreUnavailableError as error:
            left = until - time.monotonic()
            if left <= 0 or give_up():
                raise
            if waiting is not None:
                waiting(error)
                waiting = None
            awake = time.monotonic() + min(left, random.uniform(pause / 2, pause))
            while time.monotonic() < awake and not give_up():
                time.sleep(GLANCE)
            pause = min(pause * 2, LONGEST_PAUSE)
