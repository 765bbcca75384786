"""What takes minutes to show: that compiled blocks change no number."""

import pytest
import torch

from tests.trainer.models.texts import batch, make
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
