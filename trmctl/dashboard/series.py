"""What the page draws: curves by the names of `trmkit.metrics`, whatever place their numbers come from.

A run's numbers become one `Shown`: curves over updates and time, values by supervision step and by bin, where the time
goes, and what happened. Pure.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trmkit.errors import SpecError
from trmkit.metrics import BY_NAME, Metric, Source
from trmkit.spec.tree import did_you_mean

Point = tuple[float, float, float]
"""Update, seconds since 1970, value."""
MOST_POINTS = 600
"""Of a curve; of more, the smallest and the largest of each stretch are kept, so that no spike is lost."""


@dataclass(frozen=True)
class Curve:
    """One line of a panel."""

    name: str
    metric: str
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """It as Prometheus writes it."""
        inner = ",".join(f'{name}="{value}"' for name, value in self.labels)
        return f"{self.metric}{{{inner}}}" if inner else self.metric

    @property
    def source(self) -> Source:
        """Where it stands in `metrics.jsonl`. LookupError: nowhere."""
        return source_of(BY_NAME[self.metric], dict(self.labels))


@dataclass(frozen=True)
class Panel:
    """One chart of the page."""

    title: str
    about: str
    curves: tuple[Curve, ...]
    kind: str = "lines"
    """`lines` over updates or time; `depth`: over supervision steps; `bins`: observed over predicted; `phases`."""
    unit: str = ""
    log: bool = False


def _curve(name: str, metric: str, **labels: str) -> Curve:
    return Curve(name, metric, tuple(labels.items()))


PANELS = (
    Panel(
        "Loss", "Mean over rows and supervision steps; of the test rows with the averaged weights.",
        (_curve("train", "trm_train_loss", part="total"), _curve("test", "trm_eval_loss", part="total")), log=True,
    ),
    Panel(
        "Exact accuracy", "Rows of which every cell is right.",
        (_curve("train", "trm_train_accuracy_ratio", level="exact"),
         _curve("test", "trm_eval_accuracy_ratio", level="exact")), unit="ratio",
    ),
    Panel(
        "Cell accuracy", "Cells that are right.",
        (_curve("train", "trm_train_accuracy_ratio", level="token"),
         _curve("test", "trm_eval_accuracy_ratio", level="token")), unit="ratio",
    ),
    Panel(
        "Accuracy by supervision step", "Test rows that are right after so many steps, at the last evaluation.",
        (_curve("right", "trm_eval_accuracy_by_depth_ratio", level="exact"),
         _curve("would halt", "trm_eval_halted_ratio")), kind="depth", unit="ratio",
    ),
    Panel(
        "Steps until halt", "Supervision steps of rows that became final; of test rows, when the q-head would halt.",
        (_curve("train", "trm_train_halt_depth"), _curve("test", "trm_eval_halt_depth")),
    ),
    Panel(
        "Does the q-head know?", "Rows that are right, by the probability it gave; on the diagonal it is calibrated.",
        (_curve("predicted", "trm_eval_q_halt_predicted_ratio"), _curve("observed", "trm_eval_q_halt_observed_ratio")),
        kind="bins", unit="ratio",
    ),
    Panel(
        "Where an update's time goes", "Seconds an update, checkpoints and evaluations included.", (),
        kind="phases", unit="seconds",
    ),
    Panel(
        "Pace", "Seconds an update, without checkpoints and evaluations.",
        (_curve("update", "trm_train_step_seconds"),), unit="seconds",
    ),
    Panel(
        "Norms", "Of the gradient before clipping, and of an update's change of the weights.",
        (_curve("gradient", "trm_train_gradient_norm"), _curve("update", "trm_train_update_norm")), log=True,
    ),
    Panel("Learning rate", "Of the weights.", (_curve("rate", "trm_train_learning_rate"),)),
    Panel(
        "Utilisation", "Operations of the model, as a part of what the device could do.",
        (_curve("MFU", "trm_train_mfu_ratio"),), unit="ratio",
    ),
    Panel("Memory", "Of the container or the process.", (_curve("used", "trm_memory_used_bytes"),), unit="bytes"),
)  # fmt: skip
"""The charts of the page, in its order."""
CURVES = tuple(curve for panel in PANELS if panel.kind == "lines" for curve in panel.curves)
LISTS = tuple(curve for panel in PANELS if panel.kind in ("depth", "bins") for curve in panel.curves)


@dataclass
class Shown:
    """What the page shows of one run."""

    key: str
    """`name/id`, or the name of its job."""
    source: str
    """Where its numbers come from."""
    state: str = ""
    step: int = 0
    total: int = 0
    updated: float = 0.0
    """Seconds since 1970."""
    left_seconds: float | None = None
    best: float | None = None
    curves: dict[str, list[Point]] = field(default_factory=dict)
    lists: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    """Label and value, of the last evaluation."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds an update."""
    events: list[tuple[str, float, float]] = field(default_factory=list)
    """`checkpoint` or `start`, update, seconds since 1970."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Keys of the run file that say what is trained, and their values as text."""
    samples: Mapping[str, Any] | None = None
    """Rows of the test set, and what the model made of them at the last evaluation."""

    def as_json(self) -> dict[str, Any]:
        """Return it for the page, with curves of at most `MOST_POINTS` points."""
        return asdict(self) | {"curves": {key: thinned(points) for key, points in self.curves.items()}}


