"""What the page of a language model's run shows: suites, conditions, and texts to look at."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from trainer.report.curves import Line, chart
from trainer.report.scores import range_of

Chart = tuple[str, str, str]
"""Title, SVG and a sentence."""


def shown(lines: list[dict[str, Any]], evaluation: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the page has of `lines` of log and of the results in `evaluation`, as plain values and markup."""
    results = (evaluation or {}).get("text", {})
    drawn = [*_training(lines), *_lengths(results), *_depths(results)]
    return {
        "cards": _cards(results),
        "tasks": _tasks(results),
        "conditions": _conditions(results),
        "needle": _needle(results),
        "checks": (results.get("self_test") or {}).get("checks", {}),
        "charts": [{"title": title, "svg": Markup(svg), "text": text} for title, svg, text in drawn if svg],
        "texts": _texts(results),
        "stories": ((results.get("ppl") or {}).get("repetition") or {}).get("examples", []),
    }


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _cards(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return title, number and meaning of what there is to say first."""
    cards = []
    found = results.get("algorithmic")
    if found:
        cards.append(("In distribution", _share(found["iid_accuracy"]), "of the items are answered right"))
        cards.append(("Out of distribution", _share(found["ood_accuracy"]), "longer, deeper or larger than trained on"))
        cards.append(("No answer", f"{found['parse_failures']:,}", f"of {found['items']:,} answers cannot be read"))
        cards.append(("No end", f"{found['missed_eos']:,}", "answers went on until they were cut off"))
    if results.get("longctx") and results["longctx"]["auc"] is not None:
        cards.append(("Needle", _share(results["longctx"]["auc"]), "of the numbers are found again in a long text"))
    language = results.get("ppl")
    if language:
        cards.append(("Bits per byte", f"{language['bits_per_byte']:.3f}", "of held-out language"))
        cards.append(("Perplexity", f"{language['perplexity']:.4g}", f"a token, over {language['tokens']:,} tokens"))
        repeats = language["repetition"]
        if "generated" in repeats:
            truth = _share(repeats["reference"])
            cards.append(("Repetition", _share(repeats["generated"]), f"of runs of four tokens; {truth} in real text"))
    return cards


def _tasks(results: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return task, accuracy in and out of distribution, and the longest length that is mostly right."""
    found = results.get("algorithmic") or {"per_task_accuracy": {}}
    return [
        (
            task,
            _share(found["per_task_iid"].get(task)),
            _share(found["per_task_ood"].get(task)),
            "–" if found["longest_learned"].get(task) is None else str(found["longest_learned"][task]),
        )
        for task in found["per_task_accuracy"]
    ]


def _conditions(results: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**one, "share": _share(one["accuracy"]), "range": range_of(one["interval"])}
        for one in (results.get("algorithmic") or {"conditions": []})["conditions"]
    ]


def _needle(results: dict[str, Any]) -> dict[str, Any]:
    found = (results.get("longctx") or {"per_context": []})["per_context"]
    depths = next((list(one["metrics"]["by_depth"]) for one in found if "metrics" in one), [])
    rows = [
        (
            f"{one['context_length']:,}",
            one.get("skipped", ""),
            [_share(share) for share in one["metrics"]["by_depth"].values()] if "metrics" in one else [],
        )
        for one in found
    ]
    return {"depths": depths, "rows": rows}


def _texts(results: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"title": f"{one['task']}, {one['condition']}", **text}
        for one in (results.get("algorithmic") or {"conditions": []})["conditions"]
        for text in one["examples"]
    ]


def _curve(name: str, lines: Sequence[dict[str, Any]], key: str, *, dots: bool = False) -> Line:
    points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
    return Line(name, [x for x, _ in points], [y for _, y in points], dots)


def _training(lines: list[dict[str, Any]]) -> list[Chart]:
    train = [line for line in lines if line["kind"] == "train"]
    tests = [line for line in lines if line["kind"] == "eval"]
    tasks = [name for name in dict.fromkeys(key for line in tests for key in line) if name.startswith("score/")]
    where = [name for name in tasks if name in ("score/iid", "score/ood")]
    names = {"score/iid": "in distribution", "score/ood": "out of it"}
    ends = [_curve(names[name], tests, name, dots=True) for name in where]
    each = [_curve(name.removeprefix("score/"), tests, name, dots=True) for name in tasks if name not in where]
    parts = [_curve(name, train, f"part_{name}") for name in ("algorithmic", "language", "needle")]
    steps = [_curve("rounds", train, "steps")] if any("ponder_loss" in line for line in train) else []
    return [
        ("Loss", chart([_curve("training", train, "lm_loss")], x="update", y="nats a label", log=True),
         "Mean cross-entropy of a label: of answers and, in language, of every token."),
        ("Answers right", chart(ends, x="update", y="part of items", unit_range=True),
         "Items of the held-out grid, scored with the averaged weights by greedy generation."),
        ("Answers right, by task", chart(each, x="update", y="part of items", unit_range=True),
         "All conditions of a task together, in and out of distribution."),
        ("What is read", chart(parts, x="update", y="part of rows", unit_range=True),
         "The curriculum: algorithmic tasks first, then language."),
        ("Thinking", chart(steps, x="update", y="rounds"), "Rounds of thinking at an anchor, as expected."),
    ]  # fmt: skip


def _lengths(results: dict[str, Any]) -> list[Chart]:
    """Return accuracy against length, a chart a task."""
    found = (results.get("algorithmic") or {"conditions": []})["conditions"]
    charts = []
    for task in dict.fromkeys(one["task"] for one in found):
        mine = sorted((one for one in found if one["task"] == task), key=lambda one: one["length"])
        inside, outside = ([one for one in mine if one["iid"] is iid] for iid in (True, False))
        lines = [
            Line("in distribution", [one["length"] for one in inside], [one["accuracy"] for one in inside], True,
                 joined=False),
            Line("out of it", [one["length"] for one in outside], [one["accuracy"] for one in outside], True,
                 joined=False),
        ]  # fmt: skip
        text = "Each dot is a condition of the grid."
        charts.append((f"{task.replace('_', ' ').capitalize()}, by length",
                       chart(lines, x="length", y="part of items", unit_range=True), text))  # fmt: skip
    return charts


def _depths(results: dict[str, Any]) -> list[Chart]:
    found = (results.get("depth") or {}).get("rounds", [])
    if not found:
        return []
    rounds = [one["rounds"] for one in found]
    lines = [
        Line(name, rounds, [one[key] for one in found], True)
        for name, key in (("in distribution", "iid_accuracy"), ("out of it", "ood_accuracy"))
        if all(one[key] is not None for one in found)
    ]
    trained = next(one["rounds"] for one in found if one["trained"])
    text = f"The recursive part applied more or less often than in training, which is {trained} times."
    return [("Depth at test time", chart(lines, x="rounds", y="part of items", unit_range=True), text)]
