"""How fast a training step is, as ratios to a plain rendering of the same step, both measured in this run.

    python benchmarks/train_step.py [--batch 4] [--rounds 3] [--compile] [--baseline DIR]

A step is forward, backward, Adam-atan2, the puzzle table's SignSGD and the weight average of the default model on
9 x 9 Sudokus. The plain rendering below goes by the formulas as one writes them down first: no fused products without
transposes, the library's attention, a Python loop for the optimizer. Both start from the same weights, and the script
stops if their losses differ by more than rounding.
"""

import argparse
import copy
import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from common import Work, all_turns, cpu_seconds, record, spread, table
from plain import PlainUpdate
from reference import ReferenceStep
from torch import Tensor

from trainer.dist import World
from trainer.flops import operations
from trainer.models import TrainableModel, build
from trainer.models.base import Batch, Carry, Draws
from trainer.models.prepare import prepare
from trainer.optim.adam_atan2 import AdamATan2
from trainer.optim.ema import WeightAverage
from trainer.optim.sign_sgd import SparseSignSGD
from trmkit.spec.model import TrmModel
from trmkit.spec.train import TrainSection

CELLS, VOCAB = 81, 11
HERE = World(0, 1, 0, torch.device("cpu"))
LR, DECAY, MU = 1e-4, 1.0, 0.999
KINDS = {"attention": {}, "mlp_t": {"mlp_t": True, "pos_encodings": "none"}}
GOALS = {"plain bf16": (1.2, 1.35), "plain fp32": (2.2, 2.5), "no prefix": (1.5, 1.65)}
"""What our fastest step must reach, and better: without a prefix, to plain bf16 with one."""
PRODUCTS = 10
ROUNDING = {"float32": 1e-5, "bfloat16": 2e-2}


def main() -> None:
    """Print a table for attention and one for the MLP over tokens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4, help="rows worked on at once")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the fastest counts")
    parser.add_argument("--compile", action="store_true", help="also with compiled blocks")
    parser.add_argument("--baseline", type=Path, help="folder with the reference implementation, measured too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for kind, fields in KINDS.items():
        compare(kind, fields, options.batch, options.rounds, compiled=options.compile, baseline=options.baseline)


def compare(
    kind: str, fields: dict[str, object], rows: int, rounds: int, *, compiled: bool, baseline: Path | None
) -> None:
    """Measure every variant of one kind of model and print their ratios."""
    batch = make_batch(rows)
    ours = {dtype: make(fields, forward_dtype=dtype) for dtype in ROUNDING}
    plain = {dtype: PlainStep(copy.deepcopy(ours[dtype]), fields, dtype, batch) for dtype in ROUNDING}
    our_bf16, our_fp32 = (OurStep(ours[dtype], batch) for dtype in ("bfloat16", "float32"))
    variants: dict[str, Work] = {
        "ours bf16": our_bf16,
        "plain bf16": plain["bfloat16"],
        "plain fp32": plain["float32"],
    }
    variants |= {name: OurStep(model, batch) for name, model in more(kind, fields, compiled=compiled)}
    if baseline is not None:
        variants |= references(baseline, ours["bfloat16"], batch, compiled=compiled)
    expect_equal_losses(kind, our_fp32, plain["float32"], "float32")
    expect_equal_losses(kind, our_bf16, plain["bfloat16"], "bfloat16")
    for name in list(variants)[3:]:
        print(f"{name}: first step in {cpu_seconds(variants[name]):.1f} CPU seconds")
    rates = {f"{dtype} product": product(rows, getattr(torch, dtype)) for dtype in ROUNDING}
    found = all_turns(variants | rates, rounds)
    print_ratios(kind, rows, {name: found[name] for name in variants})
    record_ratios(kind, found)
    print_rates(ours["bfloat16"], rows, found)


def more(kind: str, fields: dict[str, object], *, compiled: bool) -> list[tuple[str, TrainableModel]]:
    """Return the models in bfloat16 that are measured besides: without a prefix for the MLP over tokens, compiled."""
    short = {"puzzle_emb_ndim": 0, "puzzle_emb_len": 0}
    kinds = {"ours bf16": {}} | ({"ours bf16, no prefix": short} if kind == "mlp_t" else {})
    found = []
    for name, changes in kinds.items():
        if name != "ours bf16":
            found.append((name, make(fields, forward_dtype="bfloat16", **changes)))
        if compiled:
            fast = make(fields, forward_dtype="bfloat16", **changes)
            prepare(fast, TrainSection(steps=1, compile=True))
            found.append((f"{name}, compiled", fast))
    return found


def references(folder: Path, ours: TrainableModel, batch: Batch, *, compiled: bool) -> dict[str, Work]:
    """Return the reference's step, eager and compiled, after it has given the loss of ours."""
    found: dict[str, Work] = {}
    for name, compiles in {"reference bf16": False, "reference bf16, compiled": True}.items():
        if compiled or not compiles:
            update = PlainUpdate(LR, DECAY, MU)
            found[name] = ReferenceStep(folder, ours, batch, VOCAB, update, compiled=compiles)
    expect_equal_losses("reference", OurStep(copy.deepcopy(ours), batch), found["reference bf16"], "bfloat16")
    return found


