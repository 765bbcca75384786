"""What takes minutes to show: compiled blocks, and that states which flip their sign learn parity."""

import pytest
import torch

from tests.trainer.models.texts import batch, make
from trainer.models.base import Batch
from trainer.models.prepare import prepare
from trmkit.spec.train import TrainSection

pytestmark = pytest.mark.full


@pytest.mark.filterwarnings("ignore")  # torch's own: its compiler's imports
@pytest.mark.parametrize("variant", ["baseline", "act", "ssm"])
def test_compiled_blocks_change_no_number(variant: str) -> None:
    plain, compiled = make(variant).train(), make(variant).train()
    prepare(compiled, TrainSection(steps=1, compile=True))
    losses = []
    for model in (plain, compiled):
        step = model(None, batch())
        step.loss.backward()
        losses.append(step.loss.detach())
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-3 * float(one.grad.abs().max()))


def bits(rows: int, tokens: int, seed: int) -> Batch:
    """Return bits, labelled at every place with the parity of those so far."""
    drawn = torch.randint(0, 2, (rows, tokens), generator=torch.Generator().manual_seed(seed))
    return {
        "inputs": (drawn + 4).int(), "labels": (drawn.cumsum(1) % 2 + 4).int(),
        "documents": torch.zeros(rows, tokens, dtype=torch.int32),
        "prompt_ends": torch.zeros(rows, tokens, dtype=torch.bool), "label_weight": torch.full((rows,), 1 / tokens),
    }  # fmt: skip


def beyond(*, signed: bool) -> float:
    """Return the accuracy at places 13 to 24 of a model trained on 12."""
    options = {"n_unroll": 1, "K": 1, "thought_tokens": 1, "thought_stride": 64}
    model = make("ssm", cells=24, vocab=8, negative_eigenvalues=signed, **options).train()
    with torch.no_grad():
        model.get_parameter("embed_tokens.embedding_weight").div_(10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0)
    for seed in range(400):
        optimizer.zero_grad()
        (model(None, bits(64, 12, seed)).loss / 64).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    held_out = bits(256, 24, 10**6)
    with torch.no_grad():
        preds = model.eval()(None, held_out).outputs["preds"]
    return float((preds == held_out["labels"])[:, 12:].float().mean())


def test_states_that_flip_their_sign_carry_parity_to_lengths_never_trained_on() -> None:
    assert beyond(signed=True) > 0.99
    assert beyond(signed=False) < 0.9
