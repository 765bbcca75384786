"""How fast an update of the weights is: Adam-atan2 and the weight average, as ratios to a plain loop over the tensors.

    python benchmarks/optimizer.py [--rounds 15]

Both start from the same weights of the default model, get the same gradients, and must end at the same numbers. A
second table shows what an update of the puzzle table takes as the table grows, and the batch does not.
"""

import argparse

import torch
from common import Work, all_turns, record, table, take_turns
from plain import PlainUpdate
from torch import Tensor, nn

from trainer.models import build
from trainer.optim.adam_atan2 import AdamATan2
from trainer.optim.ema import WeightAverage
from trainer.optim.sign_sgd import sign_sgd
from trmkit.spec.model import TrmModel

LR, DECAY, MU = 1e-4, 1.0, 0.999
GOAL = "2x the plain loop"
TABLES = (1_000, 100_000, 1_000_000)
BATCH, WIDTH = 768, 512


def main() -> None:
    """Print one table for the default attention model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds, of which the fastest counts")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build(TrmModel(family="trm"), 11, 81, 1)
    grads = [torch.randn_like(p) * 1e-3 for p in model.parameters()]
    ours, plain = Ours(model, grads), Plain(model, grads)
    turns = all_turns({"ours": ours, "plain loop": plain}, rounds)
    seconds = {name: min(times) for name, times in turns.items()}
    record("optimizer", "Adam-atan2 and average", turns["ours"], turns["plain loop"], must=2)
    expect_equal(ours, plain)
    count = sum(p.numel() for p in model.parameters())
    print(f"Adam-atan2 and average of {count / 1e6:.1f} million weights; goal: {GOAL}")
    rows = [(name, f"{1e3 * s:.1f}", f"{seconds['plain loop'] / s:.2f}x") for name, s in seconds.items()]
    table(("variant", "CPU milliseconds", "to plain"), rows)
    compare_tables(rounds)


def compare_tables(rounds: int) -> None:
    """Print what SignSGD takes on tables of several sizes, for rows drawn from all of each."""
    seconds = take_turns({str(rows): sparse_update(rows) for rows in TABLES}, rounds)
    print(f"SignSGD of {BATCH} rows of a table; goal: 1x, however large the table is")
    least = seconds[str(TABLES[0])]
    lines = [(f"{int(rows):,}", f"{1e3 * s:.2f}", f"{s / least:.2f}x") for rows, s in seconds.items()]
    table(("rows of the table", "CPU milliseconds", "to the smallest"), lines)


def sparse_update(rows: int) -> Work:
    """Return an update of a table of `rows` rows by the gradients of one batch."""
    weights, grads = torch.zeros(rows, WIDTH), torch.randn(BATCH, WIDTH)
    ids = torch.randint(0, rows, (BATCH,))
    return lambda: sign_sgd(weights, ids, grads, 1e-2, 0.1)


class Ours:
    """The update as the trainer makes it, on a copy of the weights."""

    def __init__(self, model: nn.Module, grads: list[Tensor]) -> None:
        self.params = nn.ParameterList(p.detach().clone() for p in model.parameters())
        for p, grad in zip(self.params, grads, strict=True):
            p.grad = grad
        self.optimizer = AdamATan2(self.params.parameters(), LR, weight_decay=DECAY)
        self.average = WeightAverage(self.params, MU)

    def __call__(self) -> None:
        """Make one update."""
        self.optimizer.step()
        self.average.update(1)


class Plain:
    """The same update as one writes it down first, on a copy of the weights."""

    def __init__(self, model: nn.Module, grads: list[Tensor]) -> None:
        self.params, self.grads = [p.detach().clone() for p in model.parameters()], grads
        self.update = PlainUpdate(LR, DECAY, MU)

    def __call__(self) -> None:
        """Make one update; it drops the gradients, so they are put back first."""
        for p, grad in zip(self.params, self.grads, strict=True):
            p.grad = grad
        self.update((str(index), p) for index, p in enumerate(self.params))


def expect_equal(ours: Ours, plain: Plain) -> None:
    """Stop unless weights and averages are the same within rounding."""
    for name, found, expected in (
        ("weights", list(ours.params), plain.params),
        ("averages", list(ours.average.shadow.values()), list(plain.update.average.values())),
    ):
        worst = max(float((a.detach() - b).abs().max()) for a, b in zip(found, expected, strict=True))
        if worst > 1e-5:
            raise SystemExit(f"{name} differ by {worst}")


if __name__ == "__main__":
    main()
