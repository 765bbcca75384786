"""Every metric of a run, declared once: what Prometheus scrapes, what `metrics.jsonl` calls it, and what it means.

The endpoint, the reference page, the dashboards and their tests are made from this table. Names have the prefix `trm_`
and base units (seconds, bytes, ratios from 0 to 1). `run` and `namespace` are no labels here: they come by relabelling
from the pod's labels, once for all metrics.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Type = Literal["gauge", "counter", "info"]
Where = Literal["first", "machine"]

STATES = ("starting", "training", "evaluating", "saving", "publishing", "finished", "failed")
"""What a run's first process is doing; exactly one `trm_run_state` is 1."""
PHASES = ("data", "forward", "backward", "all_reduce", "optimizer", "checkpoint", "evaluation", "other")
"""What the time of training goes into; together they are all of it."""
LABELS = {
    "part": "part of the loss: `total`, or a name of the model family's own, as `lm` and `q_halt`",
    "level": "`token`: cells that are right; `exact`: rows of which every cell is right",
    "depth": "supervision step, from 1 on; at most 16 of them, the last one among them",
    "bin": "tenth of the q-head's probability, by its upper end: `0.1` to `1.0`",
    "phase": "one of " + ", ".join(f"`{phase}`" for phase in PHASES),
    "state": "one of " + ", ".join(f"`{state}`" for state in STATES),
    "metric": "name of a score of the evaluator's own, as `pass@2` or `parity`",
    "kind": "of memory: `allocated`, `reserved` or `peak`",
    "basis": "where a peak is from: `datasheet` or `measured`",
    "version": "version of this project",
    "commit": "commit that the code is of",
    "image": "container image",
    "family": "model family",
    "store": "address of the run in its store",
}
"""The only labels there are, and their meaning. Nothing without bounds: no update, loss, pod or path."""
MOST_SERIES = 200
"""Time series of a pod, at most."""
MOST_DEPTHS = 16


@dataclass(frozen=True)
class Source:
    """Where a value stands in `metrics.jsonl`: under `key`, in the lines of `kind`; those of `test` are in `eval.json`.

    `{part}` in a key stands for what the label `part` says. A key whose value is a list gives one series an entry,
    with the label `each`; an entry that is null gives none.
    """

    kind: str
    key: str
    labels: tuple[tuple[str, str], ...] = ()
    each: str | None = None


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str
    type: Type
    unit: str
    """`seconds`, `bytes`, `ratio`, `rows`, `updates`, `flops` (operations), `flops/s`, or empty."""
    where: Where
    """Which processes export it: the `first` of the run, or the first one of every `machine`."""
    help: str
    labels: tuple[str, ...] = ()
    log: tuple[Source, ...] = ()
    """A counter's value in a line is what came on top since the line before; lines of `run` say the total."""


def _train(key: str, **labels: str) -> Source:
    return Source("train", key, tuple(labels.items()))


def _eval(key: str, each: str | None = None, **labels: str) -> Source:
    return Source("eval", key, tuple(labels.items()), each)


