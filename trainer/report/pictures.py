"""Files of a language model's run for notebooks and papers: `metrics.json`, `summary.json`, `loss.png`, `accuracy.png`.

They are made from `metrics.jsonl` and the results, which have everything; and made anew after every evaluation.
"""

import io
import json
from typing import Any

from trainer.metrics import read_lines
from trmkit.spec.load import load
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

SCORE = "score/"


def write_pictures(directory: RunDirectory, newest: dict[str, Any] | None = None) -> None:
    """Write the four files; `newest` is a line of log that is about to be written."""
    lines = [*read_lines(directory.metrics), *([newest] if newest else [])]
    train = [line for line in lines if line["kind"] == "train"]
    tests = [line for line in lines if line["kind"] == "eval"]
    write_whole(directory.root / "metrics.json", json.dumps({"train": train, "eval": tests}))
    write_whole(directory.root / "summary.json", json.dumps(_summary(directory, train, tests), indent=1))
    losses = {"training": [(line["step"], line["lm_loss"]) for line in train if "lm_loss" in line]}
    _draw(directory, "loss.png", losses, "loss of a label (nats)", log=True)
    names = dict.fromkeys(name for line in tests for name in line if name.startswith(SCORE))
    scores = {
        name.removeprefix(SCORE): [(line["step"], line[name]) for line in tests if name in line] for name in names
    }
    _draw(directory, "accuracy.png", scores, "items right", log=False)


def _summary(directory: RunDirectory, train: list[dict[str, Any]], tests: list[dict[str, Any]]) -> dict[str, Any]:
    run = load(directory.run_file) if directory.run_file.is_file() else None
    results = directory.results("all")
    final = json.loads(results.read_bytes()) if results.is_file() else {}
    found = final.get("algorithmic") or {}
    last = train[-1] if train else {}
    return {
        "name": run.name if run else directory.root.parent.name,
        "run": directory.root.name,
        "model": run.model.model_dump(mode="json") if run else {},
        "step": last.get("step", 0),
        "tokens": last.get("tokens"),
        "seconds": last.get("seconds"),
        "loss": last.get("lm_loss"),
        "last_evaluation": tests[-1] if tests else None,
        "best": max((line["exact_accuracy"] for line in tests), default=None),
        "final": {
            **{
                key: found.get(key) for key in ("overall_accuracy", "iid_accuracy", "ood_accuracy", "per_task_accuracy")
            },
            "needle": (final.get("longctx") or {}).get("auc"),
            "perplexity": (final.get("ppl") or {}).get("perplexity"),
            "bits_per_byte": (final.get("ppl") or {}).get("bits_per_byte"),
        },
    }


def _draw(
    directory: RunDirectory, name: str, curves: dict[str, list[tuple[int, float]]], title: str, *, log: bool
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for label, points in curves.items():
        axes.plot([x for x, _ in points], [y for _, y in points], label=label, lw=1.5)
    axes.set(xlabel="update", ylabel=title)
    axes.grid(alpha=0.3)
    if log and any(y > 0 for points in curves.values() for _, y in points):
        axes.set_yscale("log")
    if not log:
        axes.set_ylim(-0.02, 1.02)
    if any(curves.values()):
        axes.legend(frameon=False, fontsize=8)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)  # type: ignore[no-untyped-call]
    write_whole(directory.root / name, content.getvalue())
