"""What a check found."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed", "unknown", "not needed"]


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    state: State
    message: str
    next: str = ""


def ok(message: str) -> Finding:
    """Return the finding that something is as it should be."""
    return Finding("", "ok", message)
