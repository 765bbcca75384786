"""One laboratory for the whole session; what the cluster looked like is shown with every failure."""

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.cluster.lab import KINDS, Lab
from tests.cluster.settings import BACKENDS, Settings, read


@pytest.fixture(scope="session")
def settings() -> Settings:
    found = read()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="session")
def lab(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    from tests.cluster.setup import laboratory

    with laboratory(settings, tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.fixture(scope="session")
def store(lab: Lab) -> str:
    """Return the address of the store; tests that need none do not ask."""
    if lab.store is None:
        pytest.skip(lab.no_store)
    return lab.store


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest, lab: Lab) -> str:
    """Return each kind of job that the cluster serves."""
    name = str(request.param)
    if name not in lab.settings.backends:
        pytest.skip(f"TRM_TEST_BACKENDS leaves {name} out")
    if not lab.serves(KINDS[name]):
        pytest.skip(f"{lab.cluster.where} serves no {KINDS[name].kind}")
    return name


@pytest.fixture(scope="session")
def any_backend(lab: Lab) -> str:
    """Return the first kind of job that the cluster serves, for what does not depend on it."""
    found = [name for name in lab.settings.backends if lab.serves(KINDS[name])]
    if not found:
        pytest.skip(f"{lab.cluster.where} serves neither PyTorchJob nor TrainJob")
    return found[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Show jobs, pods, events and logs with a failure."""
    report = yield
    found = getattr(item, "funcargs", {}).get("lab")
    if report.when == "call" and report.failed and isinstance(found, Lab):
        report.sections.append(("the cluster", found.dump()))
    return report
