"""What the rungs are made of, how large they are, and what a step of them says."""

from typing import Any, cast, get_args

import pytest
import torch

from tests.trainer.models.texts import CELLS, VARIANTS, batch, make, section
from trainer import optim
from trainer.flops import operations
from trainer.models import TrainableModel, build
from trainer.models.base import IGNORED_LABEL, Draws
from trainer.models.ladder.rungs import CONTROLS, differing
from trainer.models.ladder.rungs import RUNGS as TABLE
from trainer.models.ladder.sizes import SIZES
from trainer.models.prepare import prepare
from trainer.models.text import TextModel
from trmkit.spec.ladder import LadderModel, Size, Variant
from trmkit.spec.train import TrainSection

MILLIONS = {
    "nano": (18.23, 43.8), "50M": (24.3, 49.9), "125M": (86.9, 125.3), "300M": (252.0, 303.2), "350M": (299.2, 350.4),
    "760M": (696.4, 760.4), "1B": (911.3, 1013.7), "1B-16k": (897.1, 999.5),
}  # fmt: skip
PART = {"shared_loop": "depth", "latent": "thought", "act": "thought", "ssm": "mixer", "ssm_mem": "memory"}


def on_meta(variant: str, size: str, vocab: int = 260, cells: int = 256) -> TrainableModel:
    with torch.device("meta"):
        return build(LadderModel(family="ladder", variant=variant, size=size), vocab, cells, 1)


def count(model: TrainableModel) -> int:
    return sum(p.numel() for p in model.parameters())


def test_every_rung_differs_from_its_parent_by_one_part() -> None:
    assert set(TABLE) == set(get_args(Variant))
    rungs = [variant for variant in TABLE if variant not in ("baseline", *CONTROLS)]
    assert {variant: differing(variant) for variant in rungs} == {variant: {part} for variant, part in PART.items()}
    assert differing("nano_absolute") == {"positions", "block"}
    assert [variant for variant, rung in TABLE.items() if rung.parent is None] == ["baseline"]


@pytest.mark.parametrize("size", MILLIONS)
def test_sizes_are_what_their_names_say(size: str) -> None:
    for vocab, expected in zip((260, 50257), MILLIONS[size], strict=True):
        assert count(on_meta("baseline", size, vocab)) == pytest.approx(1e6 * expected, rel=0.005)


@pytest.mark.parametrize("size", [size for size in SIZES if size != "1B-16k"])
def test_layers_of_mamba_have_about_as_many_weights_as_those_of_attention(size: str) -> None:
    def layers(variant: str) -> int:
        model = on_meta(variant, size)
        return sum(p.numel() for name, p in model.named_parameters() if name.startswith("backbone."))

    assert layers("ssm") == pytest.approx(layers("latent"), rel=0.02)


def test_sizes_and_variants_have_every_size_and_variant() -> None:
    assert set(SIZES) == set(get_args(Size))


