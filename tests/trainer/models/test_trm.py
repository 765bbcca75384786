"""What the model promises beyond the recorded numbers: sizes, halting, variants, options that change no number."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.models.base import Batch, Draws
from trainer.models.halting import bootstrapped_target, finished
from trainer.models.prepare import prepare
from trainer.models.trm import TinyRecursiveReasoningModel_ACTV1, build
from trmkit.spec.model import TrmModel
from trmkit.spec.train import TrainSection

SMALL: dict[str, Any] = {
    "family": "trm",
    "hidden_size": 16,
    "num_heads": 2,
    "H_cycles": 2,
    "L_cycles": 2,
    "halt_max_steps": 3,
    "puzzle_emb_ndim": 16,
    "puzzle_emb_len": 2,
    "forward_dtype": "float32",
}


def make(**options: Any) -> TinyRecursiveReasoningModel_ACTV1:
    torch.manual_seed(0)
    return build(TrmModel(**(SMALL | options)), vocab=6, cells=16, identifiers=5)


def batch(rows: int = 4, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(1, 6, (2, rows, 16), generator=generator, dtype=torch.int32)
    identifiers = torch.randint(0, 5, (rows,), generator=generator, dtype=torch.int32)
    return {"inputs": cells[0], "labels": cells[1], "puzzle_identifiers": identifiers}


@pytest.mark.parametrize(
    ("vocab", "cells", "options", "expected"),
    [
        (11, 81, {"mlp_t": True, "pos_encodings": "none"}, 5_028_866),
        (11, 81, {}, 6_828_034),
        (6, 900, {"L_cycles": 4}, 6_822_914),
        (12, 900, {"L_cycles": 4}, 6_829_058),
        (12, 900, {"mlp_t": True, "pos_encodings": "none"}, 18_801_666),
    ],
    ids=["sudoku-mlp", "sudoku-attention", "maze", "arc", "arc-mlp"],
)
def test_published_models_have_the_published_number_of_parameters(
    vocab: int, cells: int, options: dict[str, Any], expected: int
) -> None:
    with torch.device("meta"):
        model = build(TrmModel(family="trm", **options), vocab, cells, identifiers=10)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_a_halted_row_takes_the_next_puzzle_and_the_others_go_on() -> None:
    model = make().train()
    carry = model.initial_carry(batch(seed=1))
    carry["halted"] = torch.tensor([True, False, True, False])
    carry["steps"] = torch.tensor([3, 1, 2, 1], dtype=torch.int32)
    carry["inputs"] = batch(seed=2)["inputs"]
    after = model(carry, batch(seed=3)).carry
    assert after is not None
    for row, source in enumerate((3, 2, 3, 2)):
        assert torch.equal(after["inputs"][row], batch(seed=source)["inputs"][row])
    assert after["steps"].tolist() == [1, 2, 1, 2]


def test_evaluation_works_every_step_and_training_halts_by_the_q_head() -> None:
    sure = torch.full((4,), 9.0)
    steps = torch.tensor([1, 2, 3, 3], dtype=torch.int32)
    halted = finished(sure, None, steps, max_steps=3, exploration=0.0, draws=None)
    assert halted.all()
    halted = finished(-sure, None, steps, max_steps=3, exploration=0.0, draws=None)
    assert halted.tolist() == [False, False, True, True]
    model = make().eval()
    carry = None
    for expected in (False, False, True):
        step = model(carry, batch())
        carry = step.carry
        assert carry is not None
        assert (carry["halted"] == expected).all()


def test_exploration_holds_rows_back_but_never_beyond_the_last_step() -> None:
    sure = torch.full((1000,), 9.0)
    for age, most in ((1, 1.0), (2, 1.0), (4, 1.0)):
        steps = torch.full((1000,), age, dtype=torch.int32)
        draws = Draws(0, age, slice(0, 1000), 1000, torch.device("cpu"))
        halted = finished(sure, None, steps, max_steps=4, exploration=most, draws=draws).float().mean()
        expected = {1: 0.0, 2: 1 / 3, 4: 1.0}[age]
        assert halted.item() == pytest.approx(expected, abs=0.06)


def test_another_seed_draws_other_numbers_at_every_step() -> None:
    def drawn(seed: int, step: int) -> list[float]:
        return Draws(seed, step, slice(0, 4), 4, torch.device("cpu")).uniform().tolist()

    found = {tuple(drawn(seed, step)) for seed in (0, 1, 2, 1 << 40) for step in range(50)}
    assert len(found) == 200


def test_a_row_gets_the_same_draws_however_rows_are_spread() -> None:
    cpu = torch.device("cpu")
    whole = Draws(7, 3, slice(0, 12), 12, cpu)
    parts = [Draws(7, 3, slice(at, at + 4), 12, cpu) for at in (0, 4, 8)]
    assert torch.equal(whole.uniform(), torch.cat([part.uniform() for part in parts]))
    assert torch.equal(whole.integers(2, 9), torch.cat([part.integers(2, 9) for part in parts]))


def test_the_value_of_going_on_is_bootstrapped_from_the_next_step() -> None:
    last = torch.tensor([False, False, True])
    target = bootstrapped_target(last, torch.tensor([1.0, -1.0, -1.0]), torch.tensor([0.0, 2.0, 2.0]))
    torch.testing.assert_close(target, torch.sigmoid(torch.tensor([1.0, 2.0, -1.0])))


def test_the_continue_head_is_trained_only_where_it_is_used() -> None:
    for without in (True, False):
        model = make(no_ACT_continue=without).train()
        torch.nn.init.normal_(model.inner.q_head.weight)
        step = model(None, batch())
        step.loss.backward()
        bias = model.inner.q_head.bias
        assert bias is not None
        assert bias.grad is not None
        assert ("q_continue_loss" in step.metrics) is not without
        assert (bias.grad[1] != 0).item() is not without


@pytest.mark.parametrize(
    "options",
    [
        {"mlp_t": True, "pos_encodings": "none"},
        {"pos_encodings": "learned"},
        {"pos_encodings": "none"},
        {"single_z": True},
        {"puzzle_emb_ndim": 0, "puzzle_emb_len": 0},
        {"loss": "softmax"},
        {"loss_dtype": "float32"},
        {"no_ACT_continue": False},
        {"forward_dtype": "bfloat16"},
        {"halt_max_steps": 1},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_variant_learns_a_batch(options: dict[str, Any]) -> None:
    model = make(**options).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    data, losses = batch(), []
    for _ in range(25):
        optimizer.zero_grad()
        step = model(None, data)
        step.loss.backward()
        optimizer.step()
        losses.append(step.metrics["lm_loss"].item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.filterwarnings("ignore")  # torch's own: its compiler's imports, and how it looks at gradients
@pytest.mark.parametrize("option", ["compile", "activation_checkpointing"])
def test_options_of_computing_change_no_number(option: str) -> None:
    if option == "compile":
        torch._dynamo.reset()
    numbers = []
    for chosen in (False, True):
        model = make().train()
        prepare(model, TrainSection(steps=1, **{option: chosen}))
        model(None, batch()).loss.backward()
        numbers.append([p.grad for p in model.parameters()])
    for plain, changed in zip(*numbers, strict=True):
        torch.testing.assert_close(changed, plain, rtol=1e-5, atol=1e-6)


class Casts(TorchDispatchMode):
    """Counts weights that are cast to bfloat16."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let everything be done as it is."""
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("dtype") == torch.bfloat16:
            self.count += args[0].dtype == torch.float32 and args[0].dim() == 2
        return func(*args, **kwargs)


