"""What every test shares: hypothesis without deadlines, because machines that run tests are busy; and a real S3."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tools.seaweed import Seaweed

settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """Return an S3 server that tests share; each keeps below a prefix of its own."""
    server = Seaweed(tmp_path_factory.mktemp("seaweed"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return an address on the server that nobody else uses, and let the SDK find the server."""
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    return f"s3://trm-artifacts/{tmp_path.name}"
