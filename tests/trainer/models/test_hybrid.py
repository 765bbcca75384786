"""The model conditioned on text: sizes, scale, ways that combine, and what the end token in the loss is worth."""

from typing import Any

import pytest
import torch

from trainer.data import grid
from trainer.models import hybrid
from trainer.models.base import IGNORED_LABEL, Batch
from trainer.models.hybrid import HybridTRMModel, build
from trmkit.spec.load import load
from trmkit.spec.model import HybridModel

SMALL: dict[str, Any] = {
    "family": "hybrid",
    "hidden_size": 32,
    "num_heads": 2,
    "L_layers": 1,
    "H_cycles": 2,
    "L_cycles": 1,
    "halt_max_steps": 3,
    "text_hidden_size": 24,
    "text_prefix_len": 3,
    "text_bottleneck": 8,
    "forward_dtype": "float32",
}
TABLE: dict[str, Any] = {"puzzle_emb_ndim": 32, "puzzle_emb_len": 2}
WAYS = [
    ("text_add",), ("text_prefix",), ("text_xattn",), ("none",), ("puzzle_emb",), ("puzzle_emb", "text_add"),
    ("text_add", "text_prefix", "text_xattn", "puzzle_emb"),
]  # fmt: skip
ROWS, CELLS = 4, 16


def section(*ways: str, **options: Any) -> HybridModel:
    table = TABLE if "puzzle_emb" in ways else {}
    return HybridModel(**(SMALL | table | {"conditioning": ways} | options))


def make(*ways: str, **options: Any) -> HybridTRMModel:
    torch.manual_seed(0)
    return build(section(*ways, **options), vocab=12, cells=CELLS, identifiers=5)


def batch(model: HybridTRMModel, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(0, 12, (2, ROWS, CELLS), generator=generator, dtype=torch.int32)
    ids = torch.randint(0, 5, (ROWS,), generator=generator, dtype=torch.int32)
    found = {"inputs": cells[0], "labels": cells[1], "puzzle_identifiers": ids}
    if "text" in model.data:
        shape = (ROWS, model.cfg.text_vectors, model.cfg.text_hidden_size)
        found["text"] = (30 * torch.randn(shape, generator=generator)).half()
    return found


def parameters(name: str) -> int:
    model = load(f"configs/{name}.yaml").model
    assert isinstance(model, HybridModel)
    with torch.device("meta"):
        return sum(p.numel() for p in build(model, 12, 900, 10).parameters())


def test_the_published_sizes_are_met() -> None:
    assert parameters("hybrid-phase1") == 11_022_336
    assert parameters("hybrid-mvp") == pytest.approx(50e6, rel=0.03)
    assert parameters("hybrid-full") == 10_443_778


@torch.no_grad()
@pytest.mark.parametrize("way", ["text_add", "text_prefix", "text_xattn"])
def test_what_text_adds_has_the_scale_of_a_token_embedding(way: str) -> None:
    model = make(way, hidden_size=256, text_hidden_size=512, text_vectors=4)
    row = batch(model)
    inner = model.inner
    text, seen, vector = inner.read(row["text"])
    tokens = inner.grid_embed(row["inputs"], torch.float32)
    if inner.z_projection is not None:
        added = inner.z_projection(vector) * 256**-0.5
    elif inner.text_prefix is not None:
        added = inner.text_prefix(vector)
    else:
        assert inner.text_xattn is not None
        added = inner.text_xattn(tokens, text, seen)
    assert float(added.std()) == pytest.approx(256**-0.5, rel=0.15)
    assert float(tokens.std()) == pytest.approx(256**-0.5, rel=0.15)


@pytest.mark.parametrize("ways", WAYS, ids="+".join)
def test_every_way_of_conditioning_works_alone_and_with_others(ways: tuple[str, ...]) -> None:
    model = make(*ways, text_vectors=3).train()
    rows = batch(model)
    step = model(None, rows)
    step.loss.backward()
    step = model(step.carry, rows)
    assert step.outputs["logits"].shape == (ROWS, CELLS, 12)
    assert step.carry is not None
    assert set(model.data) <= set(step.carry)
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert unused == []


@pytest.mark.parametrize("ways", [way for way in WAYS if way not in (("none",), ("puzzle_emb",))], ids="+".join)
def test_the_answer_depends_on_the_text(ways: tuple[str, ...]) -> None:
    model = make(*ways, text_vectors=2).eval()
    rows = batch(model)
    other = rows | {"text": batch(model, seed=2)["text"]}
    same = rows | {"text": 2 * rows["text"]}
    first, second, third = (model(None, one).outputs["logits"] for one in (rows, other, same))
    assert (first - second).abs().max() > 1e-3
    assert torch.allclose(first, third, atol=1e-3)  # the scale of what a reader gives does not matter


def test_vectors_that_are_not_there_are_not_looked_at() -> None:
    short, long = make("text_xattn", text_vectors=2).eval(), make("text_xattn", text_vectors=5).eval()
    rows = batch(short)
    padded = rows | {"text": torch.cat((rows["text"], torch.zeros(ROWS, 3, 24).half()), dim=1)}
    assert torch.allclose(short(None, rows).outputs["logits"], long(None, padded).outputs["logits"], atol=1e-5)
    nothing = rows | {"text": torch.zeros_like(rows["text"])}
    assert torch.isfinite(short(None, nothing).outputs["logits"]).all()


def test_a_row_keeps_its_text_while_it_is_worked_on() -> None:
    model = make("text_add").train()
    carry = model.initial_carry(batch(model))
    carry["halted"] = torch.tensor([True, False, True, False])
    after = model(carry, batch(model, seed=3)).carry
    assert after is not None
    assert torch.equal(after["text"][0], batch(model, seed=3)["text"][0])
    assert torch.equal(after["text"][1], carry["text"][1])


def test_with_one_supervision_step_there_is_no_q_head_and_the_answer_says_how_sure_it_is() -> None:
    model = make("text_add", halt_max_steps=1).train()
    assert model.inner.q_head is None
    step = model(None, batch(model))
    assert step.carry is not None
    assert bool(step.carry["halted"].all())
    assert {"q_halt_loss", "q_halt_accuracy"}.isdisjoint(step.metrics)
    assert torch.isfinite(step.outputs["q_halt"]).all()


@torch.no_grad()
def test_without_the_end_token_in_the_loss_only_the_scores_know_of_it() -> None:
    assert hybrid.EOS == grid.EOS
    model = make("text_add", include_eos=False, halt_max_steps=1)
    rows = batch(model)
    masked = rows | {"labels": torch.where(rows["labels"] == grid.EOS, IGNORED_LABEL, rows["labels"])}
    assert torch.equal(model(None, rows).loss, model(None, masked).loss)
    assert not torch.equal(make("text_add", halt_max_steps=1)(None, rows).loss, model(None, rows).loss)
    assert not torch.equal(model(None, rows).metrics["accuracy"], model(None, masked).metrics["accuracy"])


@pytest.mark.parametrize(
    ("ways", "options", "word"),
    [
        (("none", "text_add"), {}, "none goes with nothing else"),
        (("text_add", "text_add"), {}, "names one way twice"),
        (("puzzle_emb",), {"puzzle_emb_ndim": 0, "puzzle_emb_len": 0}, "puzzle_emb_ndim"),
        (("text_add",), TABLE, "puzzle_emb_ndim"),
        (("text_xattn",), {"mlp_t": True}, "mlp_t"),
    ],
)
def test_ways_that_do_not_fit_are_refused(ways: tuple[str, ...], options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        section(*ways, **options)