def record_ratios(kind: str, found: dict[str, list[float]]) -> None:
    """Leave our fastest way's ratios for the table of `make bench`."""
    fastest = "ours bf16, compiled" if "ours bf16, compiled" in found else "ours bf16"
    for base in ("plain bf16", "plain fp32", "reference bf16", "reference bf16, compiled"):
        if base in found:
            must, stretch = GOALS.get(base, (None, None))
            record("train step", f"{kind}, to {base}", found[fastest], found[base], must=must, stretch=stretch)
    short = fastest.replace("bf16", "bf16, no prefix")
    if short in found:
        must, stretch = GOALS["no prefix"]
        record("train step", f"{kind} without prefix, to plain bf16", found[short], found["plain bf16"], must=must,
               stretch=stretch)  # fmt: skip


def product(rows: int, dtype: torch.dtype) -> Work:
    """Return the largest matrix product of a step, made ten times: how fast this machine could be."""
    x, weight = torch.randn(rows * (16 + CELLS), 512).to(dtype), torch.randn(3072, 512).to(dtype)
    return lambda: [F.linear(x, weight) for _ in range(PRODUCTS)]


def print_ratios(kind: str, rows: int, seconds: dict[str, list[float]]) -> None:
    """Print rows per CPU second of each variant, its ratio to both plain ones, and the goals."""
    print(
        f"train step, {kind}, {rows} rows; goals: {GOALS['plain bf16'][0]}x plain bf16,"
        f" {GOALS['plain fp32'][0]}x plain fp32"
    )
    lines = []
    for name, times in seconds.items():
        goal = f"{GOALS['no prefix'][0]}x plain bf16" if "no prefix" in name else ""
        base = seconds["plain bf16"]
        ratios = [f"{min(base) / min(times):.2f}x", spread(times, base)]
        ratios.append(f"{min(seconds['plain fp32']) / min(times):.2f}x")
        lines.append((name, f"{rows / min(times):.2f}", *ratios, goal))
    table(("variant", "rows per CPU second", "to plain bf16", "in rounds", "to plain fp32", "own goal"), lines)


def print_rates(model: TrainableModel, rows: int, seconds: dict[str, list[float]]) -> None:
    """Print operations per second of our step and the plain ones, and the part of a matrix product's that they are."""
    with torch.device("meta"):
        work = rows * operations(build(model.cfg, VOCAB, CELLS, 1))
    lines = []
    for name, dtype in (("ours bf16", "bfloat16"), ("plain bf16", "bfloat16"), ("plain fp32", "float32"),
                        ("ours bf16, compiled", "bfloat16")):  # fmt: skip
        if name in seconds:
            best = 2 * PRODUCTS * rows * (16 + CELLS) * 512 * 3072 / min(seconds[f"{dtype} product"])
            rate = work / min(seconds[name])
            lines.append((name, f"{rate / 1e9:.0f}", f"{best / 1e9:.0f}", f"{100 * rate / best:.0f} %"))
    table(("variant", "GFLOP/s", "of a matrix product", "reached"), lines)


