"""What `trmctl watch` shows: numbers of a run here, or of its pods, as they come, drawn over the updates."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trmctl import jobs, progress
from trmctl.cluster import Cluster
from trmctl.jobs import Job
from trmctl.phase import Phase
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
RIGHT = 'trm_eval_accuracy_by_depth_ratio{level="exact"}'
PHASE = re.compile(r'trm_time_seconds_total\{phase="(\w+)"\}')
DEPTH = re.compile(r'trm_eval_accuracy_by_depth_ratio\{depth="(\d+)",level="exact"\}')
"""Metrics of which all that are there are shown, as a pod writes them."""
CURVE_LINES = 5
"""Lines that a curve takes at least, with its heading."""
SHOWN_DEPTHS = 8
KEPT = 2000
"""Points of a curve; of more, every second one is dropped."""
LABELS = 10
"""Characters left of a curve."""


@dataclass(frozen=True)
class Seen:
    """One look."""

    name: str
    phase: str
    message: str
    over: bool
    """Whether the run is over, or gone."""
    exit_code: int
    """What the command ends with, once it is over."""
    step: int
    curves: dict[str, list[Point]]
    step_seconds: dict[int, float]
    """Rank -> seconds of an update."""
    next: str
    """What to do where there is nothing to see."""
    phases: Mapping[str, float] = field(default_factory=dict)
    """What the time goes into, in seconds of any number of updates."""
    depths: Sequence[tuple[str, float]] = ()
    """Supervision steps, and test rows that are right after so many, as a part of 1."""

    @property
    def line(self) -> str:
        """It in one line."""
        parts = [self.name, self.phase]
        parts += [f"update {self.step}"] if self.step else []
        parts += [f"{name} {points[-1][1]:.4g}" for name, points in self.curves.items() if points]
        if self.step_seconds:
            slowest = max(self.step_seconds, key=lambda rank: self.step_seconds[rank])
            who = f" (rank {slowest} is the slowest)" if len(self.step_seconds) > 1 else ""
            parts.append(f"{self.step_seconds[slowest]:.3g} s an update{who}")
        return "  ".join(parts) + (f"  ({self.message})" if self.message else "")


def drawn(wanted: Sequence[str]) -> dict[str, str]:
    """Return names of curves, and the metrics they draw; `wanted` may lack `trm_`; without any the usual ones."""
    return {name: f"trm_{name.removeprefix('trm_')}" for name in wanted} or USUAL


class LocalWatcher:
    """Watches a run on this machine, through the file it writes."""

    def __init__(self, runs: Path, key: str, wanted: Sequence[str]) -> None:
        """Begin with the run `key` in the folder of runs; see `drawn` for `wanted`. SpecError: nobody logs one."""
        from trmctl.dashboard.local import Local
        from trmctl.dashboard.series import curve_of

        self._key, self._drawn = key, drawn(wanted)
        pace = curve_of("trm_train_step_seconds")
        self._place = Local(runs, [pace, *map(curve_of, self._drawn.values())])

    def look(self) -> Seen:
        """Read what is new."""
        shown = self._place.show(self._key)
        if shown is None:
            return Seen(self._key, "gone", "it was deleted", True, 4, 0, {}, {}, "")
        curves = {
            name: [(step, value) for step, _, value in shown.curves.get(metric, ())]
            for name, metric in self._drawn.items()
        }
        pace = shown.curves.get("trm_train_step_seconds", ())
        over = shown.state in ("trained", "scored", "failed")
        return Seen(
            self._key, shown.state, "", over, int(shown.state == "failed"), shown.step, curves,
            {0: pace[-1][2]} if pace else {}, "nothing has been logged yet", shown.phases, shown.lists.get(RIGHT, ()),
        )  # fmt: skip


class Watcher:
    """Remembers what was seen."""

    def __init__(self, cluster: Cluster, job: Job, wanted: Sequence[str]) -> None:
        """Begin; see `drawn` for `wanted`, whose labels are as Prometheus writes them."""
        self.job = job
        self._cluster = cluster
        self._drawn = drawn(wanted)
        self._curves: dict[str, list[Point]] = {name: [] for name in self._drawn}

    def look(self) -> Seen:
        """Ask job and pods once."""
        job = jobs.again(self._cluster, self.job)
        if job is None:
            return Seen(self.job.name, str(Phase.DELETING).lower(), "it was deleted", True, 4, 0, {}, {}, "")
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
        return Seen(
            job.name, str(state.phase).lower(), state.message, state.finished, state.exit_code, int(step), self._curves,
            seconds, f"trmctl why {job.name} says what it waits for",
            labelled(joined, PHASE), sorted(labelled(joined, DEPTH).items(), key=lambda one: int(one[0])),
        )  # fmt: skip

    def _add(self, points: list[Point], step: float, value: float | None) -> None:
        if value is None or value != value or (points and points[-1][0] == step):
            return
        while points and points[-1][0] >= step:  # it went back to a checkpoint
            points.pop()
        points.append((step, value))
        if len(points) > KEPT:
            del points[:-1:2]


def labelled(numbers: Mapping[str, float], pattern: re.Pattern[str]) -> dict[str, float]:
    """Return the numbers whose names are of `pattern`, by what it captures."""
    found = {name: pattern.fullmatch(name) for name in numbers}
    return {match[1]: numbers[name] for name, match in found.items() if match}


def facts(seen: Seen) -> list[str]:
    """Return where the time goes, and what thinking longer buys, each in a line."""
    lines, total = [], sum(seen.phases.values())
    if total:
        largest = sorted(seen.phases.items(), key=lambda one: -one[1])
        shares = [f"{name} {value / total:.0%}" for name, value in largest if value / total >= 0.005]
        lines.append("time  " + "  ".join(shares))
    if seen.depths:
        every = -(-len(seen.depths) // SHOWN_DEPTHS)
        chosen = [*seen.depths[:-1:every], seen.depths[-1]]
        lines.append("test rows right after step  " + "  ".join(f"{depth}: {value:.1%}" for depth, value in chosen))
    return lines


def screen(seen: Seen, width: int, height: int) -> "Group":
    """Return the screen."""
    from rich.console import Group
    from rich.text import Text

    from trmctl.output import plain

    ranks = bars(seen.step_seconds, max(10, width - 30)) if len(seen.step_seconds) > 1 else []
    told = facts(seen)
    left = height - 3 - len(told) - (2 + min(len(ranks), height // 3) if ranks else 0)
    drawable = [(name, points) for name, points in seen.curves.items() if points]
    curves = dict(drawable[: max(1, left // CURVE_LINES)])
    room = max(3, left // max(1, len(curves)) - 2)
    parts = [Text(plain(seen.line), style="bold", no_wrap=True, overflow="ellipsis")]
    for name, points in curves.items():
        parts.append(Text(f"\n{name}  {points[-1][1]:.4g}", style="cyan"))
        parts += [Text(line) for line in curve(points, max(10, width - LABELS - 2), min(room, 8))]
    if ranks:
        parts.append(Text("\nseconds an update, by rank", style="cyan"))
        shown = ranks if len(ranks) <= height // 3 else sorted(ranks, key=lambda one: -float(one[1]))[: height // 3]
        parts += [Text(f"{rank:>4} {value:>8} {bar}") for rank, value, bar in shown]
    parts += [Text(line, no_wrap=True, overflow="ellipsis") for line in ("", *told) if told]
    if not curves:
        parts.append(Text(f"\nno numbers yet; {seen.next}"))
    return Group(*parts)
