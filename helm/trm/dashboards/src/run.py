"""The dashboard Run: what one run, or a few side by side, is doing, learns, and costs."""

from grafana_foundation_sdk.builders import dashboard, stat
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model

from helm.trm.dashboards.src.parts import (
    FIRING,
    GREEN,
    NOUGHT,
    RED,
    YELLOW,
    Ask,
    Board,
    Column,
    Panel,
    choices,
    coloured,
    curves,
    latest,
    linked,
    mark,
    number,
    of,
    rows,
    state_names,
    thresholds,
    timeline,
)
from helm.trm.dashboards.src.run_machine import add_machine_rows
from helm.trm.dashboards.src.run_recursion import add_recursion

REPORT = "${store_url}${__data.fields.Place}/report.html"


def run_board() -> dashboard.Dashboard:
    """Return the dashboard."""
    board = Board(
        "trm-run",
        "TRM / Run",
        "One run, or several side by side: state, learning, recursion, stability, speed, memory, checkpoints.",
        "now-3h",
    )
    add_state(board)
    add_learning(board)
    add_recursion(board)
    add_stability(board)
    add_machine_rows(board)
    return board.build([*choices(), store_url()], marks())


def store_url() -> dashboard.TextBoxVariable:
    """Return the variable that says where a browser finds what lies in the store."""
    return (
        dashboard.TextBoxVariable("store_url")
        .label("Store in the browser")
        .description("What stands before bucket/prefix/name/id in a browser's address, with a slash at its end.")
        .default_value("https://s3.amazonaws.com/")
        .current(
            model.VariableOption(selected=True, text="https://s3.amazonaws.com/", value="https://s3.amazonaws.com/")
        )
    )


def marks() -> list[dashboard.AnnotationQuery]:
    """Return what is marked on all curves: checkpoints, starts, and alerts."""
    return [
        mark(
            "Checkpoint",
            f"{of('trm_checkpoint_timestamp_seconds')} * 1000 and {of('trm_checkpoint_saved_total')} > 0",
            "blue",
        ),
        mark(
            "Restart",
            "run:trm_run_attempts:max{RUN} > max_over_time(run:trm_run_attempts:max{RUN}[6h] offset $__interval)",
            "orange",
        ),
        mark("Alert", of("ALERTS", FIRING, "alertname"), "red"),
    ]


def add_state(board: Board) -> None:
    """Add what is going on now."""
    board.row("Now", *((panel, 3, 4) for panel in [*numbers(), *risks()]), (states(), 12, 6), (what_runs(), 12, 6))


def numbers() -> list[stat.Panel]:
    """Return the large numbers that say how far the run is."""
    state = number(
        "State", "What the run does now, or did last in the time shown.", "none", Ask("run:trm_run_state:code{RUN}")
    )
    progress = number(
        "Progress",
        "Part of the updates of the whole training that is made.",
        "percentunit",
        Ask(of("trm_train_progress_ratio")),
        line=True,
    )
    left = number(
        "Time left",
        "Until the last update, at the pace of the last lines of log. Evaluations and checkpoints come on top.",
        "s",
        Ask(of("trm_train_remaining_seconds")),
    )
    last = number(
        "Last update",
        "How long ago the last update was made. It grows during evaluations; while the run trains, it should be no "
        "more "
        "than a few updates' time.",
        "s",
        Ask("time() - run:trm_last_step_timestamp_seconds:max{RUN}"),
    )
    best = number(
        "Best score",
        "Best value so far of evaluate.best_metric; its checkpoint is kept.",
        "percentunit",
        Ask(of("trm_eval_best_ratio")),
        line=True,
    )
    return [
        state.mappings(state_names()).color_mode(looks.BigValueColorMode.BACKGROUND),
        progress.min(0).max(1).decimals(1),
        left,
        last.thresholds(thresholds((None, GREEN), (300, YELLOW), (900, RED))),
        best.decimals(1),
    ]


def risks() -> list[stat.Panel]:
    """Return the large numbers that should be small."""
    attempts = number(
        "Attempts",
        "Starts of the run, the first one included. More than one: a pod failed, was drained, or was preempted.",
        "none",
        Ask("run:trm_run_attempts:max{RUN}"),
    )
    age = number(
        "Checkpoint age",
        "Time since the newest checkpoint, or since the process began: so much work is lost if the pod goes now. "
        "Compare "
        "with the panel on checkpoints below.",
        "s",
        Ask("time() - " + of("trm_checkpoint_timestamp_seconds")),
    )
    alerts = number(
        "Alerts",
        "Alerts that fire for the run. The list of them, with their pages, is in docs/runbooks.",
        "none",
        Ask(of("ALERTS", FIRING, how="count") + " or " + NOUGHT),
    )
    return [
        attempts.thresholds(thresholds((None, GREEN), (2, YELLOW), (5, RED))),
        age.thresholds(thresholds((None, GREEN), (3600, YELLOW), (4 * 3600, RED))),
        alerts.thresholds(thresholds((None, GREEN), (1, RED))),
    ]


def states() -> Panel:
    """Return what each run was doing over time."""
    return timeline(
        "States",
        "What the run was doing. Gaps: no pod of it was there, because it waited, was paused, or was being made anew.",
        Ask("run:trm_run_state:code{RUN}"),
    )


