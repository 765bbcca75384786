"""`report.html`: one file that shows a run to someone who was not there."""

import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from trainer.metrics import read_lines
from trainer.report import text
from trainer.report.curves import Line, calibration_chart, chart
from trainer.report.gallery import gallery
from trainer.report.grids import draw
from trainer.report.scores import checks, range_of, votes
from trmkit.errors import DataError
from trmkit.spec.cluster import ClusterSection
from trmkit.spec.curriculum import CurriculumData
from trmkit.spec.load import load
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

SETS = {
    "test": ("Held out", "rows that were never trained on"),
    "fit": ("Trained on", "training rows as they are before augmentation"),
    "test_blank": (
        "Held out, identifiers blanked",
        "the held-out rows again without saying which puzzle they belong to",
    ),
}


def write_report(directory: RunDirectory) -> Path:
    """Write the report of a run from what it left behind; DataError: there is no run."""
    if not directory.run_file.is_file():
        raise DataError(f"{directory.root}: is not a run", next="give the folder of a run")
    shown = gather(directory)
    page = templates().get_template(shown.pop("template")).render(shown)
    write_whole(directory.report, page)
    return directory.report


def templates() -> Environment:
    """Return the page templates; everything they are given is escaped unless it is markup of ours."""
    return Environment(
        loader=PackageLoader("trainer.report"),
        autoescape=select_autoescape(default_for_string=True, default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def gather(directory: RunDirectory) -> dict[str, Any]:
    """Return what the page shows, as plain values and markup."""
    run = load(directory.run_file)
    lines = read_lines(directory.metrics)
    evaluation = read_evaluation(directory)
    configuration, left_out = _configuration(directory.run_file.read_text(), run)
    common = {
        "name": run.name,
        "run_id": directory.root.name,
        "model": run.model.title,
        "source": run.data.source,
        "evaluation": evaluation,
        "scope": _scope(evaluation),
        "timings": timings(lines, evaluation),
        "environment": _flat(read_json(directory.environment) or {}),
        "configuration": configuration,
        "left_out": left_out,
    }
    if isinstance(run.data, CurriculumData):
        return common | {"template": "text.html.jinja", **text.shown(lines, evaluation)}
    test = (evaluation or {}).get("sets", {}).get("test", {})
    return common | {
        "template": "page.html.jinja",
        "tries": _tries(evaluation),
        "sets": _sets(evaluation),
        "votes": votes(test),
        "checks": checks(test),
        "charts": _charts(lines, evaluation),
        "gallery": gallery(evaluation),
        "examples": _examples(evaluation),
    }


def _configuration(content: str, run: RunFile) -> tuple[str, str]:
    """Return the run file as it is shown, and what is left out of it: a cluster that nobody asked for."""
    if run.cluster != ClusterSection():
        return content, ""
    return re.sub(r"^cluster:.*\n(?:[ \t].*\n|\n)*", "", content, flags=re.MULTILINE), " but the cluster's"


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a JSON file of the run holds, None if it is not there. DataError: it is damaged."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: cannot be read ({error})", next="evaluate the run again") from error
    return content if isinstance(content, dict) else {}


def read_evaluation(directory: RunDirectory) -> dict[str, Any] | None:
    """Return the scores of a run, None if there are none yet. DataError: the file is damaged or of another kind."""
    content = read_json(directory.evaluation)
    kinds = {"sets": dict, "grid": dict, "examples": list, "step": int, "seconds": float}
    if content is not None and not all(isinstance(content.get(name), kind) for name, kind in kinds.items()):
        raise DataError(f"{directory.evaluation}: is not what evaluate writes", next="evaluate the run again")
    return content


def _sets(evaluation: dict[str, Any] | None) -> list[dict[str, Any]]:
    found = []
    for name, scores in (evaluation or {}).get("sets", {}).items():
        if scores["count"]:
            title, meaning = SETS.get(name, (name, ""))
            interval = scores.get("interval")
            shown = {"range": range_of(interval), "method": interval["method"]} if interval else {"range": ""}
            found.append({"title": title, "meaning": meaning, **scores, **shown})
    return found


def _scope(evaluation: dict[str, Any] | None) -> str:
    """Say which part of the test set was scored; '' if all of it."""
    scope = (evaluation or {}).get("scope")
    if not scope or scope["scored"] == scope["total"]:
        return ""
    return f"{scope['scored']:,} of {scope['total']:,} {scope['unit']} of the test set"


def _tries(evaluation: dict[str, Any] | None) -> str:
    """Say how often a row was tried; '' if once."""
    tried = (evaluation or {}).get("rollouts")
    if not tried or tried["count"] == 1:
        return ""
    by = {"q_halt": "the q-head", "vote": "vote"}[tried["select"]]
    return f"{tried['count']} rollouts with noise {tried['noise']:g}, chosen by {by}"


def _charts(lines: list[dict[str, Any]], evaluation: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return title, SVG and a sentence for each chart that has something to show."""
    train = [line for line in lines if line["kind"] == "train"]
    tests = [line for line in lines if line["kind"] == "eval"]

    def curve(name: str, source: list[dict[str, Any]], key: str, *, dots: bool = False) -> Line:
        points = [(line["step"], line[key]) for line in source if key in line]
        return Line(name, [x for x, _ in points], [y for _, y in points], dots)

    exact = [curve("training", train, "exact_accuracy"), curve("held out", tests, "exact_accuracy", dots=True)]
    cells = [curve("training", train, "accuracy"), curve("held out", tests, "accuracy", dots=True)]
    drawn = [
        ("Loss", chart([curve("training", train, "lm_loss")], x="update", y="cell loss", log=True),
         "Mean cross-entropy of a cell, over every row in the batch."),
        ("Whole puzzles right", chart(exact, x="update", y="part of rows", unit_range=True),
         "Training counts rows when they halt; held out is scored with the averaged weights."),
        ("Cells right", chart(cells, x="update", y="part of cells", unit_range=True),
         "The same, cell by cell."),
        ("Thinking", chart([curve("steps", train, "steps")], x="update", y="steps until halt"),
         "Supervision steps a training row takes until the q-head calls it finished, or the limit ends it."),
        *_step_charts(evaluation),
    ]  # fmt: skip
    return [{"title": title, "svg": Markup(svg), "text": text} for title, svg, text in drawn if svg]


def _step_charts(evaluation: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    found = (evaluation or {}).get("sets", {})
    order = ("fit", "test", "test_blank")  # the colours of the other charts: training first, held out second
    sets = {SETS[name][0].lower(): found[name] for name in order if found.get(name, {}).get("count")}
    by_step = [
        Line(name, range(1, len(s["exact_accuracy_by_step"]) + 1), s["exact_accuracy_by_step"], dots=True)
        for name, s in sets.items()
    ]
    bins = {name: s["calibration"]["bins"] for name, s in sets.items()}
    bought = chart(_compute(sets.get("held out", {})), x="network calls per row", y="part of rows", unit_range=True)
    return [
        ("Accuracy against compute", bought,
         "Held-out rows right, by what an answer costs: more supervision steps, or more rollouts of all steps."),
        ("Right after each step", chart(by_step, x="supervision step", y="part of rows", unit_range=True),
         "Whole puzzles right if the answer were taken after this step: what the recursion adds."),
        ("Does it know?", calibration_chart(bins) if bins else "",
         "Each dot is a tenth of the q-head's range; on the diagonal it is as right as it believes."),
    ]  # fmt: skip


def _compute(test: dict[str, Any]) -> list[Line]:
    entries = test.get("compute", [])
    last = max((entry["steps"] for entry in entries), default=0)
    parts = {
        "more steps": [entry for entry in entries if entry["rollouts"] == 1],
        "more rollouts": [entry for entry in entries if entry["steps"] == last],
    }
    return [
        Line(name, [entry["calls"] for entry in part], [entry["exact_accuracy"] for entry in part], dots=True)
        for name, part in parts.items()
        if len({entry["calls"] for entry in part}) > 1
    ]


def _examples(evaluation: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the rows to look at, by set, each with its three pictures."""
    if not evaluation:
        return []
    kind = evaluation["grid"]["kind"]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in evaluation["examples"]:
        question, truth, prediction = row["question"], row["truth"], row["prediction"]
        pictures = [
            ("question", draw(question, kind, "question", given=question)),
            ("truth", draw(truth, kind, "truth", given=question)),
            ("prediction", draw(prediction, kind, "prediction", truth=truth, given=question)),
        ]
        entry = {"puzzle": row["puzzle"], "row": row["row"], "exact": row["exact"], "verdict": _verdict(row)}
        entry["remark"] = row.get("remark", "")
        entry["pictures"] = [(name, Markup(svg)) for name, svg in pictures]
        groups.setdefault(row["set"], []).append(entry)
    return [
        {"title": SETS.get(name, (name, ""))[0], "meaning": SETS.get(name, ("", name))[1], "rows": rows}
        for name, rows in groups.items()
    ]


def _verdict(row: dict[str, Any]) -> str:
    truth, found = row["truth"], row["prediction"]
    if row["exact"]:
        return "right"
    shape, expected = ((len(g), len(g[0]) if g else 0) for g in (found, truth))
    if shape != expected:
        return f"wrong size: {shape[0]} × {shape[1]} instead of {expected[0]} × {expected[1]}"
    wrong = sum(a != b for x, y in zip(found, truth, strict=True) for a, b in zip(x, y, strict=True))
    return f"{wrong} of {expected[0] * expected[1]} cells wrong" if wrong else "wrong outside the grid"


def timings(lines: list[dict[str, Any]], evaluation: dict[str, Any] | None) -> dict[str, str]:
    """Return how long the parts of a run took, in words."""
    train = [line for line in lines if line["kind"] == "train"]
    found = {}
    if train:
        rates = sorted(line["rows_per_second"] for line in train)
        found["updates"] = f"{train[-1]['step']:,}"
        found["training"] = duration(train[-1]["seconds"])
        found["rows per second (median)"] = f"{rates[len(rates) // 2]:.4g}"
    if evaluation:
        found["evaluation"] = duration(evaluation["seconds"])
    return found


def duration(seconds: float) -> str:
    """Return seconds in words."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _flat(content: dict[str, Any]) -> dict[str, str]:
    flat = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat[name] = ", ".join(f"{key} {inner}" for key, inner in value.items())
        elif value is not None:
            flat[name] = str(value)
    return flat
