"""What the tests of this folder share: two runs that Prometheus has scraped."""

from collections.abc import Iterator

import pytest

from tests.helm.boards import need
from tests.observe.fleet import Fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return two runs, one that finished and one that broke, as Prometheus saw them; both still answer."""
    need("prometheus", "prometheus")
    found = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        found.start()
        yield found
    finally:
        found.stop()
