"""The rows of the dashboard Run that only recursive models have."""

from grafana_foundation_sdk.builders import barchart

from helm.trm.dashboards.src.parts import Ask, Board, Panel, bars, curves, latest, of


def add_recursion(board: Board) -> None:
    """Add what each supervision step adds, when rows halt, and what the q-head knows of it."""
    add_depth(board)
    add_halting(board)


def add_depth(board: Board) -> None:
    """Add what thinking longer buys."""
    by_depth = bars(
        "Exact accuracy after each supervision step",
        "Of the last evaluation. Bars that grow to the right: thinking longer helps. Flat from the first one on: the "
        "model "
        "answers at once, and recursion buys nothing.",
        "percentunit",
        Ask(
            latest("trm_eval_accuracy_by_depth_ratio", 'level="exact"', "depth"),
            "{{run}} {{depth}}",
        ),
        by="depth",
        of="run",
    )
    over_time = curves(
        "Exact accuracy by supervision step, over time",
        "How many steps the model needs while it learns. The curves fan out when it learns to use later steps.",
        "percentunit",
        Ask(
            of("trm_eval_accuracy_by_depth_ratio", 'level="exact"', "depth"),
            "{{run}} after {{depth}}",
        ),
    )
    cells = bars(
        "Cells right after each supervision step",
        "The same for single cells: the answer is refined even where no row is wholly right yet.",
        "percentunit",
        Ask(
            latest("trm_eval_accuracy_by_depth_ratio", 'level="token"', "depth"),
            "{{run}} {{depth}}",
        ),
        by="depth",
        of="run",
    )
    board.row(
        "Recursion: what thinking longer buys",
        (by_depth.min(0).max(1), 8, 9),
        (over_time.min(0), 8, 9),
        (cells.min(0).max(1), 8, 9),
    )


def add_halting(board: Board) -> None:
    """Add when rows halt, and whether the q-head knows that they are right."""
    halted = bars(
        "Test rows that would have halted",
        "Part of the test rows that the q-head would have halted by each supervision step, in the last evaluation. "
        "Early "
        "and right saves time; early and wrong is overconfidence, see calibration.",
        "percentunit",
        Ask(latest("trm_eval_halted_ratio", by="depth"), "{{run}} {{depth}}"),
        by="depth",
        of="run",
    )
    depth = curves(
        "Supervision steps until halting",
        "Mean over rows. Train: steps that rows had when they became final. Test: after which the q-head would first "
        "halt.",
        "none",
        Ask(of("trm_train_halt_depth"), "{{run}} train"),
        Ask(of("trm_eval_halt_depth"), "{{run}} test"),
    )
    knows = curves(
        "What the q-head knows",
        "Accuracy: rows of which it knew whether the answer was right. Calibration error: how far its probabilities "
        "are "
        "from what happened, in the mean; 0 is perfect.",
        "percentunit",
        Ask(of("trm_train_q_halt_accuracy_ratio"), "{{run}} train, knew"),
        Ask(of("trm_eval_q_halt_accuracy_ratio"), "{{run}} test, knew"),
        Ask(of("trm_eval_q_halt_calibration_error_ratio"), "{{run}} test, calibration error"),
    )
    board.row(
        "Halting: does it know when it is right",
        (calibration().min(0).max(1), 8, 9),
        (halted.min(0).max(1), 8, 9),
        (depth.min(0), 8, 9),
        (knows.min(0).max(1), 12, 8),
        (calibration_rows(), 12, 8),
    )


def calibration() -> barchart.Panel:
    """Return predicted beside observed, for each tenth of the q-head's probability."""
    filled = latest("trm_eval_q_halt_rows", by="bin") + " > 0"  # of the last evaluation: others had other tenths
    said, was = (
        f"label_replace({latest(f'trm_eval_q_halt_{kind}_ratio', by='bin')} and on (namespace, run, bin) {filled}, "
        f'"series", "$1 {word}", "run", "(.*)")'
        for kind, word in (("predicted", "said"), ("observed", "was"))
    )
    return bars(
        "Calibration of the q-head",
        "Test rows by the probability of being right that the q-head gave them, in tenths: what it said beside the "
        "part "
        "that was right. Bars of one height: it can be believed.",
        "percentunit",
        Ask(f"{said} or {was}", "{{series}} {{bin}}"),
        by="bin",
        of="series",
    )


def calibration_rows() -> Panel:
    """Return how many rows each tenth has."""
    return bars(
        "Test rows by probability",
        "How many test rows each tenth of the q-head's probability has: a tenth with few rows says little.",
        "short",
        Ask(latest("trm_eval_q_halt_rows", by="bin"), "{{run}} {{bin}}"),
        by="bin",
        of="run",
    )
