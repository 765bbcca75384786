"""What the images install is locked, and the Dockerfile is clean."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)


def pins(path: Path) -> dict[str, str]:
    """Return package -> version of a file of requirements."""
    found = PIN.findall(path.read_text(encoding="utf-8"))
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


@pytest.mark.parametrize("lock", LOCKS, ids=[lock.name for lock in LOCKS])
def test_images_install_what_was_tested_and_every_file_has_its_hash(lock: Path) -> None:
    tested, locked = pins(ROOT / "constraints.txt"), pins(lock)
    assert locked
    assert {name: version for name, version in locked.items() if tested.get(name, version) != version} == {}
    for entry in re.split(r"\n(?=[a-z0-9])", lock.read_text(encoding="utf-8").partition("\n")[2].strip()):
        assert "--hash=sha256:" in entry, entry


def test_the_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    result = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_the_image_runs_as_nobody_and_has_no_health_check() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert text.count("USER 10001:10001") == 2
    assert "HEALTHCHECK NONE" in text
    assert "apt-get" not in text