def what_runs() -> Panel:
    """Return the table of what is running, with the way to its report."""
    return rows(
        "What runs",
        "Version, commit and image of the code, and the run's place in its store. A click on the place opens the "
        "report "
        "there, once the run wrote it; the box at the top says how a browser reaches the store.",
        [
            Column("run", "Run"),
            Column("Value #B", "Weights", "short"),
            Column("Value #C", "Update", "locale"),
            Column("Value #D", "of", "locale"),
            Column("family", "Family"),
            Column("version", "Version"),
            Column("commit", "Commit"),
            Column("image", "Image"),
            Column("place", "Place", look=[linked("Open the report", REPORT, new_tab=True)]),
        ],
        Ask(
            f"label_replace({latest('trm_run_info', by='family, version, commit, image, store')}, "
            '"place", "$1", "store", "(?:[a-z0-9]+://)?(.*)")'
        ),
        Ask(latest("trm_model_parameters")),
        Ask(latest("trm_train_step")),
        Ask(latest("trm_train_total_steps")),
    )


def add_learning(board: Board) -> None:
    """Add loss and accuracy."""
    loss = curves(
        "Loss",
        "Mean over rows and supervision steps. Test: of the averaged weights, on the rows of an evaluation.",
        "none",
        Ask(of("trm_train_loss", 'part="total"'), "{{run}} train"),
        Ask(of("trm_eval_loss", 'part="total"'), "{{run}} test"),
        log=True,
    )
    accuracy = curves(
        "Accuracy",
        "Token: cells that are right. Exact: rows of which every cell is right, what counts in the end. Train: rows "
        "that "
        "became final. Test: of the averaged weights.",
        "percentunit",
        Ask(of("trm_train_accuracy_ratio", by="level"), "{{run}} train {{level}}"),
        Ask("run:trm_eval_accuracy:max{RUN}", "{{run}} test {{level}}"),
    )
    parts = curves(
        "Parts of the loss",
        "What the loss is the sum of, with the names of the model family: `lm` for the cells, `q_halt` for knowing "
        "when to "
        "stop. `total` is left out.",
        "none",
        Ask(of("trm_train_loss", 'part!="total"', "part"), "{{run}} train {{part}}"),
        Ask(of("trm_eval_loss", 'part!="total"', "part"), "{{run}} test {{part}}"),
        log=True,
    )
    scores = rows(
        "Scores at the end",
        "The whole test set, scored after the last update, and the scores of the data set's own evaluator (pass@2, "
        "valid "
        "paths). Empty until the run's stage `evaluate` is done; language models show what they have so far.",
        [
            Column("run", "Run"),
            Column("score", "Score"),
            Column("Value", "Value", "percentunit", coloured((None, RED), (0.2, YELLOW), (0.6, GREEN))),
        ],
        Ask(
            f"label_replace({latest('trm_test_accuracy_ratio', by='level')}, "
            '"score", "$1 accuracy", "level", "(.*)") '
            f"or label_replace({latest('trm_test_score_ratio', by='metric')}, "
            '"score", "$1", "metric", "(.*)") '
            f"or label_replace({latest('trm_eval_score_ratio', by='metric')}, "
            '"score", "$1 so far", "metric", "(.*)")'
        ),
    )
    board.row(
        "Learning",
        (loss, 12, 9),
        (accuracy.min(0).max(1), 12, 9),
        (parts, 12, 8),
        (scores, 6, 8),
        (evaluations(), 6, 8),
    )


def evaluations() -> Panel:
    """Return the table of the last evaluations."""
    return rows(
        "Last evaluation",
        "Update after which the run was evaluated last, and on how many test rows: few rows make a rough curve.",
        [Column("run", "Run"), Column("Value #A", "After update", "locale"), Column("Value #B", "Rows", "locale")],
        Ask(latest("trm_eval_step")),
        Ask(latest("trm_eval_rows")),
    )


def add_stability(board: Board) -> None:
    """Add what tells a healthy training from one about to diverge."""
    gradient = curves(
        "Gradient norm",
        "Before clipping, mean since the last line of log. Spikes that come back are fine; a steady rise precedes NaN.",
        "none",
        Ask(of("trm_train_gradient_norm")),
        log=True,
    )
    weights = curves("Weight norm", "Norm of all trained weights.", "none", Ask(of("trm_train_weight_norm")))
    update = curves(
        "Update norm / weight norm",
        "How much of the weights an update changes. About 0.001 is usual; much more is unstable, much less learns "
        "nothing.",
        "none",
        Ask(of("trm_train_update_norm") + " / " + of("trm_train_weight_norm")),
        log=True,
    )
    rate = curves("Learning rate", "Of the weights, by the schedule.", "none", Ask(of("trm_train_learning_rate")))
    gap = curves(
        "Distance to the averaged weights",
        "Between the weights and their average, as a part of the weights' norm. It shrinks as training settles.",
        "percentunit",
        Ask(of("trm_train_ema_gap_ratio")),
    )
    bad = number(
        "Updates that were not finite",
        "Updates with NaN or infinity in the gradient. One ends the run; the last good checkpoint stays.",
        "none",
        Ask(f"{of('trm_train_nonfinite_total')} or {NOUGHT}"),
    )
    board.row(
        "Stability",
        (gradient, 8, 8),
        (update, 8, 8),
        (weights, 8, 8),
        (rate, 8, 7),
        (gap.min(0), 8, 7),
        (bad.thresholds(thresholds((None, GREEN), (1, RED))), 8, 7),
    )
