"""The `model` section of the ablation ladder: language models that differ from one another by one part at a time."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from trmkit.spec.base import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Section

Variant = Literal["baseline", "shared_loop", "latent", "act", "ssm", "ssm_mem", "nano_absolute"]
Size = Literal["pico", "nano", "50M", "125M", "300M", "350M", "760M", "1B", "1B-16k"]

ABSOLUTE_CONTEXT = 1024
"""Positions that the control `nano_absolute` has vectors for."""


class LadderModel(Section):
    """A rung of the ablation ladder: a language model of a size, with or without recursion, thoughts and memory.

    A run file may hold the options of several rungs, so that one file serves the whole ladder; each takes its own.
    """

    puzzle_emb_ndim: ClassVar[int] = 0
    text_width: ClassVar[int | None] = None
    text_vectors: ClassVar[int] = 0
    needs_float64: ClassVar[bool] = False

    family: Literal["ladder"]
    """Which model family the section describes."""

    variant: Variant = "baseline"
    """Which rung: a transformer, one with shared looped layers, with thoughts, with adaptive thoughts, Mamba-2 with
    thoughts, the same with memory, or the control with learned absolute positions."""

    size: Size = "nano"
    """Width, layers and heads, by the name of the size."""

    context: PositiveInt | None = None
    """Most tokens the model reads at once; null: 4,096, 16,384 for `1B-16k` and 1,024 for `nano_absolute`."""

    positions: Literal["rope", "nope", "randomized"] = "rope"
    """How attention knows positions: rotary, not at all, or rotary at positions drawn in order from a longer range
    (arXiv 2305.16843): anew for every update, and always the same when the model is scored. `nano_absolute` has
    positions of its own, whatever stands here."""

    position_range: PositiveInt | None = None
    """With `positions: randomized`, the range positions are drawn from; null: `context`."""

    dropout: Fraction | None = None
    """Dropout on what every block adds; null: 0.1, 0.05 from `300M` on."""

    n_unique: PositiveInt | None = None
    """`shared_loop`: layers with weights of their own; null: half of the size's layers."""

    n_unroll: PositiveInt = 4
    """`shared_loop`: times the layers are gone through."""

    n_unroll_eval: PositiveInt | None = None
    """`shared_loop`: the same when the model is scored; null: `n_unroll`."""

    loop_inject: bool = False
    """`shared_loop`: add the embedded tokens again before every round (arXiv 2409.15647)."""

    loop_sampling: Literal["fixed", "poisson_lognormal"] = "fixed"
    """`shared_loop`: rounds of a training step: always `n_unroll`, or drawn with that mean (arXiv 2502.05171)."""

    loop_backprop: PositiveInt = 8
    """`shared_loop`: with `poisson_lognormal`, the last rounds that gradients go through."""

    thought_tokens: PositiveInt = 16
    """Thought vectors Z of each anchor."""

    thought_stride: PositiveInt = 16
    """An anchor, where thoughts read what came before, stands at every so many tokens, and at the end of a prompt."""

    K: PositiveInt = 4
    """Rounds of thinking of `latent`, `ssm` and `ssm_mem`."""

    min_K: PositiveInt = 2
    """`act`: fewest rounds of thinking."""

    max_K: PositiveInt = 8
    """`act`: most rounds of thinking."""

    local_window: NonNegativeInt = 0
    """Tokens before its anchor that a thought reads; 0: all of them."""

    halting: Literal["survival", "graves", "pondernet"] = "survival"
    """`act`: how rounds are weighted and charged: by the expected number of rounds, as in "Adaptive Computation Time"
    (arXiv 1603.08983), or as in PonderNet (arXiv 2107.05407)."""

    lambda_ponder: NonNegativeFloat = 0.01
    """`act`: weight of what thinking costs in the loss; with `pondernet` of the divergence from its prior."""

    lambda_prior: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """`act` with `pondernet`: the chance of its geometric prior to stop after a round."""

    num_mem: PositiveInt = 64
    """`ssm_mem`: memory vectors M."""

    segment: PositiveInt = 128
    """`ssm_mem`: tokens that are taken into memory at once."""

    negative_eigenvalues: bool = False
    """`ssm`, `ssm_mem`: let states flip their sign from token to token, which parity needs (arXiv 2411.12537)."""

    rope_theta: PositiveFloat = 10000.0
    """Base of the rotary frequencies."""

    forward_dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the network's arithmetic. Weights, optimizer, norms, scans and the loss stay in float32."""

    @property
    def title(self) -> str:
        """What the model is called."""
        return f"{self.family} {self.variant} {self.size}"

    @property
    def longest(self) -> int:
        """Most tokens the model reads at once."""
        if self.context is not None:
            return self.context
        return ABSOLUTE_CONTEXT if self.variant == "nano_absolute" else 16_384 if self.size == "1B-16k" else 4_096

    @model_validator(mode="after")
    def _parts_fit(self) -> "LadderModel":
        if self.size == "1B-16k" and self.variant in ("ssm", "ssm_mem"):
            raise ValueError(
                f"size: 1B-16k has grouped-query attention, and {self.variant} has no attention between tokens to"
                " group; use size: 1B with context: 16384"
            )
        if self.variant == "nano_absolute" and self.size not in ("pico", "nano"):
            raise ValueError(f"size: the control nano_absolute is of the size nano (pico in tests), not {self.size}")
        if self.variant == "nano_absolute" and self.longest > ABSOLUTE_CONTEXT:
            raise ValueError(f"context: nano_absolute has vectors for {ABSOLUTE_CONTEXT:,} positions, not for more")
        if self.min_K > self.max_K:
            raise ValueError(f"min_K: {self.min_K} rounds at least are more than max_K {self.max_K} at most")
        return self

    @model_validator(mode="after")
    def _range_fits(self) -> "LadderModel":
        if self.position_range is not None and self.positions != "randomized":
            raise ValueError("position_range: goes together with positions: randomized")
        if self.position_range is not None and self.position_range < self.longest:
            raise ValueError(f"position_range: {self.position_range} positions are fewer than context {self.longest}")
        return self
