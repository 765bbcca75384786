"""The dashboard Fleet: all runs of a cluster, what they cost, and what of it is for nothing."""

from grafana_foundation_sdk.builders import common, dashboard, stat
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model

from helm.trm.dashboards.src.controller import add_controller
from helm.trm.dashboards.src.parts import (
    BLUE,
    FIRING,
    GREEN,
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
    ranking,
    rows,
    state_names,
    thresholds,
)

CODE = "run:trm_run_state:code{RUN}"
RUN_PAGE = "/d/trm-run?var-run=${__data.fields.Run}&var-namespace=${__data.fields.Namespace}&${__url_time_range}"
HOURS = "/ 60"
"""A sum over the minutes of a range, in hours."""


def fleet_board() -> dashboard.Dashboard:
    """Return the dashboard."""
    board = Board(
        "trm-fleet",
        "TRM / Fleet",
        "All runs: what runs, waits and failed, GPU-hours by run and by user, what of them was for nothing, and the "
        "queue.",
        "now-24h",
    )
    board.row("Now", *((panel, 3, 4) for panel in numbers()))
    board.row("All runs", (runs(), 24, 10), (alerts(), 24, 6))
    add_hours(board)
    add_waste(board)
    add_signs(board)
    add_queue(board)
    add_controller(board)
    marks = [mark("Alert", of("ALERTS", FIRING, "alertname"), "red")]
    return board.build(choices(), marks)


def numbers() -> list[stat.Panel]:
    """Return the row of large numbers, left to right."""
    asked = [
        (
            "Running",
            "Runs that train, evaluate, save or publish now.",
            f"count({CODE} >= 2 and {CODE} <= 5) or vector(0)",
            BLUE,
        ),
        (
            "Starting",
            "Runs that build their data, resume, or wait for their other machines.",
            f"count({CODE} == 1) or vector(0)",
            BLUE,
        ),
        (
            "Queued",
            "Workloads that wait in Kueue's queues, of all namespaces; those that can never be admitted are among "
            "them. 0 "
            "without Kueue.",
            "sum(kueue_pending_workloads) or vector(0)",
            YELLOW,
        ),
        (
            "Finished",
            "Runs that said within the time shown that they are done.",
            'count(max_over_time(run:trm_run_state:max{RUN, state="finished"}[$__range]) == 1) or vector(0)',
            GREEN,
        ),
        (
            "Failed",
            "Runs that said within the time shown that they failed, for this attempt at least.",
            'count(max_over_time(run:trm_run_state:max{RUN, state="failed"}[$__range]) == 1) or vector(0)',
            RED,
        ),
        ("GPUs held", "GPUs that runs hold now.", "sum(run:trm_machine_gpus:sum{RUN}) or vector(0)", BLUE),
        (
            "GPUs for nothing",
            "GPUs of runs that neither evaluate nor have made an update for ten minutes: they start, save, wait for a "
            "store, "
            "or stand still.",
            "sum(run:trm_machine_gpus_waiting:sum{RUN}) or vector(0)",
            RED,
        ),
        ("Alerts", "Alerts on runs that fire now.", "count(ALERTS{RUN, " + FIRING + "}) or vector(0)", RED),
    ]
    return [
        number(title, help, "none", Ask(expr, title.lower()), line=True).thresholds(
            thresholds((None, GREEN), (1, colour)) if colour != GREEN else thresholds((None, GREEN))
        )
        for title, help, expr, colour in asked
    ]