def curve_of(text: str) -> Curve:
    """Return the curve of a metric, written as Prometheus writes it. SpecError: there is none in a run's log."""
    name, _, inner = text.partition("{")
    labels = dict(re.findall(r'(\w+)="([^"]*)"', inner))
    metric = BY_NAME.get(name)
    if metric is not None and not set(metric.labels) - set(labels):
        with suppress(LookupError):
            curve = Curve(text, name, tuple(labels.items()))
            if curve.source.each is None:
                return curve
    known = [f"{one.name.removeprefix('trm_')}" for one in BY_NAME.values() if one.log]
    raise SpecError(
        f"no line of log has {text!r}{did_you_mean(name.removeprefix('trm_'), known)}",
        next="docs/reference/metrics.md lists them; one with labels needs them, as 'train_loss{part=\"lm\"}'",
    )


def panels() -> list[dict[str, Any]]:
    """Return the charts for the page."""
    return [asdict(panel) | {"curves": [[curve.name, curve.key] for curve in panel.curves]} for panel in PANELS]


def source_of(metric: Metric, labels: Mapping[str, str]) -> Source:
    """Return where the series of `metric` with `labels` stands in a `metrics.jsonl`."""
    for source in metric.log:
        given = dict(source.labels)
        open_labels = re.findall(r"{(\w+)}", source.key)
        if all(given.get(name) == value or name in open_labels for name, value in labels.items()):
            return replace(
                source, key=source.key.format(**{name: labels[name] for name in open_labels if name in labels})
            )
    raise LookupError(f"{metric.name} {dict(labels)} stands in no line of log")


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most `most` of `points`, with the smallest and the largest of each stretch, and the last."""
    if len(points) <= most:
        return list(points)
    stretch = -(-len(points) * 2 // (most - 2))
    kept: list[Point] = []
    for at in range(0, len(points), stretch):
        part = points[at : at + stretch]
        found = {min(range(len(part)), key=lambda i: part[i][2]), max(range(len(part)), key=lambda i: part[i][2])}
        kept += [part[index] for index in sorted(found)]
    return [*kept, points[-1]] if kept[-1] != points[-1] else kept


def bins(values: Iterable[float | None]) -> list[tuple[str, float]]:
    """Return the entries of a list by bin that have a value, with their labels."""
    found = list(values)
    return [(f"{index / len(found):g}", value) for index, value in enumerate(found, 1) if value is not None]


def depths(values: Iterable[float | None]) -> list[tuple[str, float]]:
    """Return the entries of a list by supervision step, with their labels."""
    return [(str(depth), value) for depth, value in enumerate(values, 1) if value is not None]
