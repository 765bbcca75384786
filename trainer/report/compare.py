"""Runs side by side: what each costs, what came of it, and what differs in their files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from trainer.known import read_notes
from trainer.metrics import read_lines
from trainer.report.curves import Line, chart
from trainer.report.gallery import same_tasks
from trainer.report.page import duration, read_evaluation, templates
from trmkit.errors import CheckpointError, DataError
from trmkit.spec.load import load
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole
from trmkit.words import size

UNKNOWN = "–"

RESULTS = {
    "test exact": ("test", "exact_accuracy"),
    "test cells": ("test", "accuracy"),
    "test pass@1": ("test", "voting", "pass_at", "1"),
    "test pass@2": ("test", "voting", "pass_at", "2"),
    "fit exact": ("fit", "exact_accuracy"),
    "steps used": ("test", "steps"),
}
"""Name of a score -> where it is among the sets of an evaluation."""
COSTS = {
    "parameters": ("parameters", "trainable"),
    "without embeddings": ("parameters", "core"),
    "puzzle table": ("parameters", "table"),
    "FLOPs of training": ("flops", "training"),
    "memory, estimated": ("memory", "total"),
}
"""Name of a cost -> where it is in what `trainer.describe.costs` returns. What reads a text beforehand is not in it."""


def compare_runs(directories: list[RunDirectory], output: str, page: Path | None = None) -> str:
    """Return a comparison as text, `output` being `table` or `json`; also write it to `page` when that is given.

    DataError: one of them is no run.
    """
    runs = [_summary(directory) for directory in directories]
    found = {"runs": runs, "differences": _differences([run["configuration"] for run in runs])}
    if page is not None:
        _write_page(found, directories, page)
    if output == "json":
        slim = [{key: value for key, value in run.items() if key != "configuration"} for run in runs]
        return json.dumps({"runs": slim, "differences": found["differences"]}, indent=2)
    return _table(found)


def _summary(directory: RunDirectory) -> dict[str, Any]:
    if not directory.run_file.is_file():
        raise DataError(f"{directory.root}: is not a run", next="give folders of runs, such as runs/<name>/<run id>")
    run = load(directory.run_file)
    evaluation, lines = read_evaluation(directory), read_lines(directory.metrics)
    train = [line for line in lines if line["kind"] == "train"]
    sets = (evaluation or {}).get("sets", {})
    return {
        "run": f"{run.name}/{directory.root.name}",
        "updates": train[-1]["step"] if train else 0,
        "seconds": train[-1]["seconds"] if train else 0.0,
        "rows_per_second": sorted(line["rows_per_second"] for line in train)[len(train) // 2] if train else None,
        "costs": _costs(run, directory),
        "results": {name: _at(sets, path) for name, path in RESULTS.items()},
        "configuration": _flat(run.model_dump(mode="json", exclude={"cluster", "storage"})),
    }


def _costs(run: RunFile, directory: RunDirectory) -> dict[str, float | None]:
    """Return what the training takes; nothing of a run that has not begun, whose data nobody knows here."""
    from trainer.describe import costs  # builds the model, on no device: only who compares pays for it

    try:
        found: dict[str, Any] = costs(run, read_notes(directory)[1])
    except CheckpointError:
        found = {}
    return {name: _at(found, path) for name, path in COSTS.items()}


def _at(content: Any, path: Sequence[str]) -> float | None:
    for key in path:
        content = content.get(key) if isinstance(content, dict) else None
    found: float | None = content
    return found


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _differences(configurations: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the keys that are not the same in every run, with the value in each."""
    names = dict.fromkeys(name for configuration in configurations for name in configuration)
    rows = {name: [one.get(name, UNKNOWN) for one in configurations] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def _rows(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    runs = found["runs"]
    rows = [
        ("updates", [f"{run['updates']:,}" for run in runs]),
        ("training", [duration(run["seconds"]) for run in runs]),
    ]
    rows.append(("rows per second", [_number(run["rows_per_second"]) for run in runs]))
    rows += [(name, [_large(run["costs"][name], name) for run in runs]) for name in COSTS]
    rows += [(name, [_number(run["results"][name]) for run in runs]) for name in RESULTS]
    return [(name, values) for name, values in rows if any(value != UNKNOWN for value in values)]


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4g}"


def _large(value: float | None, name: str) -> str:
    if value is None:
        return UNKNOWN
    return size(int(value)) if name.startswith("memory") else f"{value:.3g}" if value >= 1e9 else f"{value:,.0f}"


def _table(found: dict[str, Any]) -> str:
    rows = [("", [run["run"] for run in found["runs"]]), *_rows(found)]
    rows += [(name, [str(value) for value in values]) for name, values in found["differences"].items()]
    widths = [max(len(name) for name, _ in rows)]
    widths += [max(len(values[column]) for _, values in rows) for column in range(len(found["runs"]))]
    lines = []
    for name, values in rows:
        cells = [name.ljust(widths[0]), *(value.rjust(width) for value, width in zip(values, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _write_page(found: dict[str, Any], directories: list[RunDirectory], page: Path) -> None:
    names = [run["run"] for run in found["runs"]]
    lines = [read_lines(directory.metrics) for directory in directories]

    def curves(kind: str, key: str) -> list[Line]:
        picked = [[line for line in run if line["kind"] == kind and key in line] for run in lines]
        return [
            Line(name, [line["step"] for line in run], [line[key] for line in run], kind == "eval")
            for name, run in zip(names, picked, strict=True)
        ]

    charts = [
        ("Loss", chart(curves("train", "lm_loss"), x="update", y="cell loss", log=True)),
        ("Whole puzzles right, held out", chart(curves("eval", "exact_accuracy"), x="update", y="part of rows")),
    ]
    text = (
        templates()
        .get_template("compare.html.jinja")
        .render(
            names=names,
            rows=_rows(found),
            differences=found["differences"],
            charts=[(title, Markup(svg)) for title, svg in charts if svg],
            tasks=same_tasks([read_evaluation(directory) for directory in directories]),
        )
    )
    write_whole(page, text)