def expect_equal_losses(kind: str, ours: Callable[[], float], plain: Callable[[], float], dtype: str) -> None:
    """Stop unless the first step of both gives the same loss."""
    one, two = ours(), plain()
    if not math.isclose(one, two, rel_tol=ROUNDING[dtype]):
        raise SystemExit(f"{kind} in {dtype}: ours has loss {one}, the plain rendering {two}")


def make(fields: dict[str, object], **more: object) -> TrainableModel:
    """Return a model of the default size with some fields changed and random weights."""
    torch.manual_seed(0)
    return build(TrmModel.model_validate({"family": "trm", **fields, **more}), VOCAB, CELLS, 1)


def make_batch(rows: int) -> Batch:
    """Return random questions and answers."""
    generator = torch.Generator().manual_seed(1)
    inputs, labels = torch.randint(1, VOCAB, (2, rows, CELLS), generator=generator, dtype=torch.int32)
    return {"inputs": inputs, "labels": labels, "puzzle_identifiers": torch.zeros(rows, dtype=torch.int32)}


class OurStep:
    """The step as the trainer makes it."""

    def __init__(self, model: TrainableModel, batch: Batch) -> None:
        self.model, self.batch = model.train(), batch
        self.optimizer = AdamATan2(model.parameters(), LR, weight_decay=DECAY)
        self.average = WeightAverage(model, MU)
        table = getattr(model.inner, "puzzle_emb", None)
        self.table = SparseSignSGD(table, DECAY, HERE) if table is not None else None
        self.carry: Carry | None = None
        self.calls = 0

    def __call__(self) -> float:
        """Make one step; return its loss per row."""
        rows = len(self.batch["inputs"])
        self.optimizer.zero_grad(set_to_none=True)
        draws = Draws(0, self.calls, slice(0, rows), rows, torch.device("cpu"))
        step = self.model(self.carry, self.batch, draws)
        torch.autograd.backward(step.loss / rows)
        self.optimizer.step()
        if self.table is not None:
            self.table.step(LR)
        self.average.update(1)
        self.carry, self.calls = step.carry, self.calls + 1
        return float(step.loss.detach()) / rows


