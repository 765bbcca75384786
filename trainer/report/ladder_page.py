"""The answer of a ladder for people: Markdown for a repository, a page with curves for everybody else."""

from typing import Any

from markupsafe import Markup

from trainer.report.curves import Line, chart
from trainer.report.page import duration, templates
from trmkit.ladder import BASELINE

CHANCE = {"parity": 50, "dyck": 50, "compare": 33}
"""What answers at random have right, where that is not next to nothing, in percent."""

Table = list[list[str]]
"""Rows of cells, the head first."""


def markdown(answer: dict[str, Any]) -> str:
    """Return the answer as Markdown."""
    parts = [f"# {answer['name']}: does recursion help?", *_introduction(answer)]
    parts += ["## Measured, with the hypothesis beside it", _as_markdown(measured_table(answer))]
    parts += ["## Cost", _as_markdown(cost_table(answer)), "## Tasks, out of distribution"]
    parts += [_as_markdown(task_table(answer, "per_task_ood")), "## Tasks, in distribution"]
    parts += [_as_markdown(task_table(answer, "per_task_iid")), "## Criteria", *_criteria(answer)]
    return "\n\n".join(parts) + "\n"


def page(answer: dict[str, Any]) -> str:
    """Return the answer as a page."""
    drawn = [*_length_charts(answer), *_depth_chart(answer), *_compute_charts(answer)]
    return (
        templates()
        .get_template("ladder.html.jinja")
        .render(
            name=answer["name"],
            introduction=[text.replace("**", "") for text in _introduction(answer)],
            tables=[
                ("Measured, with the hypothesis beside it", measured_table(answer)),
                ("Cost", cost_table(answer)),
                ("Tasks, out of distribution", task_table(answer, "per_task_ood")),
                ("Tasks, in distribution", task_table(answer, "per_task_iid")),
            ],
            rungs=[row for row in answer["rungs"] if "criteria" in row],
            parents=_parents(answer),
            charts=[(title, Markup(svg), text) for title, svg, text in drawn if svg],
        )
    )


def _introduction(answer: dict[str, Any]) -> list[str]:
    data, seeds = answer["data"], answer["seeds"]
    budget = answer["budget"]
    length = f"{budget['tokens']:,} tokens" if budget["tokens"] else f"{budget['steps']:,} updates"
    texts = [
        f"Size {answer['model']['size']}, {length} in rows of {data['seq_len']}, batch {budget['batch_size']}, tasks "
        f"{', '.join(data['tasks'])}, seeds {', '.join(map(str, seeds))}. Every rung has the same budget, rows in the "
        "same order, and the same held-out items. Scores are means over seeds. Intervals are of 95 %: a paired "
        "bootstrap over items with Student's t over seeds, without correction for looking at several rungs."
    ]
    lucky = [f"{task} {share}" for task, share in CHANCE.items() if task in data["tasks"]]
    texts += [f"Answers at random are right, in percent: {', '.join(lucky)}."] if lucky else []
    states = [row["variant"] for row in answer["rungs"] if row["variant"].startswith("ssm")]
    if states and "parity" in data["tasks"] and not answer["model"]["negative_eigenvalues"]:
        texts.append(
            f"{' and '.join(states)}: states whose eigenvalues are all positive cannot track parity at any length "
            "(arXiv 2508.07395), so parity beyond the trained lengths is not to be expected of them."
        )
    if answer["missing"]:
        listed = ", ".join(f"{one['variant']} seed {one['seed']} ({one['state']})" for one in answer["missing"])
        texts.append(f"**Missing:** {listed}. What follows is of the others.")
    if len(answer["devices"]) > 1:
        texts.append("**Not all runs were made on the same device:** their times cannot be compared.")
    if len(answer["commits"]) > 1:
        texts.append("**Not all runs were made by the same version of the code.**")
    return texts


def measured_table(answer: dict[str, Any]) -> Table:
    """Return the table of the ladder's authors, each cell as measured and, in brackets, as they expected it."""
    head = ["rung", "seeds", "algorithmic", "out of distribution", "parity @ 32", "needle @ 2k", "perplexity",
            "bits per byte", "time"]  # fmt: skip
    rows = [head]
    for row in answer["rungs"]:
        found, expected = row["measured"] or {}, row["hypothesis"] or {}
        rows.append(
            [
                row["variant"],
                str(len(row["seeds"])) if row["seeds"] else "none",
                _both(_share(found.get("algorithmic")), _share(expected.get("algorithmic"))),
                _share(found.get("ood")),
                _both(_share(found.get("parity_32")), _share(expected.get("parity_32"))),
                _both(_share(found.get("needle_2k")), _share(expected.get("needle_2k"))),
                _both(_number(found.get("perplexity"), ".3g"), _number(expected.get("perplexity"), ".3g")),
                _number(found.get("bits_per_byte"), ".3f"),
                _both(_times(found.get("time")), _times(expected.get("time"))),
            ]
        )
    return rows


