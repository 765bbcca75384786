"""Runs side by side: what differs in their files, and what came of it."""

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from trainer.metrics import read_lines
from trainer.report.curves import Line, chart
from trainer.report.page import duration, read_evaluation, templates
from trmkit.errors import DataError
from trmkit.spec.load import load
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

RESULTS = {
    "test exact": ("test", "exact_accuracy"),
    "test cells": ("test", "accuracy"),
    "fit exact": ("fit", "exact_accuracy"),
    "steps used": ("test", "steps"),
}


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
        "results": {name: sets.get(key, {}).get(value) for name, (key, value) in RESULTS.items()},
        "configuration": _flat(run.model_dump(mode="json", exclude={"cluster", "storage"})),
    }


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _differences(configurations: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the keys that are not the same in every run, with the value in each."""
    names = dict.fromkeys(name for configuration in configurations for name in configuration)
    rows = {name: [configuration.get(name) for configuration in configurations] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def _rows(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    runs = found["runs"]
    rows = [
        ("updates", [f"{run['updates']:,}" for run in runs]),
        ("training", [duration(run["seconds"]) for run in runs]),
    ]
    rows.append(("rows per second", [_number(run["rows_per_second"]) for run in runs]))
    rows += [(name, [_number(run["results"][name]) for run in runs]) for name in RESULTS]
    return rows


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


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
        )
    )
    write_whole(page, text)
