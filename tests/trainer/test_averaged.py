"""The model that is scored during training: it has averaged weights, and does not train meanwhile."""

import pytest
import torch

from tests.trainer.models.texts import batch
from tests.trainer.sharing import RUN, trained
from trainer.dist import World
from trainer.state import TrainState
from trmkit.spec.load import loads


@pytest.fixture
def state(alone: World) -> TrainState:
    """Return a state of training with dropout, in the middle of it."""
    return trained(loads(RUN, "run.yaml", []), "shared_loop", alone, dropout=0.1)


def test_an_evaluation_during_training_is_without_dropout_and_draws_nothing(state: TrainState) -> None:
    before = torch.get_rng_state()
    with state.averaged() as model, torch.no_grad():
        assert not model.training
        losses = [float(model(None, batch()).loss) for _ in range(2)]
    assert losses[0] == losses[1]
    assert torch.equal(torch.get_rng_state(), before)


def test_training_goes_on_after_an_evaluation_and_after_one_that_failed(state: TrainState) -> None:
    with state.averaged():
        pass
    assert all(module.training for module in state.model.modules())
    weights = [p.detach().clone() for p in state.model.parameters()]
    with pytest.raises(RuntimeError, match="on purpose"), state.averaged():
        raise RuntimeError("on purpose")
    assert all(module.training for module in state.model.modules())
    assert all(map(torch.equal, weights, state.model.parameters()))
