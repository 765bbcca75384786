"""Every metric of the controller, declared once: what it counts, and what dashboards, rules and their tests ask for.

`namespace` is a label of its own where one controller speaks of several; elsewhere it comes by relabelling.
"""

from dataclasses import dataclass
from typing import Literal

PORT = 9401
"""Of `/metrics`, `/healthz` and `/readyz`."""
LABELS = {
    "namespace": "namespace of the TrmRuns",
    "phase": "`status.phase` of a TrmRun",
    "result": "`ok`; `refused`: the cluster does not take its job, and the status says why; `conflict`: somebody else"
    " wrote at the same time, looked at again; `error`: tried again later",
    "action": "what was done, as `Make`, `Pause`, `Delete` or `SetStatus`",
    "kind": "kind of error, by its name in the log",
}
"""The only labels there are, and their meaning."""


@dataclass(frozen=True)
class ControllerMetric:
    """One metric."""

    name: str
    type: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def series(self) -> dict[str, str]:
        """Return the names that Prometheus knows it by, with the type of each."""
        if self.type == "histogram":
            return {f"{self.name}_{part}": "counter" for part in ("bucket", "sum", "count")}
        return {self.name: self.type}


# fmt: off
TABLE: tuple[ControllerMetric, ...] = (
    ControllerMetric("trm_controller_runs", "gauge", "TrmRuns in a phase.", ("namespace", "phase")),
    ControllerMetric("trm_controller_reconciles_total", "counter",
                     "Times that a TrmRun was looked at and what it needed was done.", ("result",)),
    ControllerMetric("trm_controller_reconcile_seconds", "histogram", "Time of looking at a TrmRun once."),
    ControllerMetric("trm_controller_writes_total", "counter",
                     "What was done in the cluster, dry runs left out.", ("action",)),
    ControllerMetric("trm_controller_last_resync_timestamp_seconds", "gauge",
                     "When everything was last looked at with success, or else when it began, in seconds since 1970."),
    ControllerMetric("trm_controller_leader", "gauge", "1 for the one that works, 0 for one that waits to take over."),
    ControllerMetric("trm_controller_queue_length", "gauge", "TrmRuns that wait to be looked at."),
    ControllerMetric("trm_controller_api_errors_total", "counter",
                     "Requests that the API server did not answer, or answered with an error.", ("kind",)),
)
# fmt: on
"""All metrics, in the order of the reference page."""