@pytest.mark.parametrize("mlp_t", [False, True], ids=["attention", "mlp_t"])
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_weights_are_cast_once_a_step_and_no_number_knows(mlp_t: bool, recompute: bool) -> None:
    numbers, counts = [], []
    for once in (True, False):
        options = {"pos_encodings": "none"} if mlp_t else {}
        model = make(forward_dtype="bfloat16", mlp_t=mlp_t, **options).train()
        prepare(model, TrainSection(steps=1, activation_checkpointing=recompute))
        if not once:
            model.inner.L_level.weights_in = lambda dtype: nullcontext()
        with Casts() as casts:
            step = model(None, batch())
        step.loss.backward()
        numbers.append([step.outputs["logits"], *(p.grad for p in model.parameters())])
        counts.append(casts.count)
    assert all(torch.equal(one, other) for one, other in zip(*numbers, strict=True))
    assert counts[0] == counts[1] if recompute else counts[0] < counts[1] / 4


def test_only_the_last_cycle_has_a_gradient() -> None:
    model = make(H_cycles=3, L_cycles=2).train()
    calls: list[bool] = []
    model.inner.L_level.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    model(None, batch())
    assert calls == [False] * 6 + [True] * 3


def test_ignored_labels_count_neither_for_the_loss_nor_for_being_right() -> None:
    model = make().eval()
    data = batch()
    right = model(None, data).outputs["preds"]
    data["labels"] = right.int()
    data["labels"][:, 8:] = -100
    data["labels"][3] = -100
    model.max_steps = 1
    metrics = model(None, data).metrics
    assert metrics["count"].item() == 3
    assert metrics["exact_accuracy"].item() == 3