def runs() -> Panel:
    """Return the table of runs, with the way to each."""
    state = [
        model.DynamicConfigValue("mappings", state_names()),
        model.DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"}),
    ]
    bar = [
        model.DynamicConfigValue("custom.cellOptions", {"type": "gauge", "mode": "basic"}),
        model.DynamicConfigValue("max", 1),
        model.DynamicConfigValue("min", 0),
    ]
    table = rows(
        "Runs",
        "Every run that was there in the time shown, with its state then. A click on the name opens the run.",
        [
            Column("run", "Run", look=[linked("Open the run", RUN_PAGE)]),
            Column("namespace", "Namespace"),
            Column("user", "User"),
            Column("Value #A", "State", look=state),
            Column("Value #B", "Progress", "percentunit", bar),
            Column("Value #C", "Time left", "s"),
            Column("Value #D", "Last update", "s", coloured((None, GREEN), (600, YELLOW), (1800, RED))),
            Column("Value #E", "Best score", "percentunit"),
            Column("Value #F", "Attempts", "none", coloured((None, GREEN), (2, YELLOW), (5, RED))),
            Column("Value #G", "GPUs", "none"),
            Column("Value #H", "GPU-hours", "none"),
        ],
        Ask("last_over_time(run:trm_run_state:code{RUN}[$__range])"),
        Ask(latest("trm_train_progress_ratio")),
        Ask(of("trm_train_remaining_seconds")),
        Ask(f"time() - {latest('run:trm_last_step_timestamp_seconds:max')}"),
        Ask(latest("trm_eval_best_ratio")),
        Ask(latest("run:trm_run_attempts:max")),
        Ask(of("run:trm_machine_gpus:sum")),
        Ask(f"max by (namespace, run) (sum_over_time(run:trm_machine_gpus:sum{{RUN}}[$__range:1m])) {HOURS}"),
    )
    table.override_by_name("GPU-hours", [model.DynamicConfigValue("decimals", 1)])
    return table.sort_by([common.TableSortByFieldState().display_name("GPU-hours").desc(True)])


def alerts() -> Panel:
    """Return the table of what fires."""
    return rows(
        "Alerts that fire",
        "What each means and what to do is in docs/runbooks, one page an alert.",
        [
            Column("alertname", "Alert"),
            Column("severity", "Severity"),
            Column("run", "Run", look=[linked("Open the run", RUN_PAGE)]),
            Column("namespace", "Namespace"),
            Column("pod", "Pod"),
        ],
        Ask("ALERTS{RUN, " + FIRING + "}"),
    )


def add_hours(board: Board) -> None:
    """Add what runs and users spend."""
    by_run = ranking(
        "GPU-hours by run",
        "The twenty that held most in the time shown, idle or not.",
        "none",
        Ask(
            f"topk(20, sum by (namespace, run) (sum_over_time(run:trm_machine_gpus:sum{{RUN}}[$__range:1m])) {HOURS})",
            instant=True,
        ),
    )
    user = 'label_replace({}, "user", "nobody named", "user", "")'
    by_user = ranking(
        "GPU-hours by user",
        "By the user that a run says it is for.",
        "none",
        Ask(
            user.format(f"sum by (user) (sum_over_time(run:trm_machine_gpus:sum{{RUN}}[$__range:1m])) {HOURS}"),
            "{{user}}",
            instant=True,
        ),
    )
    runs = curves(
        "GPUs by run", "GPUs that each run holds.", "none", Ask("run:trm_machine_gpus:sum{RUN}"), stacked=True
    )
    users = curves(
        "GPUs by user",
        "GPUs that each user's runs hold.",
        "none",
        Ask(user.format("sum by (user) (run:trm_machine_gpus:sum{RUN})"), "{{user}}"),
        stacked=True,
    )
    rate = curves(
        "Rows a second, all runs",
        "What all machines together get done: rows, each counted once a supervision step.",
        "ops",
        Ask("run:trm_train_rows:rate5m{RUN}"),
        stacked=True,
    )
    board.row(
        "What it costs",
        (by_run.decimals(1), 8, 9),
        (by_user.decimals(1), 8, 9),
        (rate.min(0), 8, 9),
        (runs.min(0), 12, 8),
        (users.min(0), 12, 8),
    )


