"""The answer of a ladder: every rung beside the baseline, on the same items, with the same seeds and budget.

`report.json` has all of it, `report.md` and `ladder.html` show it. A rung that is not there yet is named as missing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.metrics import read_lines
from trainer.models.ladder.rungs import RUNGS
from trainer.report.ladder_criteria import Criterion, criteria, pairs_of, verdict
from trainer.report.ladder_page import markdown, page
from trainer.report.page import read_json
from trmkit.errors import DataError
from trmkit.ladder import BASELINE, CLAIM, Rung, settings
from trmkit.spec.load import load
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

HYPOTHESES = {
    "baseline": (0.70, 0.20, 0.80, 20.0, 1.0),
    "shared_loop": (0.75, 0.40, 0.80, 22.0, 1.2),
    "latent": (0.80, 0.60, 0.85, 21.0, 1.5),
    "act": (0.82, 0.65, 0.85, 21.0, 1.8),
}
"""What the ladder's authors expected, before anything was measured: algorithmic accuracy, parity at 32 bits, needle at
2k tokens, perplexity (of GPT-2's tokens), and training time relative to the baseline."""
COLUMNS = ("algorithmic", "parity_32", "needle_2k", "perplexity", "time")
PARITY_LENGTH, NEEDLE_LENGTH = 32, 2048


@dataclass(frozen=True)
class Found:
    """A rung that was trained: its numbers and its results."""

    rung: Rung
    directory: RunDirectory
    lines: list[dict[str, Any]]
    results: dict[str, Any]
    environment: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end, and its last checkpoint scored by all suites that were asked for."""
        meta = self.results.get("meta") or {}
        scored = meta.get("status") == "complete" and meta.get("which") == "last" and "algorithmic" in self.results
        return scored and bool(self.train) and self.train[-1].get("progress") == 1.0

    @property
    def train(self) -> list[dict[str, Any]]:
        """The lines of log of training."""
        return [line for line in self.lines if line["kind"] == "train"]


def report(config: Path, overrides: Sequence[str], rungs: Sequence[Rung], out: Path | None, output: str) -> str:
    """Write the report of the rungs of a ladder; return it as text, `output` being `table` or `json`.

    DataError: none of them was trained.
    """
    runs = {rung: load(config, [*overrides, *settings(rung)]) for rung in rungs}
    found = [one for rung, run in runs.items() if (one := read(rung, RunDirectory.of(run))) is not None]
    if not found:
        raise DataError(
            f"no rung of {config} has been trained here", next="`trmctl ladder run` trains them, one after the other"
        )
    any_run = next(iter(runs.values()))
    answer = gather(any_run, list(rungs), found)
    folder = out or Path(any_run.storage.path) / any_run.name
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "report.json", json.dumps(answer, indent=1))
    write_whole(folder / "report.md", markdown(answer))
    write_whole(folder / "ladder.html", page(answer))
    if output == "json":
        return json.dumps(answer, indent=1)
    return f"{markdown(answer)}\nwritten: {folder / 'ladder.html'}, report.md, report.json"


def read(rung: Rung, directory: RunDirectory) -> Found | None:
    """Return what there is of a rung; None: nothing."""
    lines = read_lines(directory.metrics)
    if not lines:
        return None
    results = read_json(directory.results("all")) or {}
    return Found(rung, directory, lines, results, read_json(directory.environment) or {})


def gather(run: RunFile, wanted: list[Rung], found: list[Found]) -> dict[str, Any]:
    """Return the whole answer as plain JSON."""
    finished = [one for one in found if one.finished]
    if len({one.results["meta"].get("grid_version") for one in finished}) > 1:
        raise DataError(
            "the rungs were scored on different versions of the grid", next="score them again: trmctl evaluate"
        )
    by_variant: dict[str, list[Found]] = {}
    for one in finished:
        by_variant.setdefault(one.rung[0], []).append(one)
    baseline = by_variant.get(BASELINE, [])
    variants = list(dict.fromkeys(variant for variant, _ in wanted))
    rows = [_row(variant, by_variant.get(variant, []), baseline, by_variant) for variant in variants]
    there = {one.rung for one in finished}
    started = {one.rung for one in found}
    missing = [
        {"variant": variant, "seed": seed, "state": "unfinished" if (variant, seed) in started else "not trained"}
        for variant, seed in wanted
        if (variant, seed) not in there
    ]
    return {
        "name": run.name,
        "model": run.model.model_dump(mode="json", exclude={"variant"}),
        "data": run.data.model_dump(mode="json"),
        "budget": {"batch_size": run.train.batch_size, "steps": run.train.steps, "tokens": run.train.tokens},
        "seeds": sorted({seed for _, seed in wanted}),
        "seeds_for_a_claim": CLAIM,
        "missing": missing,
        "rungs": rows,
        "devices": sorted({_device(one) for one in finished}),
        "commits": sorted({str(one.environment.get("commit")) for one in finished}),
    }


def _row(variant: str, mine: list[Found], baseline: list[Found], by_variant: dict[str, list[Found]]) -> dict[str, Any]:
    row: dict[str, Any] = {"variant": variant, "seeds": sorted(one.rung[1] for one in mine)}
    expected = HYPOTHESES.get(variant)
    row["hypothesis"] = dict(zip(COLUMNS, expected, strict=True)) if expected else None
    if not mine:
        return row | {"measured": None}
    row["measured"] = _measured(mine, baseline)
    row["curves"] = {"length": _by_length(mine), "rounds": _by_rounds(mine)}
    if variant == BASELINE:
        return row
    checks = criteria(*_against(mine, baseline), row["measured"])
    row["criteria"] = {check.name: check.as_json() for check in checks}
    row["verdict"] = verdict(checks, len(pairs_of(*_against(mine, baseline))))
    parent = next((rung.parent for name, rung in RUNGS.items() if name == variant), None)
    if parent is not None and by_variant.get(parent):
        row["parent"] = {"name": parent, **_parent(mine, by_variant[parent])}
    return row


def _against(mine: list[Found], others: list[Found]) -> tuple[dict[int, Any], dict[int, Any]]:
    return {one.rung[1]: one.results for one in mine}, {one.rung[1]: one.results for one in others}


def _parent(mine: list[Found], parents: list[Found]) -> dict[str, Any]:
    checks: list[Criterion] = criteria(*_against(mine, parents), {})
    return {check.name: check.difference for check in checks if check.difference is not None}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _measured(mine: list[Found], baseline: list[Found]) -> dict[str, Any]:
    costs = [_cost(one) for one in mine]
    both = {one.rung[1] for one in mine} & {one.rung[1] for one in baseline}
    ours, theirs = ([one for one in side if one.rung[1] in both] for side in (mine, baseline))

    def ratio(key: str) -> float | None:
        above, below = (_mean([_cost(one)[key] for one in side]) for side in (ours, theirs))
        return above / below if above and below else None

    def mean(*path: str) -> float | None:
        return _mean([_at(one.results, *path) for one in mine])

    return {
        "algorithmic": mean("algorithmic", "iid_accuracy"),
        "ood": mean("algorithmic", "ood_accuracy"),
        "parity_32": _mean([_condition(one, "parity", PARITY_LENGTH) for one in mine]),
        "needle_2k": _mean([_needle(one) for one in mine]),
        "perplexity": mean("ppl", "perplexity"),
        "bits_per_byte": mean("ppl", "bits_per_byte"),
        "repetition": mean("ppl", "repetition", "generated"),
        "reference_repetition": mean("ppl", "repetition", "reference"),
        "parameters": mean("meta", "model", "parameters"),
        "seconds": _mean([cost["seconds"] for cost in costs]),
        "flops": _mean([cost["flops"] for cost in costs]),
        "time": ratio("seconds"),
        "one_device": len({_device(one) for one in (*ours, *theirs)}) == 1,
        "flops_ratio": ratio("flops"),
        "per_task_iid": _tasks(mine, "per_task_iid"),
        "per_task_ood": _tasks(mine, "per_task_ood"),
        "by_seed": [
            {"seed": one.rung[1], "iid": _at(one.results, "algorithmic", "iid_accuracy"),
             "ood": _at(one.results, "algorithmic", "ood_accuracy"), **cost}
            for one, cost in zip(mine, costs, strict=True)
        ],
    }  # fmt: skip


def _device(one: Found) -> str:
    return json.dumps(one.environment.get("device"), sort_keys=True)


def _tasks(mine: list[Found], key: str) -> dict[str, float | None]:
    tasks = dict.fromkeys(task for one in mine for task in one.results["algorithmic"][key])
    return {task: _mean([one.results["algorithmic"][key].get(task) for one in mine]) for task in tasks}


def _cost(one: Found) -> dict[str, Any]:
    """Return what training took: seconds, operations, tokens."""
    return {
        "seconds": one.train[-1].get("seconds"),
        "flops": sum(line.get("flops", 0.0) for line in one.train) or None,
        "tokens": one.train[-1].get("tokens"),
    }


def _at(content: Any, *path: str) -> float | None:
    for key in path:
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, int | float) else None


def _condition(one: Found, task: str, length: int) -> float | None:
    conditions = one.results["algorithmic"]["conditions"]
    return next((c["accuracy"] for c in conditions if c["task"] == task and c["length"] == length), None)


def _needle(one: Found) -> float | None:
    for context in (one.results.get("longctx") or {}).get("per_context", []):
        if context["context_length"] == NEEDLE_LENGTH:
            return _at(context, "metrics", "retrieval_accuracy")
    return None


def _by_length(mine: list[Found]) -> dict[str, list[tuple[int, float]]]:
    """Return accuracy against length, per task: the mean over seeds, and over conditions of one length."""
    values: dict[str, dict[int, list[float]]] = {}
    for one in mine:
        for condition in one.results["algorithmic"]["conditions"]:
            task = values.setdefault(condition["task"], {})
            task.setdefault(condition["length"], []).append(condition["accuracy"])
    return {
        task: [(length, sum(found) / len(found)) for length, found in sorted(lengths.items())]
        for task, lengths in values.items()
    }


def _by_rounds(mine: list[Found]) -> list[tuple[int, float]]:
    values: dict[int, list[float]] = {}
    for one in mine:
        for entry in (one.results.get("depth") or {}).get("rounds", []):
            values.setdefault(entry["rounds"], []).append(entry["overall_accuracy"])
    return [(rounds, sum(found) / len(found)) for rounds, found in sorted(values.items())]
