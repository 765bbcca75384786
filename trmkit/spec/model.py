"""The `model` section: which network, and its sizes. The keys have the names that their papers' code gave them."""

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
from trmkit.spec.ladder import LadderModel

TEXT = ("text_add", "text_prefix", "text_xattn")
"""Ways in which text conditions a model."""


class RecursiveCore(Section):
    """What the models share whose states a small network of blocks improves again and again."""

    family: str
    """Which model family the section describes."""

    hidden_size: PositiveInt = 512
    """Width D of every hidden state."""

    num_heads: PositiveInt = 8
    """Attention heads; must divide `hidden_size`, and the quotient must be even for rotary positions."""

    expansion: Annotated[float, Field(ge=0.25, le=64)] = 4.0
    """Width of the SwiGLU layers relative to their input; the inner size is 2/3 of it, rounded up to 256s."""

    L_layers: PositiveInt = 2
    """Transformer blocks in the one network that is applied again and again."""

    H_cycles: PositiveInt = 3
    """Improvements of the answer per supervision step; all but the last run without gradient."""

    L_cycles: PositiveInt = 6
    """Updates of the latent reasoning state per improvement of the answer."""

    halt_max_steps: PositiveInt = 16
    """Most supervision steps a puzzle is worked on."""

    halt_exploration_prob: Fraction = 0.1
    """Probability that a row is made to think for a random minimum of steps, drawn anew at every step."""

    no_ACT_continue: bool = True
    """Halt on `q_halt > 0` alone. False: halt when `q_halt > q_continue`, and train `q_continue` by bootstrapping."""

    mlp_t: bool = False
    """Mix tokens with an MLP over the token axis instead of attention (the better choice for Sudoku)."""

    pos_encodings: Literal["rope", "learned", "none"] = "rope"
    """How attention knows positions: rotary, a learned table, or not at all (the usual choice with `mlp_t`)."""

    rope_theta: PositiveFloat = 10000.0
    """Base of the rotary frequencies."""

    rms_norm_eps: PositiveFloat = 1e-5
    """Added under the root of every RMS norm."""

    puzzle_emb_ndim: NonNegativeInt = 512
    """Size of the learned vector of each puzzle identifier; 0 leaves the table out."""

    puzzle_emb_len: NonNegativeInt = 16
    """Tokens put in front of the puzzle to hold its vector; 0 only together with `puzzle_emb_ndim: 0`."""

    loss: Literal["stablemax", "softmax"] = "stablemax"
    """Cross-entropy over cells: stablemax (arXiv 2501.04697) as in the paper, or softmax."""

    loss_dtype: Literal["float64", "float32"] = "float64"
    """Precision of the stablemax loss. float32 is faster on a GPU and the only one on Apple's MPS."""

    forward_dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the network's arithmetic. Weights, optimizer, norms and rotary positions stay in float32."""

    @property
    def title(self) -> str:
        """What the model is called."""
        return self.family

    @property
    def needs_float64(self) -> bool:
        """Whether it computes in float64, which not every device can."""
        return self.loss == "stablemax" and self.loss_dtype == "float64"

    @model_validator(mode="after")
    def _sizes_fit(self) -> "RecursiveCore":
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads: {self.num_heads} does not divide hidden_size {self.hidden_size}")
        if self.pos_encodings == "rope" and not self.mlp_t and (self.hidden_size // self.num_heads) % 2:
            raise ValueError("num_heads: rotary positions need an even hidden_size / num_heads")
        if (self.puzzle_emb_ndim == 0) != (self.puzzle_emb_len == 0):
            raise ValueError("puzzle_emb_len: 0 goes together with puzzle_emb_ndim: 0, and only with it")
        if self.puzzle_emb_ndim > self.puzzle_emb_len * self.hidden_size:
            raise ValueError("puzzle_emb_ndim: does not fit in puzzle_emb_len x hidden_size numbers")
        return self


class TrmModel(RecursiveCore):
    """The Tiny Recursive Model of "Less is More: Recursive Reasoning with Tiny Networks" (arXiv 2510.04871)."""

    text_width: ClassVar[int | None] = None
    text_vectors: ClassVar[int] = 0

    family: Literal["trm"]
    """Which model family the section describes."""

    single_z: bool = False
    """One latent state instead of two (the paper's ablation "single z")."""


class HybridModel(RecursiveCore):
    """TRM's core, conditioned on what a frozen language model makes of the task as a text (see `features`)."""

    family: Literal["hybrid"]
    """Which model family the section describes."""

    puzzle_emb_ndim: NonNegativeInt = 0
    """Size of the learned vector of each puzzle identifier; goes together with `puzzle_emb` in `conditioning`."""

    puzzle_emb_len: NonNegativeInt = 0
    """Tokens put in front of the puzzle to hold its vector; 0 only together with `puzzle_emb_ndim: 0`."""

    conditioning: Annotated[
        Sequence[Literal["puzzle_emb", "text_add", "text_prefix", "text_xattn", "none"]], Field(min_length=1)
    ] = ("text_add",)
    """What tells the model which task it is about, one way or several: a learned vector of each puzzle; the text's
    vector added to every token, or put in front as `text_prefix_len` tokens; every token attending to all vectors of
    the text; or nothing but the grid."""

    text_hidden_size: PositiveInt = 4096
    """Numbers of each vector of the text: `features.width`."""

    text_vectors: PositiveInt = 1
    """Vectors of each text: 1, or as many as `features.pooling` keeps. `text_xattn` looks at each of them, the other
    ways take their mean."""

    text_prefix_len: PositiveInt = 16
    """`text_prefix`: tokens put in front of the puzzle."""

    text_bottleneck: PositiveInt = 96
    """`text_prefix`: width between the text's vector and its tokens."""

    include_eos: bool = True
    """Train the cells that mark where a grid ends. False shows what the model's first description did: it never learns
    where to stop, and no answer is right as a whole."""

    @property
    def text_width(self) -> int | None:
        """Numbers of each vector of a row's text; None: rows come without."""
        return self.text_hidden_size if any(way in TEXT for way in self.conditioning) else None

    @model_validator(mode="after")
    def _ways_fit(self) -> "HybridModel":
        if "none" in self.conditioning and len(self.conditioning) > 1:
            raise ValueError("conditioning: none goes with nothing else")
        if len(set(self.conditioning)) != len(self.conditioning):
            raise ValueError(f"conditioning: {', '.join(self.conditioning)} names one way twice")
        if ("puzzle_emb" in self.conditioning) != bool(self.puzzle_emb_ndim):
            raise ValueError(
                "puzzle_emb_ndim: a vector for each puzzle goes together with puzzle_emb in conditioning, and only"
                " with it"
            )
        if "text_xattn" in self.conditioning and self.mlp_t:
            raise ValueError("mlp_t: text_xattn attends, so it needs heads; use mlp_t: false")
        return self


class DeepRecursionModel(Section):
    """A convolutional encoder and decoder that reads its own answer and latent state, again and again.

    The recursion with detached steps is TRM's (arXiv 2510.04871); convolutions on a canvas, a vector for each task and
    training at test time are those of "ARC Is a Vision Problem!" (arXiv 2511.14761), which has no recursion.
    """

    text_width: ClassVar[int | None] = None
    text_vectors: ClassVar[int] = 0
    needs_float64: ClassVar[bool] = False

    family: Literal["deep_recursion"]
    """Which model family the section describes."""

    base_channels: PositiveInt = 64
    """Channels at the canvas's own resolution; two times and four times as many at half and a quarter of it."""

    latent_channels: PositiveInt = 512
    """Channels of the latent state, at an eighth of the canvas's resolution."""

    n_res_blocks: NonNegativeInt = 2
    """Residual blocks at each resolution."""

    bottleneck_blocks: NonNegativeInt = 0
    """Residual blocks on the latent state by itself."""

    dropout: Fraction = 0.1
    """Chance of a channel to be dropped in a residual block while training."""

    combine: Literal["sum", "concat"] = "sum"
    """How the question and the answer so far are put together."""

    feedback: Literal["softmax", "logits"] = "softmax"
    """What of the answer is fed back: probabilities, whose scale is bounded, or the raw numbers."""

    n_inner: PositiveInt = 3
    """Steps between two detachments. Memory grows with these."""

    n_outer: PositiveInt = 3
    """Supervised steps, each detached from the one before. Memory does not grow with these."""

    n_inner_eval: PositiveInt | None = None
    """`n_inner` when the model is scored; null: the same."""

    no_grad_inner: bool = False
    """Take a gradient of the last inner step alone. With more than one the learned first answer stays as drawn."""

    updates: Literal["accumulate", "per_outer"] = "accumulate"
    """Update the weights once after all supervised steps, or after each."""

    pad_weight: NonNegativeFloat = 1.0
    """Weight of the empty cells in the loss."""

    puzzle_emb_ndim: NonNegativeInt = 64
    """Size of the learned vector of each puzzle identifier, which scales and shifts the latent state (FiLM) and is
    added at the canvas's resolution; 0: the model knows nothing but the grid."""

    forward_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the network's arithmetic. Weights, optimizer, norms and the loss stay in float32."""

    @property
    def title(self) -> str:
        """What the model is called."""
        return f"{self.family} {self.base_channels}/{self.latent_channels}"


ModelSection = Annotated[TrmModel | HybridModel | DeepRecursionModel | LadderModel, Field(discriminator="family")]
