"""What a pod says of itself on its metrics port. Nothing of it is believed that cannot be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from socket import SHUT_RDWR
from threading import Timer

from trmctl.cluster import Object
from trmctl.progress import parse
from trmkit.render.names import METRICS_PORT

Numbers = Mapping[str, float]
Ask = Callable[[Object], Numbers]
"""Asks a pod for its metrics; nothing where it does not answer."""
LARGEST = 1 << 20
"""Most bytes that are read of a pod's answer."""
PATIENCE = 2.0
"""Seconds that a pod may take in all."""
AHEAD = 60.0
"""Seconds by which clocks of machines may differ."""
MOST = 1 << 53
TRAINING = 'trm_run_state{state="training"}'


@dataclass(frozen=True)
class Said:
    """What could be understood of a pod's metrics."""

    step: int = 0
    total: int = 0
    last_step_at: float | None = None
    """Seconds since 1970; None: it does not say, or a time that cannot be."""
    training: bool = False
    """Whether it says that it trains, and does not evaluate, save or publish."""


def ask(pod: Object) -> Numbers:
    """Return what a pod says on its metrics port, asked at its own address; no proxy, and no other place it names.

    Whatever runs there may answer byte by byte for ever, so the connection is closed when its time is up.
    """
    address = str((pod.get("status") or {}).get("podIP") or "")
    if not address:
        return {}
    connection = HTTPConnection(address, METRICS_PORT, timeout=PATIENCE)
    try:
        connection.connect()
        over = Timer(PATIENCE, connection.sock.shutdown, (SHUT_RDWR,))
        over.daemon = True
        over.start()
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            return parse(answer.read(LARGEST).decode(errors="replace")) if answer.status == 200 else {}
        finally:
            over.cancel()
    except (OSError, ValueError, HTTPException):
        return {}
    finally:
        connection.close()


def understood(numbers: Numbers, now: float) -> Said:
    """Return what a pod's metrics say, at `now` in seconds since 1970."""
    last = numbers.get("trm_last_step_timestamp_seconds", 0.0)
    return Said(
        _count(numbers.get("trm_train_step")), _count(numbers.get("trm_train_total_steps")),
        last if 0 < last <= now + AHEAD else None, numbers.get(TRAINING) == 1.0,
    )  # fmt: skip


def _count(value: float | None) -> int:
    return int(value) if value is not None and 0 <= value < MOST else 0
