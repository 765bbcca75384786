"""Scores of single checkpoints go through a store, and no checkpoint is deleted that may turn out to be the best."""

import time
from pathlib import Path

import pytest

from tests.trmkit.store.conftest import make_checkpoint
from trmkit.store import garbage, scores
from trmkit.store.base import Store
from trmkit.store.layout import RunDirectory
from trmkit.store.publish import checkpoints, publish
from trmkit.store.scores import MOST_WAITING
from trmkit.store.summary import Status
from trmkit.store.uploader import Keep, Uploader, prune

RUN = "demo/0123abcd"


def saved(store: Store, folder: Path, *steps: int) -> None:
    """Publish checkpoints of these steps."""
    for step in steps:
        content = make_checkpoint(folder, step, size=100)
        publish(store, f"{RUN}/checkpoints", folder / f"step_{step:08d}", content)


def there(store: Store) -> list[int]:
    return sorted(one.step for one in checkpoints(store, f"{RUN}/checkpoints"))


def test_scores_are_written_once_and_come_to_every_machine(store: Store, tmp_path: Path) -> None:
    scores.leave(store, RUN, 5, b'{"accuracy": 0.5}')
    scores.leave(store, RUN, 5, b'{"accuracy": 0.75}')
    folder = tmp_path / "scores"
    folder.mkdir()
    (folder / "10.json").write_bytes(b'{"accuracy": 1.0}')
    (folder / "notes.txt").write_bytes(b"none of ours")
    scores.exchange(store, RUN, folder)
    assert scores.steps(store, RUN) == scores.here_of(folder) == {5, 10}
    assert [scores.read(store, RUN, step) for step in (5, 10, 15)] == [{"accuracy": 0.5}, {"accuracy": 1.0}, {}]
    assert scores.bring(store, RUN, tmp_path / "other") == {5, 10}
    assert garbage.find(store, "", 0) == []


def test_what_waits_to_be_scored_stays_and_so_does_what_is_scored_until_that_is_known(
    store: Store, tmp_path: Path
) -> None:
    keep = Keep(1, None, 2)
    saved(store, tmp_path, 2, 3, 4, 5)
    prune(store, RUN, keep, 5, None, ())
    assert there(store) == [2, 4, 5]
    scores.leave(store, RUN, 2, b"{}")
    prune(store, RUN, keep, 5, None, ())
    assert there(store) == [2, 4, 5]
    prune(store, RUN, keep, 5, 2, {2})
    assert there(store) == [2, 4, 5]
    prune(store, RUN, keep, 5, 4, {2, 4})
    assert there(store) == [4, 5]


def test_of_too_many_that_wait_the_oldest_go(store: Store, tmp_path: Path) -> None:
    steps = list(range(1, MOST_WAITING + 4))
    saved(store, tmp_path, *steps)
    prune(store, RUN, Keep(1, None, 1), steps[-1], None, ())
    assert there(store) == steps[-MOST_WAITING:]


@pytest.fixture
def uploader(store: Store, tmp_path: Path) -> Uploader:
    directory = RunDirectory(tmp_path / "run")
    directory.checkpoints.mkdir(parents=True)
    return Uploader(store, RUN, directory, Keep(1, None, 2), {}, Status(), print)


def test_an_uploader_brings_scores_and_publishes_all_that_wait_for_them(
    store: Store, uploader: Uploader, tmp_path: Path
) -> None:
    scores.leave(store, RUN, 2, b"{}")
    brought, until = tmp_path / "run" / "scores" / "2.json", time.monotonic() + 60
    while not brought.is_file():  # its thread does this, and nobody waits for it
        assert time.monotonic() < until
        time.sleep(0.01)
        uploader.status(Status())
    for step in (2, 3, 4, 5):
        make_checkpoint(tmp_path / "run" / "checkpoints", step, size=100)
    for step in (2, 3, 4, 5):
        uploader.checkpoint(step, Status("training", step, 9))
    uploader.finish(60)
    assert {2, 4, 5} <= set(there(store))
