"""The model gives the reference implementation's numbers, one supervision step at a time from its recorded carry."""

from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.models.base import Carry
from trainer.models.trm import TinyRecursiveReasoningModel_ACTV1, build
from trmkit.spec.model import TrmModel

NAMES = {"q_halt": "q_halt_logits", "q_continue": "q_continue_logits", "logits": "logits"}


@pytest.fixture(scope="module")
def recorded(vectors: Path) -> Any:
    return torch.load(vectors / "trm_small_att.pt", weights_only=True)


@pytest.fixture
def model(recorded: Any) -> TinyRecursiveReasoningModel_ACTV1:
    model = fresh(recorded)
    model.load_state_dict({name.removeprefix("model."): value for name, value in recorded["state_dict"].items()})
    return model


def fresh(recorded: Any) -> TinyRecursiveReasoningModel_ACTV1:
    theirs = recorded["config"]
    fields = {name: value for name, value in theirs.items() if name in TrmModel.model_fields}
    torch.manual_seed(recorded["init_seed"])
    cfg = TrmModel(family="trm", **(fields | {"expansion": float(fields["expansion"])}))
    return build(cfg, theirs["vocab_size"], theirs["seq_len"], theirs["num_puzzle_identifiers"])


def flat(carry: dict[str, Any]) -> Carry:
    return {name: value for name, value in carry.items() if name != "current_data"} | carry["current_data"]


def test_initial_weights_equal_the_references(recorded: Any) -> None:
    ours = fresh(recorded).state_dict()
    theirs = {name.removeprefix("model."): value for name, value in recorded["state_dict_fresh"].items()}
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-7, rtol=0)


def test_input_embedding_equals_the_references(recorded: Any, model: TinyRecursiveReasoningModel_ACTV1) -> None:
    batch = recorded["batches"][0]
    embedded = model.inner.embed(batch["inputs"], batch["puzzle_identifiers"])
    torch.testing.assert_close(embedded, recorded["input_embeddings_batch0"], atol=1e-6, rtol=1e-6)


def test_one_application_of_the_network_equals_the_references(
    recorded: Any, model: TinyRecursiveReasoningModel_ACTV1
) -> None:
    inner, x = model.inner, recorded["input_embeddings_batch0"]
    z_H, z_L = inner.initial_states(len(x))
    torch.testing.assert_close(
        inner.L_level(z_L, z_H + x, inner.rotary_emb), recorded["L_level_first_application"], atol=1e-5, rtol=1e-5
    )


def test_rotary_positions_equal_the_references(recorded: Any, model: TinyRecursiveReasoningModel_ACTV1) -> None:
    rotary = model.inner.rotary_emb
    assert rotary is not None
    torch.testing.assert_close(rotary.cos, recorded["rope_cos"], atol=1e-6, rtol=0)
    torch.testing.assert_close(rotary.sin, recorded["rope_sin"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("step", range(4))
def test_an_evaluation_step_equals_the_references(
    recorded: Any, model: TinyRecursiveReasoningModel_ACTV1, step: int
) -> None:
    before = flat(recorded["eval_steps"][step - 1]["carry"]) if step else None
    model.eval()
    with torch.no_grad():
        found = model(before, recorded["batches"][0])
    expect_equal(found, recorded["eval_steps"][step])


@pytest.mark.parametrize("step", range(8))
def test_a_training_step_and_its_gradients_equal_the_references(
    recorded: Any, model: TinyRecursiveReasoningModel_ACTV1, step: int
) -> None:
    theirs = recorded["train_steps"][step]
    before = flat(recorded["train_steps"][step - 1]["carry"]) if step else None
    model.train()
    torch.manual_seed(theirs["seed"])
    found = model(before, recorded["batches"][step])
    (found.loss / 8).backward()
    expect_equal(found, theirs)
    for name, p in model.named_parameters():
        expected = theirs["grads"]["model." + name]
        assert p.grad is not None
        assert (p.grad - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert model.inner.puzzle_emb is not None
    ((identifiers, vectors),) = model.inner.puzzle_emb.touched
    assert torch.equal(identifiers, theirs["puzzle_emb_local_ids"])
    torch.testing.assert_close(vectors.grad, theirs["puzzle_emb_local_grad"], atol=1e-6, rtol=1e-5)


def expect_equal(found: Any, theirs: Any) -> None:
    """Compare at the tolerances that come with the vectors."""
    torch.testing.assert_close(found.loss.detach(), theirs["loss"], rtol=1e-6, atol=0)
    for ours, name in NAMES.items():
        torch.testing.assert_close(found.outputs[ours], theirs["outputs"][name], atol=1e-4, rtol=0)
    assert torch.equal(found.outputs["preds"], theirs["outputs"]["preds"])
    for name, value in flat(theirs["carry"]).items():
        if value.is_floating_point():
            torch.testing.assert_close(found.carry[name], value, atol=1e-4, rtol=0)
        else:
            assert torch.equal(found.carry[name], value), name
    for name, value in theirs["metrics"].items():
        assert found.metrics[name].item() == pytest.approx(value.item(), rel=1e-5), name