def cost_table(answer: dict[str, Any]) -> Table:
    """Return what every rung took."""
    rows = [["rung", "parameters", "operations", "against baseline", "training", "against baseline"]]
    for row in answer["rungs"]:
        found = row["measured"] or {}
        seconds = found.get("seconds")
        rows.append(
            [
                row["variant"],
                _number(found.get("parameters"), ",.0f"),
                _number(found.get("flops"), ".3g"),
                _times(found.get("flops_ratio")),
                "–" if seconds is None else duration(seconds),
                _times(found.get("time")),
            ]
        )
    return rows


def task_table(answer: dict[str, Any], key: str) -> Table:
    """Return accuracy per task, a column each."""
    tasks = list(dict.fromkeys(task for row in answer["rungs"] for task in (row["measured"] or {}).get(key, {})))
    rows = [["rung", *tasks]]
    for row in answer["rungs"]:
        found = (row["measured"] or {}).get(key, {})
        rows.append([row["variant"], *(_share(found.get(task)) for task in tasks)])
    return rows


def _criteria(answer: dict[str, Any]) -> list[str]:
    parts = []
    for row in answer["rungs"]:
        if "criteria" in row:
            lines = [f"**{row['variant']}**: {row['verdict']}", ""]
            lines += [
                f"- {name}, {check['asks']}: {check['status']} ({check['said']})"
                for name, check in row["criteria"].items()
            ]
            parts.append("\n".join(lines))
    for variant, parent, said in _parents(answer):
        parts.append(f"{variant} against its parent {parent}: {said}")
    return parts or ["Nothing to compare: the baseline or the others are missing."]


def _parents(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return rung, parent and the differences in words, of rungs whose parent is not the baseline."""
    found = []
    for row in answer["rungs"]:
        parent = row.get("parent")
        if parent and parent["name"] != BASELINE:
            names = {"C1": "in distribution", "C2": "out of it"}
            said = [
                f"{where} {100 * parent[key]['mean']:+.1f} points ({100 * parent[key]['low']:+.1f} to"
                f" {100 * parent[key]['high']:+.1f})"
                for key, where in names.items()
                if key in parent
            ]
            found.append((row["variant"], parent["name"], ", ".join(said)))
    return found


def _as_markdown(table: Table) -> str:
    head, *rows = table
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}×"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _both(found: str, expected: str) -> str:
    return found if expected == "–" else f"{found} ({expected})"


def _length_charts(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = [row for row in answer["rungs"] if "curves" in row]
    tasks = dict.fromkeys(task for row in rows for task in row["curves"]["length"])
    charts = []
    for task in tasks:
        lines = [
            Line(row["variant"], [x for x, _ in points], [y for _, y in points], dots=True)
            for row in rows
            if (points := row["curves"]["length"].get(task))
        ]
        drawn = chart(lines, x="length", y="part of items", unit_range=True)
        charts.append((f"{task.replace('_', ' ').capitalize()}, by length", drawn, "Mean over seeds and conditions."))
    return charts


def _depth_chart(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    lines = [
        Line(row["variant"], [x for x, _ in points], [y for _, y in points], dots=True)
        for row in answer["rungs"]
        if "curves" in row and (points := row["curves"]["rounds"])
    ]
    drawn = chart(lines, x="rounds", y="part of items", unit_range=True)
    return [("Depth at test time", drawn, "The recursive part applied more or less often than in training.")]


def _compute_charts(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    def against(key: str) -> list[Line]:
        return [
            Line(row["variant"], [row["measured"]["flops"]], [row["measured"][key]], dots=True, joined=False)
            for row in answer["rungs"]
            if row["measured"] and row["measured"]["flops"] and row["measured"][key] is not None
        ]

    def drawn(key: str) -> str:
        return chart(against(key), x="operations of training", y="part of items", unit_range=True)

    text = "Every rung read the same tokens; this is what it computed for them."
    return [
        ("In distribution, by compute", drawn("algorithmic"), text),
        ("Out of distribution, by compute", drawn("ood"), text),
    ]
