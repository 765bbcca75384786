"""The `evaluate` section: when and how the model is scored."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from trmkit.spec.base import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt, Section, Sequence

Suite = Literal["algorithmic", "longctx", "ppl", "depth", "self_test"]
SUITES: tuple[Suite, ...] = get_args(Suite)


class TextSection(Section):
    """How a language model is scored: suites at the end, and bounds that keep each finite."""

    suites: Annotated[Sequence[Suite], Field(min_length=1)] = ("algorithmic", "longctx", "ppl", "depth")
    """What is scored at the end: tasks in and out of distribution, a needle in a long text, perplexity, tasks at other
    depths of recursion, and whether the model reads as it should."""

    max_new_tokens: PositiveInt = 72
    """Most tokens of an answer at the end."""

    sample_new_tokens: PositiveInt = 72
    """Most tokens of an answer in an evaluation during training."""

    contexts: Annotated[Sequence[PositiveInt], Field(min_length=1)] = (1024, 2048, 4096)
    """Lengths of the texts with a needle, in tokens; those over the model's context are reported as skipped."""

    depths: Annotated[Sequence[Fraction], Field(min_length=1)] = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
    """Where in the text the needle is."""

    needles: PositiveInt = 10
    """Texts of each length and depth."""

    ppl_tokens: PositiveInt = 500_000
    """Most held-out language tokens that perplexity is taken of."""

    rounds: Annotated[Sequence[PositiveInt], Field(min_length=1)] = (1, 2, 4, 8, 16)
    """Rounds of recursion that the suite `depth` tries: loops, or rounds of thinking."""


class EvaluateSection(Section):
    """When and how the model is scored. Scores always come from the averaged (EMA) weights when there are any."""

    later: ClassVar[frozenset[str]] = frozenset({"self_correction", "settled"})
    silent: ClassVar[frozenset[str]] = frozenset({"mode"})

    every_steps: PositiveInt | None = None
    """Evaluate during training after so many updates; null: only at the end."""

    mode: Literal["inline", "job"] = "inline"
    """Who evaluates during training: training itself, which waits for it; or, as `job`, a process of its own, in a
    cluster a job of its own, which scores the checkpoints that training saves at those updates and goes on from."""

    sample: PositiveInt = 1024
    """Test rows in an evaluation during training, spread evenly over the test set."""

    final_sample: PositiveInt | None = None
    """What is scored of the test set at the end, evenly spread: so many rows, or, where the variants of a task vote
    (ARC), so many whole tasks with all their rows. null takes all."""

    fit_sample: NonNegativeInt = 256
    """Training rows, from puzzles as they are before augmentation, scored at the end to show what was memorised."""

    augmented: bool = True
    """Score the augmented variants of test puzzles too; false leaves only the puzzles as they are in the source."""

    batch_size: PositiveInt | None = None
    """Rows evaluated at once on each process; null takes the training batch of one process."""

    supervision_steps: PositiveInt | None = None
    """Supervision steps per row, also more than the model was trained with; null takes as many as in training."""

    rollouts: PositiveInt = 1
    """Times each row is tried in the evaluation at the end; all but the first with `noise`. On ARC each is a vote."""

    noise: NonNegativeFloat = 0.0
    """Standard deviation of Gaussian noise on the model's states before every step of the rollouts after the first."""

    select: Literal["q_halt", "vote"] = "q_halt"
    """Which answer of a row's rollouts is taken: the one of the highest `q_halt`, or the most frequent one."""

    early_exit: float | None = None
    """Stop a row as soon as its `q_halt` logit is above this, and give its place to the next; null runs every step."""

    settled: bool = False
    """With `early_exit`: stop a row only once its answer is also the same as a step before. That takes two steps at
    least, and is about as right as all steps, where `q_halt` alone is too sure of itself."""

    blank_identifiers: bool = False
    """At the end, score once more with every puzzle identifier blanked: what is left is not memorised by identifier."""

    best_metric: Literal["exact_accuracy", "accuracy"] = "exact_accuracy"
    """What decides which checkpoint is the best."""

    examples: NonNegativeInt = 48
    """What the report shows, evenly spread: rows of each set with question, truth and prediction, or ARC tasks."""

    pass_ks: Annotated[Sequence[PositiveInt], Field(min_length=1)] = (1, 2, 5, 10, 100, 1000)
    """ARC: count a test input as solved when its truth is among the first so many answers by votes."""

    attempts: PositiveInt = 2
    """ARC: answers to each test input in `submission.json`."""

    text: TextSection = Field(default={}, validate_default=True)
    """How a language model is scored."""

    ensemble: Annotated[int, Field(ge=2)] | None = None
    """ARC: let so many of the newest kept checkpoints vote together, as a score of its own at the end. The score of a
    checkpoint never holds votes of another; null: no such score."""

    self_correction: Annotated[int, Field(ge=2)] | None = None
    """Models that read text: at the end, attempts at each test row, all but the first told in words what is wrong with
    the one before. The words come from the truth, so this is a score of its own, beside those without; null: none."""

    @model_validator(mode="after")
    def _somebody_may_settle(self) -> "EvaluateSection":
        if self.settled and self.early_exit is None:
            raise ValueError("settled: says when a row may stop early, and none may; give early_exit, as 0, too")
        return self

    @model_validator(mode="after")
    def _something_is_followed(self) -> "EvaluateSection":
        if self.mode == "job" and self.every_steps is None:
            raise ValueError("mode: job scores a checkpoint every evaluate.every_steps updates; give that, too")
        return self

    @model_validator(mode="after")
    def _rollouts_differ(self) -> "EvaluateSection":
        if (self.rollouts > 1) != (self.noise > 0):
            raise ValueError(
                f"rollouts: {self.rollouts} with noise {self.noise:g}: the first rollout has no noise, and the others"
                " differ by nothing else; give both, or neither"
            )
        return self
