"""The row about the controller of TrmRun, on the dashboard of the fleet."""

from helm.trm.dashboards.src.parts import Ask, Board, curves

HERE = '{namespace=~"$namespace"}'
RATE = f"{HERE}[$__rate_interval]"


def add_controller(board: Board) -> None:
    """Add what the controller has, does and cannot do. Empty where there is none."""
    phases = curves(
        "TrmRuns by phase",
        "What the controller says of the runs that were applied as objects. Empty without a controller.",
        "none",
        Ask(f"sum by (phase) (max by (namespace, phase) (trm_controller_runs{HERE}))", "{{phase}}"),
        stacked=True,
    )
    looks = curves(
        "Looks a second",
        "How often TrmRuns are looked at, by what came of it. Errors are tried again.",
        "ops",
        Ask(f"sum by (result) (rate(trm_controller_reconciles_total{RATE}))", "{{result}}"),
        Ask(f"sum by (kind) (rate(trm_controller_api_errors_total{RATE}))", "{{kind}}"),
    )
    times = curves(
        "Time of a look",
        "Nine of ten looks at a TrmRun took no longer; and the mean.",
        "s",
        Ask(
            f"histogram_quantile(0.9, sum by (le) (rate(trm_controller_reconcile_seconds_bucket{RATE})))", "nine of ten"
        ),
        Ask(
            f"sum (rate(trm_controller_reconcile_seconds_sum{RATE}))"
            f" / sum (rate(trm_controller_reconcile_seconds_count{RATE}))",
            "mean",
        ),
    )
    writes = curves(
        "Writes a second",
        "What the controller made, changed and deleted. A cluster in which nothing happens has none.",
        "ops",
        Ask(f"sum by (action) (rate(trm_controller_writes_total{RATE}))", "{{action}}"),
    )
    waiting = curves(
        "Waiting for a look",
        "TrmRuns in the controller's queue, and how many of its pods work: always one.",
        "none",
        Ask(f"max by (namespace) (trm_controller_queue_length{HERE})", "{{namespace}} waiting"),
        Ask(f"sum by (namespace) (trm_controller_leader{HERE})", "{{namespace}} working"),
    )
    since = curves(
        "Since everything was looked at",
        "Time since the last full round that succeeded. More than ten minutes is an alert.",
        "s",
        Ask(f"time() - max by (namespace) (trm_controller_last_resync_timestamp_seconds{HERE})", "{{namespace}}"),
    )
    board.row(
        "Controller",
        *((panel.min(0), 8, 8) for panel in (phases, looks, times, writes, waiting, since)),
    )
