"""Every rung of the ladder as a job for a cluster."""

from pathlib import Path

import pytest

from tests.trmkit.render.crds import needs_crds, refusals
from tests.trmkit.render.test_objects import BACKENDS, RELEASES
from trmkit.ladder import VARIANTS
from trmkit.render.check import problems
from trmkit.render.names import LONGEST, job_name
from trmkit.render.objects import Backend, render
from trmkit.spec.load import dump, load, loads
from trmkit.spec.run import RunFile

CONFIG = Path(__file__).parents[3] / "configs/ladder-nano.yaml"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def rung(variant: str) -> RunFile:
    return load(CONFIG, [f"model.variant={variant}"])


@needs_crds
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_operators_definitions_take_every_rung(variant: str, backend: Backend) -> None:
    job = render(rung(variant), backend)[1]
    assert refusals(job, RELEASES[job["kind"]]) == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_our_own_checks_find_nothing_in_a_rung_and_its_pods_read_the_same_run(variant: str, backend: Backend) -> None:
    config, job = render(rung(variant), backend)
    assert [line for found in (config, job) for line in problems(found)] == []
    assert config["data"]["run.yaml"] == dump(rung(variant))
    assert loads(config["data"]["run.yaml"]) == rung(variant)


def test_every_rung_has_a_name_of_its_own_that_fits() -> None:
    runs = [load(CONFIG, [f"model.variant={variant}", f"seed={seed}"]) for variant in VARIANTS for seed in range(3)]
    names = [job_name(run) for run in runs]
    assert len(set(names)) == len(names) == 21
    assert max(len(name) for name in names) <= LONGEST
