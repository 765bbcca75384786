"""The `evaluate` section: when and how the model is scored."""

from typing import Literal

from trmkit.spec.base import NonNegativeInt, PositiveInt, Section


class EvaluateSection(Section):
    """When and how the model is scored. Scores always come from the averaged (EMA) weights when there are any."""

    every_steps: PositiveInt | None = None
    """Evaluate during training after so many updates; null: only at the end."""

    sample: PositiveInt = 1024
    """Test rows in an evaluation during training, spread evenly over the test set."""

    final_sample: PositiveInt | None = None
    """Test rows in the evaluation at the end; null takes all."""

    fit_sample: NonNegativeInt = 256
    """Training rows, from puzzles as they are before augmentation, scored at the end to show what was memorised."""

    augmented: bool = True
    """Score the augmented variants of test puzzles too; false leaves only the puzzles as they are in the source."""

    batch_size: PositiveInt | None = None
    """Rows evaluated at once on each process; null takes the training batch of one process."""

    supervision_steps: PositiveInt | None = None
    """Supervision steps per row; null takes `model.halt_max_steps`."""

    early_exit: float | None = None
    """Stop a row as soon as its `q_halt` logit is above this, and give its place to the next; null runs every step."""

    blank_identifiers: bool = False
    """At the end, score once more with every puzzle identifier blanked: what is left is not memorised by identifier."""

    best_metric: Literal["exact_accuracy", "accuracy"] = "exact_accuracy"
    """What decides which checkpoint is the best."""

    examples: NonNegativeInt = 24
    """Rows shown in the report with question, truth and prediction."""
