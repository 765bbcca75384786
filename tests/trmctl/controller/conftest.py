"""A world for each kind of job, which ends well: nothing failed in the controller, and no run had two jobs at once."""

import pytest

from tests.trmctl.controller.trainjobs import TrainWorld
from tests.trmctl.controller.world import World


@pytest.fixture(params=[World, TrainWorld], ids=lambda world: world.kind.kind)
def world(request):
    made = request.param()
    yield made
    wrong = [line for line in made.lines if line["event"] == "failed"]
    assert not wrong, wrong
    assert made.live_at_once <= 1
