"""Finding a run by what a person types."""

import os
from pathlib import Path

import pytest

from trmctl.runs import find
from trmkit.errors import StoreError


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder with the runs demo/aaaa (older), demo/bbbb (newer) and other/cccc."""
    for age, name in ((300, "demo/aaaa"), (200, "demo/bbbb"), (100, "other/cccc")):
        file = tmp_path / name / "run.yaml"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "found"),
    [("demo", "demo/bbbb"), ("demo/aaaa", "demo/aaaa"), ("aaaa", "demo/aaaa"), ("other", "other/cccc")],
)
def test_a_name_means_its_newest_run(runs: Path, text: str, found: str) -> None:
    assert find(text, runs).root == runs / found


def test_a_run_directory_means_itself(runs: Path) -> None:
    assert find(str(runs / "demo" / "aaaa"), Path("elsewhere")).root == runs / "demo" / "aaaa"


def test_the_run_where_something_happened_last_is_the_newest(runs: Path) -> None:
    metrics = runs / "demo" / "aaaa" / "metrics.jsonl"
    metrics.touch()
    assert find("demo", runs).root.name == "aaaa"


def test_an_unknown_run_is_an_error_that_suggests_and_lists(runs: Path) -> None:
    with pytest.raises(StoreError) as caught:
        find("demmo", runs)
    assert "there is no run 'demmo'; did you mean 'demo'?" in caught.value.message
    assert caught.value.next.endswith("are: demo, other")


def test_no_runs_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        find("demo", tmp_path / "absent")
    assert caught.value.next.endswith("are: none yet")


@pytest.mark.parametrize("tail", ["", "/", "/checkpoints/step_00000009-1a2b3c4d5e6f"])
def test_the_address_of_a_run_in_a_store_is_an_error_that_says_how_to_fetch_it(runs: Path, tail: str) -> None:
    with pytest.raises(StoreError, match="is in a store") as caught:
        find(f"s3://bucket/prefix/demo/aaaa{tail}", runs)
    assert caught.value.next == "trmctl fetch s3://bucket/prefix/demo/aaaa, then give demo/aaaa"
