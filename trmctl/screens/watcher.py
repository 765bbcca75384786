"""What `trmctl watch` shows: numbers of the pods as they come, drawn over the updates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trmctl import jobs, progress
from trmctl.cluster import Cluster
from trmctl.jobs import Job
from trmctl.phase import Phase, State
from trmctl.screens.curves import Point, bars, curve

if TYPE_CHECKING:
    from rich.console import Group

USUAL = {
    "loss": 'trm_train_loss{part="total"}',
    "exact accuracy": 'trm_train_accuracy_ratio{level="exact"}',
    "test exact accuracy": 'trm_eval_accuracy_ratio{level="exact"}',
    "steps until halt": "trm_train_halt_depth",
    "gradient norm": "trm_train_gradient_norm",
}
"""Names of curves, and what they draw."""
KEPT = 2000
"""Points of a curve; of more, every second one is dropped."""
LABELS = 10
"""Characters left of a curve."""


@dataclass(frozen=True)
class Seen:
    """One look."""

    job: Job
    state: State
    over: bool
    """Whether the run is over, or gone."""
    step: int
    curves: dict[str, list[Point]]
    step_seconds: dict[int, float]
    """Rank -> seconds of an update."""

    @property
    def line(self) -> str:
        """It in one line."""
        parts = [self.job.name, self.state.phase.lower()]
        parts += [f"update {self.step}"] if self.step else []
        parts += [f"{name} {points[-1][1]:.4g}" for name, points in self.curves.items() if points]
        if self.step_seconds:
            slowest = max(self.step_seconds, key=lambda rank: self.step_seconds[rank])
            parts.append(f"{self.step_seconds[slowest]:.3g} s an update (rank {slowest} is the slowest)")
        return "  ".join(parts) + (f"  ({self.state.message})" if self.state.message else "")


class Watcher:
    """Remembers what was seen."""

    def __init__(self, cluster: Cluster, job: Job, wanted: Sequence[str]) -> None:
        """Begin; `wanted` are metrics, labels as Prometheus writes them, `trm_` may be missing; none: usual ones."""
        self.job = job
        self._cluster = cluster
        self._drawn = {name: f"trm_{name.removeprefix('trm_')}" for name in wanted} or USUAL
        self._curves: dict[str, list[Point]] = {name: [] for name in self._drawn}

    def look(self) -> Seen:
        """Ask job and pods once."""
        job = jobs.again(self._cluster, self.job)
        if job is None:
            return Seen(self.job, State(Phase.DELETING, message="it was deleted"), True, 0, {}, {})
        self.job = job
        pods = jobs.pods(self._cluster, job)
        state = job.state(pods)
        numbers = progress.metrics(self._cluster, job, pods)
        joined = {name: value for rank in sorted(numbers, reverse=True) for name, value in numbers[rank].items()}
        step = joined.get("trm_train_step", 0.0)
        for name, points in self._curves.items():
            self._add(points, step, joined.get(self._drawn[name]))
        seconds = {
            rank: one["trm_train_step_seconds"] for rank, one in numbers.items() if "trm_train_step_seconds" in one
        }
        return Seen(job, state, state.finished, int(step), self._curves, seconds)

    def _add(self, points: list[Point], step: float, value: float | None) -> None:
        if value is None or value != value or (points and points[-1][0] == step):
            return
        while points and points[-1][0] >= step:  # it went back to a checkpoint
            points.pop()
        points.append((step, value))
        if len(points) > KEPT:
            del points[:-1:2]


def screen(seen: Seen, width: int, height: int) -> "Group":
    """Return the screen."""
    from rich.console import Group
    from rich.text import Text

    from trmctl.output import plain

    drawn = {name: points for name, points in seen.curves.items() if points}
    ranks = bars(seen.step_seconds, max(10, width - 30))
    room = max(3, (height - 6 - min(len(ranks), height // 3)) // max(1, len(drawn)) - 2)
    parts = [Text(plain(seen.line), style="bold")]
    for name, points in drawn.items():
        parts.append(Text(f"\n{name}  {points[-1][1]:.4g}", style="cyan"))
        parts += [Text(line) for line in curve(points, max(10, width - LABELS - 2), min(room, 8))]
    if ranks:
        parts.append(Text("\nseconds an update, by rank", style="cyan"))
        shown = ranks if len(ranks) <= height // 3 else sorted(ranks, key=lambda one: -float(one[1]))[: height // 3]
        parts += [Text(f"{rank:>4} {value:>8} {bar}") for rank, value, bar in shown]
    if not drawn:
        parts.append(Text(f"\nno numbers yet; trmctl why {seen.job.name} says what it waits for"))
    return Group(*parts)
