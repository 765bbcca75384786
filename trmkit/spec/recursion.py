"""The `train.recursion` section: how deeply a recursive model thinks while it learns, and what it learns of each step.

What later papers change of TRM's training is data here, not another model. See `docs/performance.md` for what each of
them was worth when it was measured.
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from trmkit.spec.base import Fraction, PositiveInt, Section, Sequence


class DepthPhase(Section):
    """A stretch of training with less recursion than the model has."""

    until: Annotated[float, Field(gt=0, le=1)]
    """Part of all updates at which the phase ends; it begins where the one before ends."""

    H_cycles: PositiveInt
    """`model.H_cycles` during the phase."""

    H_cycles_up_to: PositiveInt | None = None
    """Draw `H_cycles` anew for each update, from `H_cycles` up to this; null: it is not drawn."""

    L_cycles: PositiveInt
    """`model.L_cycles` during the phase."""

    @model_validator(mode="after")
    def _range_has_something(self) -> "DepthPhase":
        if self.H_cycles_up_to is not None and self.H_cycles_up_to < self.H_cycles:
            raise ValueError(f"H_cycles_up_to: {self.H_cycles_up_to} is less than H_cycles {self.H_cycles}")
        return self


class RecursionSection(Section):
    """How a recursive model is trained, other than as its paper has it. Evaluation always has the model's own depth."""

    depth: Sequence[DepthPhase] = ()
    """Less recursion at first, phase after phase; the model's own after the last. The curriculum of CGAR (arXiv
    2511.08653): `[{until: 0.3, H_cycles: 1, L_cycles: 2}, {until: 0.6, H_cycles: 2, L_cycles: 4}]`."""

    step_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Weight of a row's loss at its supervision step n: `step_decay^(n - 1)`; CGAR has 0.7. 1: all steps weigh the
    same."""

    targets: Literal["answer", "interpolated"] = "answer"
    """What a row should answer at each supervision step: the answer; or, as DIS (arXiv 2511.16886), at step n of N the
    answer in n / N of the cells and the question in the others, more cells at each step. Rows then take all N steps."""

    backprop: Literal["cycle", "last"] = "cycle"
    """What a gradient is taken of: all updates of the last cycle, or the last of the reasoning and the one of the
    answer alone, as HRM and RSM (arXiv 2603.15641) do, which keeps fewer activations."""

    @model_validator(mode="after")
    def _phases_follow(self) -> "RecursionSection":
        ends = [phase.until for phase in self.depth]
        if any(one >= two for one, two in pairwise(ends)):
            raise ValueError(f"depth: its phases end at {', '.join(f'{end:g}' for end in ends)}; each must end later")
        return self


def phase_at(depth: Sequence[DepthPhase], progress: Fraction) -> DepthPhase | None:
    """Return the phase after the part `progress` of all updates; None: the last one has ended."""
    return next((phase for phase in depth if progress < phase.until), None)
