"""Runs the command line in this process, in an empty folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cli import main

GOOD = """\
name: little
model: {family: trm, hidden_size: 64, num_heads: 4}
data: {source: sudoku-generated, side: 4}
train:
  steps: 10
  batch_size: 8
"""


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def trmctl(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `trmctl` with its arguments, in a folder with a good `run.yaml`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRM_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    (tmp_path / "run.yaml").write_text(GOOD, encoding="utf-8")

    def run(*arguments: str, cluster: FakeCluster | None = None) -> Result:
        doors: dict[str, Any] = {} if cluster is None else {"open_cluster": cluster.opened, "wait": cluster.wait}
        with pytest.raises(SystemExit) as left:
            main(arguments, **doors)
        output = capfd.readouterr()
        assert isinstance(left.value.code, int)
        return Result(left.value.code, output.out, output.err)

    return run
