"""The recurrence of Mamba-2: in chunks it is the one written down token by token."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.trainer.models.texts import CELLS, VOCAB, batch, section
from trainer.models import build
from trainer.models.ladder.scan import CLOSE, _difference, decays, scan, step
from trainer.models.ladder.ssm import Mamba2
from trainer.models.sight import View

ROWS, HEADS, WIDTH, STATE = 2, 3, 5, 4


def drawn(tokens: int, seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    return {
        "x": normal(ROWS, tokens, HEADS, WIDTH), "dt": F.softplus(normal(ROWS, tokens, HEADS)),
        "A": -normal(HEADS).exp(), "B": normal(ROWS, tokens, STATE), "C": normal(ROWS, tokens, STATE),
    }  # fmt: skip


def ending(tokens: int, *begins: int) -> Tensor:
    """Return the documents [T] of a row in which new ones begin at `begins`."""
    return torch.bucketize(torch.arange(tokens), torch.tensor(begins), right=True).int()


def naive(
    given: dict[str, Tensor], documents: Tensor | None, before: Tensor | None, *, signed: bool
) -> tuple[Tensor, Tensor]:
    """Work the recurrence as it is written down."""
    x, dt, A, B, C = (given[name] for name in ("x", "dt", "A", "B", "C"))
    state = torch.zeros(ROWS, HEADS, WIDTH, STATE, dtype=torch.float64) if before is None else before
    found = []
    for t in range(x.shape[1]):
        a = 2 * torch.exp(dt[:, t] * A) - 1 if signed else torch.exp(dt[:, t] * A)
        if documents is not None and t > 0:
            a = a * (documents[:, t] == documents[:, t - 1])[:, None]
        state = a[..., None, None] * state + dt[:, t, :, None, None] * x[:, t, ..., None] * B[:, t, None, None]
        found.append((state * C[:, t, None, None]).sum(-1))
    return torch.stack(found, 1), state


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("tokens", "chunk"), [(75, 16), (64, 16), (7, 16), (130, 64), (1, 16)])
def test_chunks_equal_the_naive_recurrence(tokens: int, chunk: int, packed: bool, begun: bool, signed: bool) -> None:
    given = drawn(tokens)
    documents = torch.zeros(ROWS, tokens, dtype=torch.int32) if packed else None
    if documents is not None:
        for row, begins in enumerate(((3, 20, 21, 50), (16, 32))):
            for begin in begins:
                documents[row, begin:] += 1
    before = torch.randn(ROWS, HEADS, WIDTH, STATE, dtype=torch.float64) if begun else None
    expected = naive(given, documents, before, signed=signed)
    found = scan(**given, documents=documents, before=before, signed=signed, chunk=chunk)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("signed", [False, True])
def test_gradients_of_chunks_equal_those_of_the_naive_recurrence(signed: bool) -> None:
    grads = []
    for work in (lambda g: scan(**g, signed=signed, chunk=8), lambda g: naive(g, None, None, signed=signed)):
        given = {name: value.requires_grad_() for name, value in drawn(30).items()}
        y, state = work(given)
        (y.square().sum() + state.sum()).backward()
        grads.append([value.grad for value in given.values()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("dt", [0.2, 3.0])
def test_states_that_fade_fast_stay_finite_among_documents_of_a_chunk(dt: float, signed: bool) -> None:
    documents = ending(100, 3, 60, 64, 90).expand(ROWS, -1)
    sharp = {"A": torch.full((HEADS,), -16.0), "dt": torch.full((ROWS, 100, HEADS), dt)}
    found = []
    for kind in (torch.float32, torch.float64):
        given = {name: value.detach().to(kind).requires_grad_() for name, value in (drawn(100) | sharp).items()}
        y, state = scan(**given, documents=documents, signed=signed)
        (y.square().sum() + state.sum()).backward()
        found.append([y.detach(), state.detach(), *(value.grad for value in given.values())])
    for one, other in zip(*found, strict=True):
        assert other is not None
        torch.testing.assert_close(one, other.float(), rtol=1e-3, atol=1e-9 + 1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("seed", range(3))
def test_a_fresh_model_has_a_finite_loss_and_gradient_on_rows_of_several_documents(seed: int) -> None:
    torch.manual_seed(seed)
    model = build(section("ssm", size="nano", thought_stride=32), VOCAB, CELLS, 1).train()
    given = batch(rows=1, seed=seed) | {"documents": ending(CELLS, 62, 70)[None]}
    loss = model(None, given).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


@pytest.mark.parametrize("signed", [False, True])
def test_single_steps_equal_chunks(signed: bool) -> None:
    given = drawn(20)
    expected, last = scan(**given, signed=signed, chunk=8)
    state = torch.zeros_like(last)
    for t in range(20):
        now = {name: value if name == "A" else value[:, t : t + 1] for name, value in given.items()}
        y, state = step(**now, before=state, signed=signed)
        torch.testing.assert_close(y, expected[:, t : t + 1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(state, last, rtol=1e-9, atol=1e-9)


def test_with_signs_a_state_can_flip() -> None:
    log, sign = decays(torch.tensor([[[0.0, 8.0]]]), torch.tensor([-1.0, -1.0]), signed=True)
    assert sign is not None
    torch.testing.assert_close(sign * log.exp(), torch.tensor([[[1.0, -1.0]]]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("signed", [False, True])
def test_the_mixer_reads_token_by_token_as_it_reads_at_once(signed: bool) -> None:
    torch.manual_seed(0)
    mixer = Mamba2(32, state=8, head=16, scale=1.0, signed=signed)
    x = torch.randn(2, 40, 32)
    with torch.no_grad():
        expected = mixer(x, View(None, None, None), None)
        for pieces in ([1] * 40, [13, 1, 1, 20, 5]):
            kept, found = mixer.empty(2, 40, x, x.dtype), []
            for part in x.split(pieces, 1):
                found.append(mixer(part, View(None, None, None), kept))
            torch.testing.assert_close(torch.cat(found, 1), expected, rtol=0, atol=1e-5)


def test_what_a_document_says_reaches_no_other() -> None:
    torch.manual_seed(0)
    mixer = Mamba2(32, state=8, head=16, scale=1.0, signed=False)
    x, documents = torch.randn(1, 90, 32), (torch.arange(90) >= 41).int()[None]
    with torch.no_grad():
        packed = mixer(x, View(None, None, documents), None)
        alone = mixer(x[:, 41:], View(None, None, None), None)
    torch.testing.assert_close(packed[:, 41:], alone, rtol=0, atol=1e-5)


def test_kernels_with_a_wrong_gradient_are_not_taken_for_right_ones() -> None:
    def right(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, _: int, **more: Any) -> tuple[Tensor, Tensor]:
        return scan(x, dt, A, B[:, :, 0], C[:, :, 0], documents=more["seq_idx"])

    def wrong(*given: Any, **more: Any) -> tuple[Tensor, Tensor]:
        y, state = right(*given, **more)
        return 2 * y - y.detach(), state

    with torch.no_grad():  # as when the first use is while scoring
        assert _difference(right, torch.device("cpu")) == 0
        assert _difference(wrong, torch.device("cpu")) > CLOSE
