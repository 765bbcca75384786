"""Training with less recursion, other targets, other weights of steps, and Muon."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.helpers import change, expect_near, final_state, fingerprint, newest_state, train_alone
from trainer import optim
from trainer.depth import depth_at, mean_row_flops, row_flops
from trainer.dist import World
from trainer.metrics import read_lines
from trainer.models.act import ActModel
from trainer.models.base import IGNORED_LABEL, Batch, Draws
from trainer.models.targets import interpolated, order_of_cells, step_weight
from trainer.models.trm import build
from trainer.subject import subject_of
from trmkit.errors import SpecError
from trmkit.spec.model import TrmModel
from trmkit.spec.recursion import RecursionSection
from trmkit.spec.run import RunFile
from trmkit.spec.train import TrainSection
from trmkit.store.layout import RunDirectory

HERE = torch.device("cpu")
EVERYTHING = (
    "train.recursion={depth: [{until: 0.3, H_cycles: 1, L_cycles: 1}, {until: 0.7, H_cycles: 1, H_cycles_up_to: 3,"
    " L_cycles: 2}], step_decay: 0.7, targets: interpolated, backprop: last}"
)


def small(**options: Any) -> ActModel:
    torch.manual_seed(0)
    keys: dict[str, Any] = {"hidden_size": 16, "num_heads": 2, "H_cycles": 2, "L_cycles": 2, "halt_max_steps": 4}
    keys |= {"puzzle_emb_ndim": 0, "puzzle_emb_len": 0, "forward_dtype": "float32", "loss_dtype": "float32"}
    return build(TrmModel(family="trm", **keys | options), vocab=6, cells=9, identifiers=1).train()


def questions(rows: int = 4) -> Batch:
    drawn = torch.randint(1, 6, (2, rows, 9), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    return {"inputs": drawn[0], "labels": drawn[1], "puzzle_identifiers": torch.zeros(rows, dtype=torch.int32)}


def test_a_curriculum_goes_from_phase_to_phase_and_ends_at_the_models_own_depth() -> None:
    run = change(
        None, "model.L_cycles=6", "model.H_cycles=3",
        "train.recursion.depth=[{until: 0.3, H_cycles: 1, L_cycles: 2}, {until: 0.6, H_cycles: 2, L_cycles: 4}]",
    )  # fmt: skip
    found = [depth_at(run, update, 10) for update in range(1, 11)]
    assert found == [(1, 2)] * 3 + [(2, 4)] * 3 + [(3, 6)] * 4


def test_a_drawn_depth_is_a_function_of_seed_and_update_and_takes_every_value() -> None:
    drawn = "train.recursion.depth=[{until: 1.0, H_cycles: 2, H_cycles_up_to: 4, L_cycles: 1}]"
    run, other = change(None, drawn), change(None, drawn, "seed=1")
    depths = [depth_at(run, update, 100) for update in range(1, 101)]
    assert depths == [depth_at(run, update, 100) for update in range(1, 101)]
    assert depths != [depth_at(other, update, 100) for update in range(1, 101)]
    assert set(depths) == {(2, 1), (3, 1), (4, 1)}


def test_a_model_is_as_deep_as_asked_in_training_and_always_whole_when_scored() -> None:
    model, shallow = small(), small(H_cycles=1, L_cycles=1)
    model.deepen(1, 1)
    batch = questions()
    assert torch.equal(model(None, batch).outputs["logits"], shallow(None, batch).outputs["logits"])
    whole = small().eval()
    assert torch.equal(model.eval()(None, batch).outputs["logits"], whole(None, batch).outputs["logits"])


def test_operations_are_counted_at_each_depth(small_run: RunFile) -> None:
    run = change(small_run, "train.recursion.depth=[{until: 0.5, H_cycles: 1, L_cycles: 1}]")
    data = subject_of(run)(run, World(0, 1, 0, HERE)).metadata
    whole, less = row_flops(run, data, (2, 1)), row_flops(run, data, (1, 1))
    assert whole > less
    assert mean_row_flops(run, data, 12) == pytest.approx((whole + less) / 2)
    train_alone(run)
    logged = [line["flops"] for line in read_lines(RunDirectory.of(run).metrics) if line["kind"] == "train"]
    assert logged == [3 * 8 * less] * 2 + [3 * 8 * whole] * 2
    last = change(small_run, "train.recursion.backprop=last", "model.L_cycles=4")
    assert row_flops(last, data, None) < row_flops(change(last, "train.recursion.backprop=cycle"), data, None)


@pytest.mark.parametrize("single", [False, True], ids=["two states", "one state"])
def test_a_gradient_of_the_last_updates_is_that_of_a_cycle_with_the_others_cut_off(single: bool) -> None:
    grads, values = [], []
    for cycles, last in ((1, True), (3, True), (3, False)):
        model = small(H_cycles=1, L_cycles=cycles, single_z=single)
        model.pursue(RecursionSection(backprop="last" if last else "cycle"))
        step = model(None, questions())
        step.loss.backward()
        values.append(float(step.loss.detach()))
        grads.append(torch.cat([p.grad.flatten() for p in model.inner.parameters() if p.grad is not None]))
    whole = small(H_cycles=1, L_cycles=1, single_z=single)
    whole(None, questions()).loss.backward()
    assert torch.equal(grads[0], torch.cat([p.grad.flatten() for p in whole.parameters() if p.grad is not None]))
    assert values[1] == values[2]
    assert not torch.allclose(grads[1], grads[2])


def test_a_row_is_shown_more_of_its_answer_at_each_step_and_at_last_all_of_it() -> None:
    batch = questions(50)
    inputs, labels = batch["inputs"], batch["labels"] + 10
    labels[:, 0] = IGNORED_LABEL
    before = torch.zeros_like(labels, dtype=torch.bool)
    for step in range(1, 5):
        target = interpolated(inputs, labels, torch.full((50,), step), 4)
        shown = target == labels
        assert (target[~shown] == inputs[~shown]).all()
        assert (shown | ~before).all()
        assert (target[:, 0] == IGNORED_LABEL).all()
        assert shown[:, 1:].float().mean() == pytest.approx(step / 4, abs=0.06)
        before = shown
    assert before.all()


def test_the_order_of_cells_is_the_same_for_equal_questions_and_another_for_others() -> None:
    inputs = questions(8)["inputs"]
    order = order_of_cells(inputs)
    assert torch.equal(order, order_of_cells(inputs.long().flip(0)).flip(0))
    assert (order >= 0).all()
    assert (order < 1).all()
    assert len(order.argsort(-1).unique(dim=0)) == 8


def test_rows_with_interpolated_targets_take_all_their_steps() -> None:
    model = small()
    with torch.no_grad():
        model.inner.q_head.bias.fill_(9.0)  # type: ignore[attr-defined]
    carry = model(None, questions(), Draws(0, 0, slice(0, 4), 4, HERE)).carry
    model.pursue(RecursionSection(targets="interpolated"))
    for step in range(1, 5):
        carry = model(carry if step > 1 else None, questions()).carry
        assert carry is not None
        assert carry["halted"].all() == (step == 4)


def test_later_steps_weigh_less_in_the_gradient_and_not_in_what_is_logged() -> None:
    assert step_weight(torch.tensor([1, 2, 3]), 0.5).tolist() == [1.0, 0.5, 0.25]
    plain, decayed = small(halt_max_steps=2), small(halt_max_steps=2)
    decayed.pursue(RecursionSection(step_decay=0.5))
    carry = plain.begin(questions()) | {"steps": torch.ones(4, dtype=torch.int32)}
    one, two = plain(carry, questions()), decayed(carry, questions())
    assert float(two.loss.detach()) == pytest.approx(float(one.loss.detach()) / 2)
    assert torch.equal(one.metrics["lm_loss"], two.metrics["lm_loss"])
    assert torch.equal(plain.eval()(carry, questions()).loss, decayed.eval()(carry, questions()).loss)


def test_a_stopped_run_with_every_option_ends_as_one_that_went_through(small_run: RunFile, tmp_path: Path) -> None:
    expected = change(small_run, EVERYTHING, "train.optimizer=muon", "model.L_cycles=2")
    train_alone(expected)
    stopped = change(expected, f"storage.path={tmp_path / 'stopped'}")
    root = RunDirectory.of(stopped).checkpoints
    train_alone(stopped)
    for step in (12, 8):
        (root / f"step_{step:08d}" / "manifest.json").unlink()
    train_alone(stopped)
    assert fingerprint(root) == fingerprint(RunDirectory.of(expected).checkpoints)


def test_parts_of_a_batch_make_the_same_update(small_run: RunFile) -> None:
    run = change(small_run, EVERYTHING, "model.L_cycles=2", "train.steps=4")
    expect_near(final_state(change(run, "train.accumulate=4")), final_state(run))


def test_muon_has_the_matrices_of_the_blocks_and_adam_the_rest(small_run: RunFile) -> None:
    model = small()
    optimizer = optim.build(model, TrainSection(steps=1, optimizer="muon"))
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.step()
    kept = {name: set(optimizer.state[p]) for name, p in model.named_parameters()}
    assert {name for name, what in kept.items() if "momentum_buffer" in what} == {
        f"inner.L_level.layers.{layer}.{part}.weight"
        for layer in (0, 1)
        for part in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
    }
    assert all(what in ({"momentum_buffer"}, {"step", "exp_avg", "exp_avg_sq"}) for what in kept.values())
    moved = {name: (p.detach() - before[name]).square().mean().sqrt() for name, p in model.named_parameters()}
    assert all(0.005 < float(size) < 0.2 for size in moved.values()), moved


def test_muon_without_matrices_is_refused_with_what_to_take_instead(small_run: RunFile) -> None:
    bare = "model={family: deep_recursion, base_channels: 8, latent_channels: 128, puzzle_emb_ndim: 0}"
    with pytest.raises(SpecError, match="muon moves the matrices") as refused:
        train_alone(change(small_run, bare, "train.optimizer=muon", "data.num_aug=0"))
    assert "adam_atan2" in refused.value.next


def test_muon_learns(small_run: RunFile) -> None:
    run = change(small_run, "train.optimizer=muon", "train.steps=60", "train.log.every_steps=20")
    train_alone(run)
    losses = [line["lm_loss"] for line in read_lines(RunDirectory.of(run).metrics) if line["kind"] == "train"]
    assert losses[-1] < losses[0] - 0.1
    assert any("momentum_buffer" in name for name in newest_state(run))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.recursion.depth=[{until: 0.5, H_cycles: 3, H_cycles_up_to: 2, L_cycles: 1}]"], "less than H_cycles 3"),
        (
            ["train.recursion.depth=[{until: 0.5, H_cycles: 1, L_cycles: 1}, {until: 0.5, H_cycles: 1, L_cycles: 1}]"],
            "its phases end at 0.5, 0.5; each must end later",
        ),
        (["train.recursion.targets=interpolated", "model.halt_max_steps=1"], "the only target is the answer"),
        (["train.recursion.targets=interpolated", "model.no_ACT_continue=false"], "nothing to learn from"),
        (["train.recursion.step_decay=0"], "above 0"),
        (["train.optimizer=muon", "train.parallel=fsdp"], "muon works on whole matrices"),
        (["train.recursion={}", "model={family: deep_recursion}"], "has no cycles to change"),
    ],
)
def test_what_makes_no_sense_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        change(None, *overrides)