class PlainStep:
    """The same step, written down in the plainest way."""

    def __init__(self, model: TrainableModel, fields: dict[str, object], dtype: str, batch: Batch) -> None:
        self.weights = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
        self.update = PlainUpdate(LR, DECAY, MU)
        state = model.state_dict()
        self.puzzle, self.start = (
            state["inner.puzzle_emb.weights"].clone(),
            (state["inner.H_init"], state["inner.L_init"]),
        )
        self.mlp_t, self.dtype, self.batch = bool(fields), getattr(torch, dtype), batch
        rows = len(batch["inputs"])
        self.z = [start.expand(rows, 16 + CELLS, 512).clone() for start in self.start]
        self.halted = torch.ones(rows, dtype=torch.bool)
        self.steps = torch.zeros(rows, dtype=torch.int32)

    def __call__(self) -> float:
        """Make one step; return its loss per row."""
        rows = len(self.batch["inputs"])
        for index, start in enumerate(self.start):
            self.z[index] = torch.where(self.halted.view(-1, 1, 1), start, self.z[index])
        self.steps = torch.where(self.halted, 0, self.steps) + 1
        vectors = self.puzzle[self.batch["puzzle_identifiers"].long()].requires_grad_()
        loss, q_halt = self.forward(vectors)
        torch.autograd.backward(loss / rows)
        with torch.no_grad():
            self.update(self.weights.items())
            assert vectors.grad is not None
            self.puzzle = self.puzzle * (1 - LR * DECAY) - LR * vectors.grad.sum(0).sign()
        explore = (torch.rand(rows) < 0.1) * torch.randint(2, 17, (rows,))
        self.halted = ((self.steps >= 16) | (q_halt > 0)) & (self.steps >= explore)
        return float(loss.detach()) / rows

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, summed over rows, and the q-head's word on each."""
        tokens = F.embedding(self.batch["inputs"].long(), self._weight("inner.embed_tokens.embedding_weight"))
        prefix = F.pad(vectors.to(self.dtype), (0, 15 * 512)).view(-1, 16, 512)
        x = math.sqrt(512) * torch.cat((prefix, tokens), dim=1)
        y, z = self.z
        with torch.no_grad():
            for _ in range(2):
                for _ in range(6):
                    z = self._level(z, y + x)
                y = self._level(y, z)
        for _ in range(6):
            z = self._level(z, y + x)
        y = self._level(y, z)
        self.z = [y.detach(), z.detach()]
        logits = F.linear(y, self._weight("inner.lm_head.weight"))[:, 16:].to(torch.float64)
        q = F.linear(y[:, 0], self._weight("inner.q_head.weight"), self._weight("inner.q_head.bias")).float()
        s = torch.where(logits < 0, 1 / (1 - logits + 1e-30), logits + 1)
        labels = self.batch["labels"].long()
        log_p = torch.log(s / s.sum(-1, keepdim=True)).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        correct = (logits.argmax(-1) == labels).all(-1).float()
        q_loss = F.binary_cross_entropy_with_logits(q[:, 0], correct, reduction="sum")
        return (-log_p.sum(-1) / CELLS).sum() + 0.5 * q_loss, q[:, 0].detach()

    def _weight(self, name: str) -> Tensor:
        return self.weights[name].to(self.dtype)

    def _level(self, state: Tensor, injected: Tensor) -> Tensor:
        x = state + injected
        for layer in range(2):
            name = f"inner.L_level.layers.{layer}"
            if self.mlp_t:
                x = x.transpose(1, 2)
                x = rms(x + self._swiglu(x, f"{name}.mlp_t"))
                x = x.transpose(1, 2)
            else:
                x = rms(x + self._attention(x, f"{name}.self_attn"))
            x = rms(x + self._swiglu(x, f"{name}.mlp"))
        return x

    def _swiglu(self, x: Tensor, name: str) -> Tensor:
        gate, up = F.linear(x, self._weight(f"{name}.gate_up_proj.weight")).chunk(2, dim=-1)
        return F.linear(F.silu(gate) * up, self._weight(f"{name}.down_proj.weight"))

    def _attention(self, x: Tensor, name: str) -> Tensor:
        rows, tokens, _ = x.shape
        qkv = F.linear(x, self._weight(f"{name}.qkv_proj.weight")).view(rows, tokens, 24, 64)
        q, k, v = qkv[:, :, :8], qkv[:, :, 8:16], qkv[:, :, 16:]
        q, k = rotate(q), rotate(k)
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return F.linear(mixed.transpose(1, 2).reshape(rows, tokens, 512), self._weight(f"{name}.o_proj.weight"))


def rms(x: Tensor) -> Tensor:
    """Divide by the root mean square of the last axis."""
    wide = x.to(torch.float32)
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


FREQUENCIES = 1 / 10000 ** (torch.arange(0, 64, 2, dtype=torch.float32) / 64)
ANGLES = torch.outer(torch.arange(16 + CELLS, dtype=torch.float32), FREQUENCIES).repeat(1, 2)
COS, SIN = ANGLES.cos().unsqueeze(-2), ANGLES.sin().unsqueeze(-2)


def rotate(x: Tensor) -> Tensor:
    """Turn [B, T, h, d] by its positions."""
    low, high = x[..., :32], x[..., 32:]
    return ((x.float() * COS) + (torch.cat((-high, low), dim=-1).float() * SIN)).to(x.dtype)


if __name__ == "__main__":
    main()