@pytest.mark.parametrize(
    "size", [size if size in ("pico", "nano") else pytest.param(size, marks=pytest.mark.full) for size in SIZES]
)
def test_a_step_of_every_size_can_be_traced_without_computing(size: str) -> None:
    for variant in VARIANTS:
        fits = size not in ("1B-16k",) or variant not in ("ssm", "ssm_mem")
        if fits and (variant != "nano_absolute" or size in ("pico", "nano")):
            assert operations(on_meta(variant, size)) > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_learns(variant: str) -> None:
    model = make(variant).train()
    model(None, batch()).loss.backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_says_how_much_was_right(variant: str) -> None:
    model, given = make(variant), batch(rows=2)
    given["labels"][1] = IGNORED_LABEL
    preds = model(None, given).outputs["preds"]
    given["labels"][0, :58] = preds[0, :58]  # two documents all right, the third all wrong
    given["labels"][0, 58:] = (preds[0, 58:] + 1) % 40
    step = model(None, given)
    assert step.carry is None
    assert float(step.metrics["count"]) == 1
    assert float(step.metrics["accuracy"]) == pytest.approx(58 / CELLS)
    assert float(step.metrics["exact_accuracy"]) == pytest.approx(2 / 3)
    assert step.outputs["logits"].dtype == torch.float32


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loss_is_weighted_by_label_and_shifts_nothing(variant: str) -> None:
    model, given = make(variant), batch(rows=2)
    given["label_weight"] = torch.tensor([2.0, 0.5])
    with torch.no_grad():
        step = model(None, given)
    log_p = step.outputs["logits"].log_softmax(-1)
    expected = 0.0
    for row, weight in enumerate((2.0, 0.5)):
        for place in range(CELLS):
            label = int(given["labels"][row, place])
            expected -= weight * float(log_p[row, place, label]) if label != IGNORED_LABEL else 0.0
    assert float(step.metrics["lm_loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_options_that_change_no_number_change_no_number(variant: str) -> None:
    plain, recomputed = make(variant).train(), make(variant).train()
    prepare(recomputed, TrainSection(steps=1, activation_checkpointing=True))
    losses = []
    for model in (plain, recomputed):
        step = model(None, batch())
        step.loss.backward()
        losses.append(step.loss.detach())
    torch.testing.assert_close(*losses, rtol=0, atol=0)
    for one, other in zip(plain.parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("variant", VARIANTS)
def test_sixteen_bits_come_close_to_thirty_two(variant: str) -> None:
    wide, narrow = make(variant), make(variant, forward_dtype="bfloat16")
    with torch.no_grad():
        a, b = (float(model(None, batch()).loss) for model in (wide, narrow))
    assert a == pytest.approx(b, rel=0.02)


@pytest.mark.parametrize("variant", VARIANTS)
def test_dropout_works_while_training_and_only_then(variant: str) -> None:
    model = make(variant, dropout=0.3)
    with torch.no_grad():
        assert torch.equal(model(None, batch()).loss, model(None, batch()).loss)
        model.train()
        assert not torch.equal(model(None, batch()).loss, model(None, batch()).loss)


def test_norms_embeddings_and_the_scalars_of_mamba_do_not_decay() -> None:
    model = make("ssm_mem")
    decayed, spared = optim.groups(model)
    names = {p: name for name, p in model.named_parameters()}
    kinds = {names[p].rpartition(".")[2] for p in spared["params"]}
    assert kinds == {"embedding_weight", "weight", "A_log", "D", "dt_bias", "initial"}
    assert all("norm" in names[p] for p in spared["params"] if names[p].endswith(".weight"))
    assert spared["weight_decay"] == 0
    assert {names[p].rpartition(".")[2] for p in decayed["params"]} == {"weight", "conv_weight"}


def test_depth_is_drawn_once_for_all_rows_and_has_the_mean_asked_for() -> None:
    model = cast(Any, make("shared_loop", n_unroll=6, loop_sampling="poisson_lognormal").train())

    def depth(step: int, rows: slice) -> int:
        return int(model.backbone.count(Draws(0, step, rows, 8, torch.device("cpu"))))

    depths = [depth(step, slice(0, 4)) for step in range(2000)]
    assert depths[:50] == [depth(step, slice(4, 8)) for step in range(50)]
    assert min(depths) >= 1
    assert sum(depths) / 2000 == pytest.approx(6, rel=0.05)
    assert len(set(depths)) > 5


def test_only_the_last_rounds_of_a_drawn_depth_have_gradients() -> None:
    losses = []
    for kept in (8, 1):
        model = make("shared_loop", n_unroll=6, loop_sampling="poisson_lognormal", loop_backprop=kept, loop_inject=True)
        model.train()
        step = model(None, batch(), Draws(0, 1, slice(0, 3), 3, torch.device("cpu")))
        step.loss.backward()
        losses.append(
            (float(step.loss.detach()), model.get_parameter("backbone.stack.layers.0.mlp.down_proj.weight").grad)
        )
    assert losses[0][0] == losses[1][0]
    assert not torch.equal(losses[0][1], losses[1][1])


def test_rounds_can_be_set_when_a_model_is_scored() -> None:
    for variant, given in (("shared_loop", 3), ("latent", 2), ("act", 4), ("ssm", 2), ("ssm_mem", 2)):
        model = cast(TextModel, make(variant))
        assert model.rounds == given
        tokens = batch()["inputs"]
        before = model.read(tokens, model.start(3, CELLS))
        model.rounds = given + 1
        assert not torch.allclose(before, model.read(tokens, model.start(3, CELLS)))
        with pytest.raises(ValueError, match="no number"):
            model.rounds = 0
    for variant in ("baseline", "nano_absolute"):
        assert cast(TextModel, make(variant)).rounds is None


@pytest.mark.parametrize("variant", ["baseline", "latent"])
def test_randomized_positions_are_drawn_while_training_and_alike_for_all_rows(variant: str) -> None:
    model = make(variant, positions="randomized", position_range=2000)
    given = batch()
    plain = model(None, given).loss
    model.train()
    first, again, other = (
        model(None, given, Draws(0, step, slice(0, 3), 3, torch.device("cpu"))) for step in (1, 1, 2)
    )
    assert torch.equal(first.loss, again.loss)
    assert not torch.equal(first.loss, other.loss)
    assert not torch.equal(first.loss, plain)


@pytest.mark.parametrize("variant", ["baseline", "latent"])
def test_randomized_positions_have_gaps_when_the_model_is_scored_and_are_always_the_same(variant: str) -> None:
    given = batch()
    sampled, plain = (cast(TextModel, make(variant, positions=kind)) for kind in ("randomized", "rope"))
    tokens, state = given["inputs"], torch.get_rng_state()
    found = [sampled.read(tokens, sampled.start(3, CELLS)) for _ in range(2)]
    assert torch.equal(*found)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.allclose(found[0], plain.read(tokens, plain.start(3, CELLS)), atol=1e-4)
    roomy = sampled.read(tokens, sampled.start(3, 256))  # as many places as positions: there are no gaps
    torch.testing.assert_close(roomy, plain.read(tokens, plain.start(3, CELLS)), rtol=0, atol=1e-5)


def test_a_section_with_wrong_parts_says_which() -> None:
    with pytest.raises(ValueError, match="size: 1B-16k has grouped-query"):
        section("ssm", size="1B-16k")


def test_grouped_heads_of_keys_are_shared() -> None:
    model = on_meta("baseline", "1B-16k")
    assert model.get_parameter("backbone.stack.layers.0.mixer.kv_proj.weight").shape == (2 * 4 * 128, 2048)