def add_waste(board: Board) -> None:
    """Add what was for nothing."""
    held = "sum by (namespace, run) (sum_over_time(run:trm_machine_gpus:sum{RUN}[$__range:1m]))"
    idle = "sum by (namespace, run) (sum_over_time(run:trm_machine_gpus_waiting:sum{RUN}[$__range:1m]))"
    share = number(
        "Share without progress",
        "GPU-hours in which runs neither made updates nor evaluated, as a part of all in the time shown. Empty "
        "without GPUs.",
        "percentunit",
        Ask(f"sum({idle}) / (sum({held}) > 0)", "share", instant=True),
    )
    waiting = ranking(
        "GPU-hours without progress",
        "Held while the run neither evaluated nor had made an update for ten minutes: starts, restarts, stalls, "
        "waiting for "
        "a store.",
        "none",
        Ask(f"topk(20, {idle} {HOURS})", instant=True),
    )
    unused = ranking(
        "GPU-hours with idle tensor cores",
        "Held while the tensor cores were at work for less than 5 % of the time, by DCGM: too small a batch, a slow "
        "data "
        "set, or float32.",
        "none",
        Ask(
            f"topk(20, sum by (namespace, run) (sum_over_time(run:trm_gpus_low_tensor:count{{RUN}}[$__range:1m])) "
            f"{HOURS})",
            instant=True,
        ),
    )
    again = ranking(
        "Updates made twice",
        "Updates made in the time shown, less those that the run got further: lost between a checkpoint and a restart.",
        "none",
        Ask(
            "topk(20, clamp_min(max by (namespace, run) (sum by (namespace, run, pod) "
            "(increase(trm_train_updates_total{RUN}[$__range]))) - max by (namespace, run) "
            f"(max_over_time({'trm_train_step{RUN}'}[$__range]) - min_over_time({'trm_train_step{RUN}'}[$__range])), "
            f"0))",
            instant=True,
        ),
    )
    board.row(
        "Waste",
        (share.thresholds(thresholds((None, GREEN), (0.1, YELLOW), (0.3, RED))), 4, 8),
        (waiting.decimals(1), 7, 8),
        (unused.decimals(1), 7, 8),
        (again.decimals(0), 6, 8),
    )


def add_signs(board: Board) -> None:
    """Add where waste comes from."""
    starts = curves(
        "Starts within an hour",
        "How often each run was started again. Three within an hour raise an alert.",
        "none",
        Ask("max_over_time(run:trm_run_attempts:max{RUN}[1h]) - min_over_time(run:trm_run_attempts:max{RUN}[1h])"),
    )
    mfu = curves(
        "Model FLOPs utilisation",
        "Of each run. Empty where no peak is known.",
        "percentunit",
        Ask(of("trm_train_mfu_ratio")),
    )
    board.row("Where waste comes from", (starts.min(0), 12, 8), (mfu.min(0), 12, 8))


def add_queue(board: Board) -> None:
    """Add what waits, by Kueue and the operator."""
    pending = curves(
        "Waiting in queues",
        "Workloads by cluster queue. `active` wait for room; `inadmissible` wait for a change: a quota too small, a "
        "flavour "
        "that is missing. Empty without Kueue.",
        "none",
        Ask("sum by (cluster_queue, status) (kueue_pending_workloads)", "{{cluster_queue}} {{status}}"),
        stacked=True,
    )
    admitted = curves(
        "Admitted",
        "Workloads that are admitted and not finished, by cluster queue. Empty without Kueue.",
        "none",
        Ask("sum by (cluster_queue) (kueue_admitted_active_workloads)", "{{cluster_queue}}"),
        stacked=True,
    )
    waited = curves(
        "Wait for admission",
        "Half, and nine of ten, of the workloads admitted within an hour had waited no longer. Empty without Kueue.",
        "s",
        *(
            Ask(
                f"histogram_quantile({part}, sum by (cluster_queue, le) "
                "(rate(kueue_admission_wait_time_seconds_bucket[1h])))",
                f"{{{{cluster_queue}}}} {name}",
            )
            for part, name in ((0.5, "half"), (0.9, "nine of ten"))
        ),
    )
    jobs = curves(
        "Jobs, by the operator",
        "PyTorchJobs made, done, failed and restarted within an hour, by Training Operator v1. Empty with Trainer v2 "
        "alone.",
        "none",
        *(
            Ask(
                f"sum by (job_namespace) "
                f'(increase(training_operator_jobs_{word}_total{{job_namespace=~"$namespace"}}[1h]))',
                f"{{{{job_namespace}}}} {word}",
            )
            for word in ("created", "successful", "failed", "restarted")
        ),
    )
    pending.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI))
    board.row(
        "Queue",
        (pending.min(0), 6, 8),
        (admitted.min(0), 6, 8),
        (waited.min(0), 6, 8),
        (jobs.min(0), 6, 8),
    )
