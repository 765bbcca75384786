"""When an anchor stops thinking, and what thinking costs.

After round k the mean m_k of an anchor's thoughts gives p_k = sigmoid(w m_k + b), the chance to stop there; p_k = 0 for
k < min_K and 1 in the last round.

* survival: s_1 = 1, s_{k+1} = s_k (1 - p_k); what is told is sum_k s_k p_k m_k; cost: sum_k s_k, the expected rounds.
* graves ("Adaptive Computation Time", arXiv 1603.08983): N is the first round with p_1 + .. + p_N >= 0.99; weights are
  p_k before N and the remainder R = 1 - p_1 - .. - p_{N-1} in N; cost: N + R, of which R has a gradient.
* pondernet (arXiv 2107.05407): weights as in survival; cost: KL(s_k p_k || geometric prior from min_K on, cut at the
  last round). PonderNet takes the expected loss of one answer a round; here one answer is made of the expected thought,
  for a pass through the last layer for each round would cost more than the thinking.

While scoring an anchor that has stopped with a chance of 0.99 is done and takes the round for the last one, so that its
number of rounds depends on nothing but what it read. Legend: `B` rows, `A` anchors, `D` width.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from trainer.models.layers import Linear

ENOUGH = 0.99
FIRST_BIAS = -1.0
"""A chance of 0.27 to stop after each round at first: neither end of the range is shut."""


class Halting(nn.Module):
    """The head that decides."""

    def __init__(self, width: int, kind: Literal["survival", "graves", "pondernet"], fewest: int, prior: float) -> None:
        super().__init__()
        self.kind, self.fewest, self.prior = kind, fewest, prior
        self.head = Linear(width, 1, bias=True)
        assert self.head.bias is not None
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.fill_(FIRST_BIAS)

    def forward(self, mean: Tensor) -> Tensor:
        """Return the chance to stop, float32 [B, A, 1], by the mean thoughts [B, A, D] (float32)."""
        chance: Tensor = torch.sigmoid(self.head(mean))
        return chance

    def log_prior(self, k: int, last: int) -> float:
        """Return the log of the prior chance to stop in round `k`."""
        at, most = k - min(self.fewest, last), last - min(self.fewest, last)
        chances = [self.prior * (1 - self.prior) ** i for i in range(most + 1)]
        return math.log(chances[at] / sum(chances))


class Ledger:
    """What was decided for some anchors, round by round."""

    def __init__(
        self, halting: Halting | None, rows: int, anchors: int, device: torch.device, last: int, *, training: bool
    ) -> None:
        """Begin before the first of at most `last` rounds; without `halting` all of them are made."""
        self._halting, self._last, self._training = halting, last, training
        self._left = torch.ones(rows, anchors, 1, device=device)
        """Chance that thinking goes on so far."""
        self._over = torch.zeros(rows, anchors, 1, dtype=torch.bool, device=device)
        self._ponder = torch.zeros(rows, anchors, 1, device=device)
        self._steps = torch.zeros(rows, anchors, 1, device=device)

    @property
    def ponder(self) -> Tensor:
        """What the thinking of each anchor costs, [B, A]."""
        return self._ponder[..., 0]

    @property
    def steps(self) -> Tensor:
        """Rounds of each anchor, [B, A]: expected ones while training, else those made."""
        return self._steps[..., 0].detach()

    def done(self) -> bool:
        """Say whether no anchor has anything to think about any more; asked only while scoring, for it waits."""
        return self._halting is not None and not self._training and bool(self._over.all())

    def weigh(self, mean: Tensor, k: int) -> Tensor:
        """Return the weight [B, A, 1] of round `k`, after which the mean thoughts are `mean` [B, A, D]."""
        halting, final = self._halting, k == self._last
        if halting is None:
            self._steps = self._steps + 1
            return torch.full_like(self._left, float(final))
        chance = self._chance(halting, mean, k, final=final)
        if halting.kind == "graves":
            return self._graves(chance, final=final)
        stop = chance if self._training else torch.where(self._left * (1 - chance) <= 1 - ENOUGH, 1.0, chance)
        stop = torch.where(self._over, 0.0, stop)
        weight, running = self._left * stop, ~self._over
        expected = self._left if self._training else running.float()
        self._steps = self._steps + expected.detach()
        if halting.kind == "survival":
            self._ponder = self._ponder + self._left * running
        elif k >= min(halting.fewest, self._last):
            tiny = weight.clamp(min=1e-12)
            self._ponder = self._ponder + weight * (tiny.log() - halting.log_prior(k, self._last))
        self._left = self._left * (1 - stop)
        if not self._training:
            self._over = self._over | (stop >= 1)
        return weight

    def _chance(self, halting: Halting, mean: Tensor, k: int, *, final: bool) -> Tensor:
        chance: Tensor = halting(mean)
        if final:
            return torch.ones_like(chance)
        return torch.zeros_like(chance) if k < halting.fewest else chance

    def _graves(self, chance: Tensor, *, final: bool) -> Tensor:
        """Weigh by Graves' rule: `_left` is the remainder."""
        running = ~self._over
        stops = running & ((self._left - chance <= 1 - ENOUGH) | final)
        weight = torch.where(stops, self._left, torch.where(running, chance, 0.0))
        self._steps = self._steps + running
        self._ponder = self._ponder + running + torch.where(stops, self._left, 0.0)
        self._left = torch.where(running & ~stops, self._left - chance, self._left)
        self._over = self._over | stops
        return weight
