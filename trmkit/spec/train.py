"""The `train` section: batch, optimizer, schedule, precision of the loop, checkpoints and logging."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from trmkit.spec.base import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Section,
    Sequence,
)
from trmkit.spec.recursion import RecursionSection


class Checkpoints(Section):
    """When training state is saved, and what is kept."""

    every_steps: PositiveInt | None = 1000
    """Save after so many updates; null: not by steps."""

    every_minutes: PositiveFloat | None = 15.0
    """Save after so many minutes; null: not by time."""

    keep: PositiveInt = 2
    """How many of the newest checkpoints stay, here and in `storage.remote`. The best and the last always stay."""

    keep_every: PositiveInt | None = None
    """Checkpoints whose update is a multiple of this stay too; null: none for that reason."""

    upload_every_minutes: NonNegativeFloat | None = 0.0
    """Least minutes between two checkpoints that are published in `storage.remote`; 0 publishes each, null only the
    best and the last."""


class Logging(Section):
    """Where the numbers of training go. `metrics.jsonl` in the run directory is always written."""

    every_steps: PositiveInt = 50
    """Updates between two lines of metrics. Metrics stay on the device in between."""

    prometheus_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the Prometheus endpoint, opened by the first process of each machine; null: the one in the variable
    `TRM_METRICS_PORT`, or none. In a cluster that variable alone counts: pods serve `/metrics` on port 9400."""

    prometheus_address: Annotated[str, Field(min_length=1, pattern=r"^[0-9A-Za-z.:_-]+$")] = "::"
    """Address the endpoint listens on; `::` is every address, IPv6 and IPv4, and `127.0.0.1` this machine alone."""

    prometheus_path: Annotated[str, Field(pattern=r"^/[^\s?#]*$")] = "/metrics"
    """Path of the endpoint."""

    linger_seconds: NonNegativeFloat | None = None
    """How long the endpoint stays after the last step, so that the last values are scraped; null: 30 s, twice the usual
    time between two scrapes, in a cluster and where there is a `pushgateway`, else not at all."""

    pushgateway: Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")] | None = None
    """Address of a Prometheus Pushgateway that gets a summary at the end, under the group `run`. It is deleted when the
    run has ended well and the summary was there for `linger_seconds`; of one that failed it stays. Null: none."""

    tensorboard: bool = False
    """Also write TensorBoard event files (needs the `tensorboard` package)."""

    wandb_project: str | None = None
    """Also log to this Weights & Biases project (needs the `wandb` package; `WANDB_MODE=offline` works)."""


class Freeze(Section):
    """What learns later than the rest. For fine-tuning: new rows of the puzzle table first, then everything."""

    trunk_steps: NonNegativeInt = 0
    """First updates in which the puzzle table alone learns: all other weights, their average and their decay stand
    still, and their moments begin afterwards. 0: everything learns from the start."""