# fmt: off
TABLE: tuple[Metric, ...] = (
    # The run
    Metric("trm_run_info", "info", "", "first",
           "What is running; always 1.", ("version", "commit", "image", "family", "store")),
    Metric("trm_run_state", "gauge", "", "first", "1 for what the run is doing now, else 0.", ("state",)),
    Metric("trm_run_attempts_total", "counter", "", "first",
           "Starts of the run so far, this one included.", (), (Source("run", "attempt"),)),
    Metric("trm_train_step", "gauge", "updates", "first", "Updates made.", (), (_train("step"),)),
    Metric("trm_train_total_steps", "gauge", "updates", "first",
           "Updates of the whole training.", (), (_train("total_steps"),)),
    Metric("trm_train_progress_ratio", "gauge", "ratio", "first",
           "Part of the updates that is made.", (), (_train("progress"),)),
    Metric("trm_train_remaining_seconds", "gauge", "seconds", "first",
           "Time until the last update, at the pace of the last lines of log.", (), (_train("remaining_seconds"),)),
    # Learning
    Metric("trm_train_loss", "gauge", "", "first",
           "Loss on training rows: mean over rows and supervision steps since the last line of log.",
           ("part",), (_train("loss", part="total"), _train("{part}_loss"))),
    Metric("trm_train_accuracy_ratio", "gauge", "ratio", "first",
           "Accuracy of training rows that became final.",
           ("level",), (_train("accuracy", level="token"), _train("exact_accuracy", level="exact"))),
    Metric("trm_eval_step", "gauge", "updates", "first",
           "Update after which was evaluated last.", (), (_eval("step"),)),
    Metric("trm_eval_rows", "gauge", "rows", "first", "Test rows of the last evaluation.", (), (_eval("count"),)),
    Metric("trm_eval_loss", "gauge", "", "first",
           "Loss on test rows, of the averaged weights: mean over rows and supervision steps.",
           ("part",), (_eval("loss", part="total"), _eval("{part}_loss"))),
    Metric("trm_eval_accuracy_ratio", "gauge", "ratio", "first",
           "Accuracy of test rows, of the averaged weights.",
           ("level",), (_eval("accuracy", level="token"), _eval("exact_accuracy", level="exact"))),
    Metric("trm_eval_score_ratio", "gauge", "ratio", "first",
           "Scores of test items by what they are: in or out of distribution, or of a task.",
           ("metric",), (_eval("score/{metric}"),)),
    Metric("trm_eval_best_ratio", "gauge", "ratio", "first",
           "Best value so far of evaluate.best_metric.", (), (_eval("best"),)),
    Metric("trm_test_accuracy_ratio", "gauge", "ratio", "first",
           "Accuracy of the whole test set, scored at the end.",
           ("level",),
           (Source("test", "accuracy", (("level", "token"),)),
            Source("test", "exact_accuracy", (("level", "exact"),)))),
    Metric("trm_test_score_ratio", "gauge", "ratio", "first",
           "Scores of the data set's own evaluator, at the end.", ("metric",), (Source("test", "score/{metric}"),)),
    # Recursion
    Metric("trm_train_halt_depth", "gauge", "", "first",
           "Supervision steps that training rows had when they became final, in the mean.", (), (_train("steps"),)),
    Metric("trm_train_q_halt_accuracy_ratio", "gauge", "ratio", "first",
           "Training rows of which the q-head knew whether they were right, when they became final.",
           (), (_train("q_halt_accuracy"),)),
    Metric("trm_eval_accuracy_by_depth_ratio", "gauge", "ratio", "first",
           "Accuracy of test rows after each supervision step.",
           ("level", "depth"),
           (_eval("accuracy_by_depth", "depth", level="token"),
            _eval("exact_accuracy_by_depth", "depth", level="exact"))),
    Metric("trm_eval_halt_depth", "gauge", "", "first",
           "Supervision step after which the q-head would first halt a test row, in the mean; the last if never.",
           (), (_eval("halt_depth"),)),
    Metric("trm_eval_halted_ratio", "gauge", "ratio", "first",
           "Test rows that the q-head would have halted by a supervision step.",
           ("depth",), (_eval("halted_by_depth", "depth"),)),
    Metric("trm_eval_q_halt_accuracy_ratio", "gauge", "ratio", "first",
           "Test rows of which the q-head knew whether the answer was right.", (), (_eval("q_halt_accuracy"),)),
    Metric("trm_eval_q_halt_calibration_error_ratio", "gauge", "ratio", "first",
           "Expected calibration error of the q-head on test rows.", (), (_eval("q_halt_calibration_error"),)),
    Metric("trm_eval_q_halt_predicted_ratio", "gauge", "ratio", "first",
           "Mean probability that the q-head gave, of test rows in a tenth of it.",
           ("bin",), (_eval("q_halt_predicted", "bin"),)),
    Metric("trm_eval_q_halt_observed_ratio", "gauge", "ratio", "first",
           "Test rows in a tenth of the q-head's probability whose answer was right.",
           ("bin",), (_eval("q_halt_observed", "bin"),)),
    Metric("trm_eval_q_halt_rows", "gauge", "rows", "first",
           "Test rows in a tenth of the q-head's probability.", ("bin",), (_eval("q_halt_rows", "bin"),)),
    # Stability
    Metric("trm_train_learning_rate", "gauge", "", "first", "Learning rate of the weights.", (), (_train("lr"),)),
    Metric("trm_train_gradient_norm", "gauge", "", "first",
           "Norm of the gradient before clipping, mean since the last line of log.", (), (_train("grad_norm"),)),
    Metric("trm_train_weight_norm", "gauge", "", "first",
           "Norm of all trained weights.", (), (_train("weight_norm"),)),
    Metric("trm_train_update_norm", "gauge", "", "first",
           "Norm of the last logged update's change of the weights.", (), (_train("update_norm"),)),
    Metric("trm_train_ema_gap_ratio", "gauge", "ratio", "first",
           "Distance between the weights and their average, as a part of the weights' norm.",
           (), (_train("ema_gap"),)),
    Metric("trm_train_nonfinite_total", "counter", "updates", "first",
           "Updates whose gradient was not finite.", (), (Source("stopped", "nonfinite"),)),
    # Speed
    Metric("trm_time_seconds_total", "counter", "seconds", "machine",
           "Time of training by what it went into; waiting for others counts where it happens, mostly as all_reduce.",
           ("phase",), (_train("{phase}_seconds"),)),
    Metric("trm_train_step_seconds", "gauge", "seconds", "machine",
           "Time of an update without checkpoints and evaluations, mean since the last line of log.",
           (), (_train("step_seconds"),)),
    Metric("trm_train_updates_total", "counter", "updates", "machine",
           "Updates made since this process began.", (), (_train("updates"),)),
    Metric("trm_train_rows_total", "counter", "rows", "machine",
           "Rows worked on by this machine, each once a supervision step.", (), (_train("rows"),)),
    Metric("trm_last_step_timestamp_seconds", "gauge", "seconds", "machine",
           "When the last update was made, in seconds since 1970."),
    Metric("trm_model_parameters", "gauge", "", "first",
           "Trained weights, the puzzle table not among them.", (), (Source("run", "parameters"),)),
    Metric("trm_model_flops_total", "counter", "flops", "first",
           "Operations of the model's training steps, on all machines; a multiply-add is two.",
           (), (_train("flops"),)),
    Metric("trm_machine_peak_flops", "gauge", "flops/s", "machine",
           "Operations a second that the devices in use could do at best.", ("basis",)),
    Metric("trm_machine_gpus", "gauge", "", "machine", "GPUs in use by this machine's processes."),
    Metric("trm_train_mfu_ratio", "gauge", "ratio", "first",
           "Model FLOPs utilisation: operations of the model a second, as a part of the peak of all machines.",
           (), (_train("mfu"),)),
    # Memory
    Metric("trm_memory_used_bytes", "gauge", "bytes", "machine",
           "Memory of the container, or of this process where there is none.", (), (_train("memory_bytes"),)),
    Metric("trm_memory_limit_bytes", "gauge", "bytes", "machine",
           "Most memory the container, or else this machine, may use."),
    Metric("trm_gpu_memory_bytes", "gauge", "bytes", "machine",
           "GPU memory of this machine's first process.", ("kind",), (_train("gpu_memory_{kind}_bytes"),)),
    Metric("trm_gpu_memory_limit_bytes", "gauge", "bytes", "machine",
           "Memory of the GPU of this machine's first process."),
    # Checkpoints and store
    Metric("trm_checkpoint_step", "gauge", "updates", "first",
           "Update that the newest checkpoint is of.", (), (Source("checkpoint", "step"),)),
    Metric("trm_checkpoint_timestamp_seconds", "gauge", "seconds", "first",
           "When the newest checkpoint was saved, or this process began, in seconds since 1970.",
           (), (Source("checkpoint", "time"),)),
    Metric("trm_checkpoint_interval_seconds", "gauge", "seconds", "first",
           "Time expected between two checkpoints, by the run file and the pace; 0: only the last is saved."),
    Metric("trm_checkpoint_duration_seconds", "gauge", "seconds", "first",
           "Time that saving the newest checkpoint took.", (), (Source("checkpoint", "duration_seconds"),)),
    Metric("trm_checkpoint_bytes", "gauge", "bytes", "first",
           "Size of the newest checkpoint.", (), (Source("checkpoint", "bytes"),)),
    Metric("trm_checkpoint_saved_total", "counter", "", "first",
           "Checkpoints saved since this process began.", (), (Source("checkpoint", "saved"),)),
    Metric("trm_checkpoint_failures_total", "counter", "", "first",
           "Checkpoints that could not be saved.", (), (Source("checkpoint_failed", "failures"),)),
    Metric("trm_store_up", "gauge", "", "first", "1 while the store answers, else 0.", (), (Source("store", "up"),)),
    Metric("trm_store_pending_bytes", "gauge", "bytes", "first",
           "Size of the checkpoints that wait to be published.", (), (Source("store", "pending_bytes"),)),
    Metric("trm_store_pending_checkpoints", "gauge", "", "first",
           "Checkpoints that wait to be published.", (), (Source("store", "pending_checkpoints"),)),
    Metric("trm_store_failures_total", "counter", "", "first",
           "Failed attempts to publish.", (), (Source("store", "failures"),)),
    Metric("trm_store_published_timestamp_seconds", "gauge", "seconds", "first",
           "When the newest checkpoint was published, or publishing began, in seconds since 1970.",
           (), (Source("store", "published_time"),)),
)
# fmt: on
"""All metrics, in the order of the reference page."""

BY_NAME = {metric.name: metric for metric in TABLE}


def exported(where: Where) -> Iterator[Metric]:
    """Yield the metrics that the first process of the run (`first`) or of another machine (`machine`) exports."""
    return (metric for metric in TABLE if where == "first" or metric.where == "machine")
