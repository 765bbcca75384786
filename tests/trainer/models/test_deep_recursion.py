"""What the convolutional model promises: its sizes, the graph of its steps, which rows it works on, what it is told."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from trainer.models.base import Batch, SparseEmbedding
from trainer.models.conv import Norm
from trainer.models.deep_recursion import ARCDeepRecursiveModel, DeepRecursion, build, weighted_loss
from trainer.models.prepare import prepare
from trmkit.errors import SpecError
from trmkit.spec.model import DeepRecursionModel
from trmkit.spec.train import TrainSection

SMALL: dict[str, Any] = {
    "family": "deep_recursion",
    "base_channels": 8,
    "latent_channels": 64,
    "n_res_blocks": 1,
    "dropout": 0.0,
    "puzzle_emb_ndim": 8,
}


def make(cells: int = 144, **options: Any) -> DeepRecursion:
    torch.manual_seed(0)
    return build(DeepRecursionModel(**(SMALL | options)), vocab=12, cells=cells, identifiers=5)


def batch(rows: int = 3, cells: int = 144, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    grids = torch.randint(0, 12, (2, rows, cells), generator=generator, dtype=torch.int32)
    identifiers = torch.randint(1, 5, (rows,), generator=generator, dtype=torch.int32)
    return {"inputs": grids[0], "labels": grids[1], "puzzle_identifiers": identifiers}


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def kept_bytes(model: DeepRecursion, rows: int = 2) -> int:
    """Return the bytes that one call keeps for its backward pass, but for the weights."""
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    with saved_tensors_hooks(note, lambda tensor: tensor):
        step = model.train()(None, batch(rows))
    del step
    return sum(value.untyped_storage().nbytes() for key, value in kept.items() if key not in weights)


@pytest.mark.parametrize(
    ("base", "latent", "millions"), [(32, 256, 4.86), (48, 384, 10.9), (64, 512, 19.4), (96, 768, 43.6)]
)
def test_the_sizes_are_those_it_was_described_with(base: int, latent: int, millions: float) -> None:
    with torch.device("meta"):
        model = ARCDeepRecursiveModel(base_channels=base, latent_channels=latent)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1e6 * millions, rel=0.01)
    assert not any(isinstance(module, SparseEmbedding) for module in model.modules())


def test_it_is_called_as_it_was_described() -> None:
    model = ARCDeepRecursiveModel(10, 8, 64, 1)
    x = torch.randint(0, 12, (2, 32, 32))
    assert model(x, n_steps=2).shape == (2, 32, 32, 12)
    last, every = model(x, 3, return_all_steps=True)
    assert len(every) == 3
    torch.testing.assert_close(last, every[-1])
    last, every = model.eval().deep_recursion_forward(x, n_inner_steps=2, n_outer_steps=3, detach_outer=True)
    assert [step.shape for step in every] == 3 * [(2, 32, 32, 12)]
    torch.testing.assert_close(last, model(x, 6))


def test_any_number_of_channels_is_normalised_in_groups() -> None:
    assert [Norm(channels).num_groups for channels in (8, 32, 48, 96, 512)] == [8, 32, 16, 32, 32]


@pytest.mark.parametrize("feedback", ["softmax", "logits"])
def test_going_backwards_after_each_outer_step_gives_the_gradients_of_the_detached_graph(feedback: str) -> None:
    model, one = make(n_inner=2, n_outer=3, feedback=feedback), batch()
    carry = None
    for _ in range(model.calls_per_update):
        step = model.train()(carry, one)
        step.loss.backward()
        carry = step.carry
    apart = gradients(model)
    model.zero_grad()
    inputs = one["inputs"].view(-1, 12, 12)
    _, every = model.inner.deep_recursion_forward(inputs, 2, 3, tasks=one["puzzle_identifiers"])
    sum(weighted_loss(y.flatten(1, 2), one["labels"], 1.0).sum() / 3 for y in every).backward()  # type: ignore[union-attr]
    assert gradients(model).keys() == apart.keys() == dict(model.named_parameters()).keys()
    for name, grad in gradients(model).items():
        # rounding grows from step to step, how far depends on the processor; a step forgotten is a third off
        torch.testing.assert_close(apart[name], grad, rtol=0, atol=5e-3 * float(grad.abs().max()), msg=name)


def test_memory_grows_with_inner_steps_and_not_with_outer_ones() -> None:
    full = kept_bytes(make(n_inner=9, n_outer=1))
    three = kept_bytes(make(n_inner=3, n_outer=3))
    assert three <= 0.45 * full
    assert kept_bytes(make(n_inner=3, n_outer=12)) == three
    assert kept_bytes(make(n_inner=9, n_outer=1, no_grad_inner=True)) < 0.2 * full


def test_recomputing_keeps_little_and_changes_no_gradient() -> None:
    found = []
    for recompute in (False, True):
        model = make(n_inner=3, dropout=0.2)
        prepare(model, TrainSection(steps=1, batch_size=1, activation_checkpointing=recompute))
        torch.manual_seed(5)
        model.train()(None, batch()).loss.backward()
        found.append((gradients(model), kept_bytes(model)))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert found[1][1] < 0.2 * found[0][1]


@pytest.mark.parametrize(("updates", "calls"), [("accumulate", 3), ("per_outer", 1)])
def test_rows_are_worked_on_for_all_outer_steps_and_then_make_room(updates: str, calls: int) -> None:
    model = make(n_outer=3, n_inner=1, updates=updates).train()
    assert model.calls_per_update == calls
    first, second, carry = batch(seed=1), batch(seed=2), None
    for call in range(6):
        step = model(carry, first if call == 0 else second)
        carry = step.carry
        wanted = first if call < 3 else second
        assert torch.equal(carry["inputs"], wanted["inputs"])
        assert carry["steps"].tolist() == 3 * [call % 3 + 1]
        assert carry["halted"].all() == (call % 3 == 2)
        assert int(step.metrics["count"]) == (3 if call % 3 == 2 else 0)
        assert float(step.loss.detach()) == pytest.approx(float(step.metrics["lm_loss"]) / calls)
        assert not any(value.requires_grad for value in carry.values())


def test_a_row_starts_from_the_learned_answer_and_trains_it_at_its_first_step_alone() -> None:
    model = make(n_inner=1).train()
    begun = model.begin(batch())
    torch.testing.assert_close(begun["y"], model.inner.y_init.detach().expand(3, -1, -1, -1))
    assert not begun["z"].any()
    step = model(begun, batch())
    step.loss.backward()
    assert gradients(model)["inner.y_init"].any()
    model.zero_grad()
    model(step.carry, batch()).loss.backward()
    assert not gradients(model)["inner.y_init"].any()


def test_more_steps_can_be_taken_than_were_trained() -> None:
    model, one = make(n_inner=1, n_outer=2, n_inner_eval=2).eval(), batch()
    model.max_steps = 4
    carry: Any = model.begin(one)
    for step in range(1, 5):
        out = model(carry, one)
        carry = out.carry
        assert carry["halted"].all() == (step == 4)
    deep = model.inner(one["inputs"].view(-1, 12, 12), 8, tasks=one["puzzle_identifiers"])
    torch.testing.assert_close(out.outputs["logits"], deep.flatten(1, 2), rtol=1e-4, atol=1e-4)


def test_an_untrained_task_changes_nothing_and_learns_from_the_first_gradient_on() -> None:
    model, one = make(n_inner=1).eval(), batch()
    other = one | {"puzzle_identifiers": torch.zeros(3, dtype=torch.int32)}
    torch.testing.assert_close(model(None, one).outputs["logits"], model(None, other).outputs["logits"])
    nobody = model.inner(one["inputs"].view(-1, 12, 12))
    torch.testing.assert_close(model(None, one).outputs["logits"], nobody.flatten(1, 2))
    model.train()(None, one).loss.backward()
    ((_, vectors),) = model.inner.tasks.touched  # type: ignore[union-attr]
    assert vectors.grad is not None
    assert (vectors.grad != 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"combine": "concat"},
        {"bottleneck_blocks": 2},
        {"n_res_blocks": 0},
        {"forward_dtype": "bfloat16"},
        {"no_grad_inner": True},
        {"puzzle_emb_ndim": 0},
    ],
    ids=str,
)
def test_every_option_trains(options: Any) -> None:
    model = make(n_inner=2, **options).train()
    step = model(None, batch())
    step.loss.backward()
    found = gradients(model)
    assert set(dict(model.named_parameters())) - set(found) <= {"inner.y_init"}
    assert all(torch.isfinite(grad).all() and grad.dtype == torch.float32 for grad in found.values())
    assert step.outputs["logits"].dtype == torch.float32


@pytest.mark.parametrize("cells", [16, 81, 144, 256, 900])
def test_any_square_canvas_is_looked_at(cells: int) -> None:
    step = make(cells, n_inner=1, latent_channels=128)(None, batch(2, cells))
    assert step.outputs["logits"].shape == (2, cells, 12)
    assert step.outputs["q_halt"].shape == (2,)


def test_a_canvas_that_is_no_square_and_a_latent_state_of_single_numbers_are_refused() -> None:
    with pytest.raises(SpecError, match="rows of 80 cells are none"):
        make(80)
    with pytest.raises(
        SpecError, match="latent_channels: on 8 x 8 cells a channel is a single number, and of 64 channels 2"
    ):
        make(64)


def test_empty_cells_weigh_what_they_are_told_to_and_ignored_ones_nothing() -> None:
    logits = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(3))
    labels = torch.tensor([[0, 2, 1, -100]])
    ce = -logits.log_softmax(-1)[0, torch.arange(3), labels[0, :3]]
    for weight in (0.0, 0.5, 1.0):
        expected = (weight * ce[0] + ce[1] + ce[2]) / (weight + 2)
        torch.testing.assert_close(weighted_loss(logits, labels, weight)[0], expected)
    assert float(weighted_loss(logits, torch.full((1, 4), -100), 1.0)) == 0


def test_a_row_is_right_when_every_labelled_cell_is() -> None:
    model, one = make(n_inner=1, n_outer=1).eval(), batch()
    one["labels"] = model(None, one).outputs["preds"].int()
    one["labels"][1, 7] = (one["labels"][1, 7] + 1) % 12
    one["labels"][2, 7] = -100
    found = model(None, one).metrics
    assert {name: float(found[name]) for name in ("count", "exact_accuracy", "steps")} == {
        "count": 3, "exact_accuracy": 2, "steps": 3,
    }  # fmt: skip
    assert float(found["accuracy"]) == pytest.approx(2 + 143 / 144)
