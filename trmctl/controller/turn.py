"""One decision in the making: the status that is to be, and what is to be done."""

import copy
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from trmctl.controller.actions import Action, Say, SetStatus
from trmctl.controller.seen import Observed, Status
from trmctl.pods import seconds

MOST_TEXT = 1000
ENDED = ("Succeeded", "Failed")
NOT_MADE = "NotMade"
"""Reason of a run whose job is refused by the cluster."""


class Turn:
    """What a look at one TrmRun comes to. `now` is in seconds since 1970."""

    def __init__(self, seen: Observed, now: float) -> None:
        self.seen = seen
        self.now = now
        self.old: Mapping[str, Any] = seen.run.status
        self.status: Status = copy.deepcopy(dict(seen.run.status))
        self._first: list[Action] = []
        self._then: list[Action] = []
        self._said: list[Action] = []

    def first(self, action: Action) -> None:
        """Have this done before the status is written, which will say that it was done."""
        self._first.append(action)

    def do(self, action: Action) -> None:
        """Have this done after the status is written."""
        self._then.append(action)

    def say(self, warning: bool, reason: str, message: str, mark: str = "") -> None:
        """Tell of something with an event; the same `reason` and `mark` are told once."""
        self._said.append(Say(warning, reason, message[:MOST_TEXT], mark))

    def set(self, **fields: Any) -> None:
        """Set fields of the status; None takes one away."""
        for name, value in fields.items():
            if value is None:
                self.status.pop(name, None)
            else:
                self.status[name] = value

    def phase(self, phase: str, reason: str, message: str) -> None:
        """Say how the run is; a change is an event, too."""
        before = (self.old.get("phase"), self.old.get("reason"))
        self.set(phase=phase, reason=reason, message=message[:MOST_TEXT] or None)
        if before != (phase, reason):
            self.say(phase in ("Failed", "Refused"), reason or phase, message or f"it is {phase.lower()}", phase)

    def end(self, phase: str, reason: str, message: str) -> None:
        """Say that the run is over, and how."""
        self.phase(phase, reason, message)
        self.set(completionTime=stamp(self.now), nextAttemptTime=None, eta=None)
        self.condition("Succeeded", phase == "Succeeded", reason, message)
        self.condition("Failed", phase == "Failed", reason, message)

    def condition(self, kind: str, holds: bool | None, reason: str, message: str = "") -> None:
        """Set a condition; None: not known. Since when it holds is kept while it stays what it is."""
        status = "Unknown" if holds is None else str(holds)
        known: list[Status] = self.status.setdefault("conditions", [])
        before = next((one for one in known if one.get("type") == kind), None)
        since = before["lastTransitionTime"] if before and before.get("status") == status else stamp(self.now)
        new = {
            "type": kind, "status": status, "reason": reason or kind, "message": message[:MOST_TEXT],
            "observedGeneration": self.seen.run.generation, "lastTransitionTime": since,
        }  # fmt: skip
        if before is None:
            known.append(new)
        else:
            known[known.index(before)] = new

    def since(self, kind: str, reason: str) -> float | None:
        """Return since when, in seconds since 1970, a condition of the status that was read is false for a reason."""
        found = [one for one in self.old.get("conditions") or () if one.get("type") == kind]
        same = bool(found) and (found[0].get("status"), found[0].get("reason")) == ("False", reason)
        return seconds(found[0].get("lastTransitionTime")) if same else None

    def at(self, field: str) -> float | None:
        """Return a time of the status in seconds since 1970; None: it has none."""
        return seconds(self.status[field]) if field in self.status else None

    def actions(self) -> list[Action]:
        """Return what is to be done: the status before all that changes a job, so that old news changes nothing."""
        changed: Sequence[Action] = [SetStatus(self.status)] if self.status != self.old else []
        return [*self._first, *changed, *self._said, *self._then]


def stamp(at: float) -> str:
    """Return a time as Kubernetes writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
