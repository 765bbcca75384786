"""The `model` section: which network, and its sizes. The keys have the names that the TRM paper's code gave them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trmkit.spec.base import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Section
from trmkit.spec.ladder import LadderModel


class TrmModel(Section):
    """The Tiny Recursive Model of "Less is More: Recursive Reasoning with Tiny Networks" (arXiv 2510.04871)."""

    family: Literal["trm"]
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

    single_z: bool = False
    """One latent state instead of two (the paper's ablation "single z")."""

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
    def _sizes_fit(self) -> "TrmModel":
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads: {self.num_heads} does not divide hidden_size {self.hidden_size}")
        if self.pos_encodings == "rope" and not self.mlp_t and (self.hidden_size // self.num_heads) % 2:
            raise ValueError("num_heads: rotary positions need an even hidden_size / num_heads")
        if (self.puzzle_emb_ndim == 0) != (self.puzzle_emb_len == 0):
            raise ValueError("puzzle_emb_len: 0 goes together with puzzle_emb_ndim: 0, and only with it")
        if self.puzzle_emb_ndim > self.puzzle_emb_len * self.hidden_size:
            raise ValueError("puzzle_emb_ndim: does not fit in puzzle_emb_len x hidden_size numbers")
        return self


ModelSection = Annotated[TrmModel | LadderModel, Field(discriminator="family")]