class TrainSection(Section):
    """How the model is trained."""

    later: ClassVar[frozenset[str]] = frozenset({"tokens", "ema_warmup", "recursion"})
    silent: ClassVar[frozenset[str]] = frozenset({"parallel", "data_workers"})

    steps: PositiveInt | None = None
    """Updates in all. Give one of `steps`, `epochs` and `tokens`."""

    epochs: PositiveInt | None = None
    """Length as the paper's code counts it: `epochs x groups x mean examples per puzzle / batch_size` updates. Updates
    take new rows only where one halted, so fewer passes over the data are made than this number."""

    tokens: PositiveInt | None = None
    """Length of the training of a language model: tokens read in all, padding included, rounded up to whole updates of
    `batch_size` rows."""

    init_from: str | None = None
    """Start from the weights of another run (their average, if it has one): its run directory, for its last checkpoint,
    or the folder of a checkpoint in it; or the address of either in a store. The puzzle table is taken over name by
    name. Null: random weights."""

    freeze: Freeze = Field(default={}, validate_default=True)
    """What learns later than the rest."""

    batch_size: PositiveInt = 768
    """Rows worked on at once, over all processes. The number of processes, times `accumulate`, must divide it."""

    accumulate: PositiveInt = 1
    """Parts into which each process cuts its rows, one after the other, to save memory. The update stays the same."""

    optimizer: Literal["adam_atan2", "adamw", "muon"] = "adam_atan2"
    """Adam-atan2 (arXiv 2407.05872), as in the paper; AdamW; or Muon for the matrices of the repeated blocks, at a rate
    that makes its updates as large as AdamW's, and Adam-atan2 for everything else."""

    lr: Annotated[float, Field(gt=0, le=10)] = 1e-4
    """Peak learning rate."""

    lr_min_ratio: Fraction = 1.0
    """Learning rate at the end of the cosine, relative to `lr`; 1.0 keeps it constant after the warm-up."""

    warmup_steps: NonNegativeInt = 2000
    """Updates over which the learning rate grows linearly."""

    betas: Annotated[Sequence[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] = (0.9, 0.95)
    """Decay of the running mean and of the running mean square of the gradient."""

    weight_decay: NonNegativeFloat = 0.1
    """Decoupled weight decay on every weight."""

    puzzle_emb_lr: Annotated[float, Field(ge=0, le=10)] = 1e-2
    """Learning rate of the puzzle table, trained by SignSGD on the rows in the batch."""

    puzzle_emb_weight_decay: NonNegativeFloat = 0.1
    """Weight decay of the rows of the puzzle table that are in the batch."""

    grad_clip: PositiveFloat | None = None
    """Largest norm of the gradient; null: not clipped (Adam-atan2 does not depend on its scale)."""

    ema: Fraction = 0.999
    """Decay of the moving average of the weights that is evaluated and exported; 0 switches it off."""

    ema_warmup: bool = False
    """Let the average follow more closely at first: its decay after n updates is at most `(1 + n) / (10 + n)`."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes CUDA, then MPS, then the CPU."""

    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads per process; null leaves PyTorch's choice."""

    compile: bool | Literal["auto"] = "auto"
    """Compile the network's blocks with torch.compile: faster by a third, after a minute or less. auto does on a CUDA
    GPU where Triton and a C compiler are installed, unless weights are shared (`parallel: fsdp`)."""

    activation_checkpointing: bool = False
    """Recompute activations in the backward pass instead of keeping them."""

    recursion: RecursionSection | None = None
    """How a recursive model is trained, other than as its paper has it; null: as that."""

    parallel: Literal["replicate", "fsdp"] = "replicate"
    """What several processes hold: each a whole copy, or each its share of weights, gradients, optimizer and average
    (PyTorch's FSDP2), for models that do not fit one GPU with their optimizer. The update stays the same."""

    data_on_device: Literal["auto", "always", "never"] = "auto"
    """Keep the training arrays in device memory; auto does when they take less than a quarter of what is free."""

    data_workers: Annotated[int, Field(ge=0, le=64)] = 2
    """Language models: processes that make rows in the background, on each process; 0: it makes them itself. Rows are
    the same."""

    checkpoint: Checkpoints = Field(default={}, validate_default=True)
    """When training state is saved, and what is kept."""

    log: Logging = Field(default={}, validate_default=True)
    """Where the numbers of training go."""

    @model_validator(mode="after")
    def _one_length(self) -> "TrainSection":
        given = [name for name in ("steps", "tokens", "epochs") if getattr(self, name) is not None]
        if len(given) != 1:
            also = f"{given[0]} is given, too; " if given else ""
            raise ValueError(f"{given[-1] if given else 'steps'}: {also}give one of steps, epochs and tokens")
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate: {self.accumulate} does not divide batch_size {self.batch_size}")
        if self.optimizer == "muon" and self.parallel == "fsdp":
            raise ValueError("optimizer: muon works on whole matrices, fsdp shares them; use parallel: replicate")
        return self
