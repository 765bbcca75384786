"""The reference page of the metrics, from the table that declares them."""

from trmkit import controller_metrics
from trmkit.metrics import LABELS, MOST_SERIES, PHASES, STATES, TABLE, Metric, Source

TEXT = f"""\
# Metrics

What a run says of itself while it trains: to Prometheus on `/metrics`, and in `metrics.jsonl` beside its checkpoints.
Both are filled from the table below (`trmkit/metrics.py`), and so are the dashboards' tests. `docs/observe.md` tells
how to scrape, draw and be warned.

* **first**: exported by the first process of the run alone. **machine**: by the first process of every machine.
* `run` and `namespace` are no labels of the metrics themselves: they come by relabelling from the pod's labels, as do
  `user`, `pod` and `node`.
* A process has at most {MOST_SERIES} time series. There are no `_created` series.
* Numbers are taken every `train.log.every_steps` updates, because reading them waits for the device;
  `trm_last_step_timestamp_seconds` moves with every update, memory and the store are looked at when they are scraped.

## In `metrics.jsonl`

One JSON object a line, with `kind`, `step`, `time` (seconds since 1970) and the keys below. Lines of work that is
repeated after a restart are dropped, so the file tells each update once. Of metrics of a *machine* it has those of the
first. A counter's value in a line is what came on top since the line before. Values by supervision step or by tenth are
lists; a tenth without rows is null. Kinds: `run` (a start), `train`, `eval` (an evaluation during training),
`checkpoint`, `checkpoint_failed`, `store`, `stopped` (a gradient was not finite). Lines of `train` also have each part
of the model's loss by its own name, `rows_per_second` and `seconds` (of training so far), those of `eval` the mean
number of `steps`.
What the table calls `test` stands in `eval.json`.
"""


def metrics_page(note: str) -> str:
    """Return the page."""
    parts = [note, TEXT, "## All of them\n"]
    parts.append(
        "| metric | type | unit | exported by | labels | in `metrics.jsonl` | meaning |\n|---|---|---|---|---|---|---|"
    )
    parts.append("\n".join(map(_row, TABLE)) + "\n")
    parts.append("## Labels\n\n| label | meaning |\n|---|---|")
    parts.append("\n".join(f"| `{name}` | {meaning} |" for name, meaning in LABELS.items()) + "\n")
    parts.append(f"States: {', '.join(STATES)}. Phases: {', '.join(PHASES)}; together they are all the time there was.")
    parts.append(
        "\n## The controller\n\nOf TrmRuns (`trmkit/controller_metrics.py`), on port "
        f"{controller_metrics.PORT} of its pods.\n\n| metric | type | labels | meaning |\n|---|---|---|---|"
    )
    for one in controller_metrics.TABLE:
        labels = ", ".join(f"`{label}`" for label in one.labels) or "–"
        parts.append(f"| `{one.name}` | {one.type} | {labels} | {one.help} |")
    parts.append("\n| label | meaning |\n|---|---|")
    parts += [f"| `{name}` | {meaning} |" for name, meaning in controller_metrics.LABELS.items()]
    return "\n".join(parts) + "\n"


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
    places = ", ".join(_place(source) for source in metric.log) or "–"
    cells = (f"`{metric.name}`", metric.type, metric.unit or "–", metric.where, labels, places, metric.help)
    return "| " + " | ".join(cells) + " |"


def _place(source: Source) -> str:
    given = ", ".join(value for _, value in source.labels)
    return f"{source.kind}: `{source.key}`" + (f" ({given})" if given else "")
