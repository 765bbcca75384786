"""Faults between us and the store: everything lands once they are over, and nothing half lands while they last."""

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.trmkit.store.conftest import make_checkpoint
from tests.trmkit.store.faulty import FaultyDoor
from tools.seaweed import Seaweed
from trmkit.errors import StoreError, StoreUnavailableError
from trmkit.spec.storage import StorageSection
from trmkit.store import summary
from trmkit.store.base import Store
from trmkit.store.fetch import Fetch
from trmkit.store.folder import FolderStore
from trmkit.store.garbage import find, remove
from trmkit.store.layout import RunDirectory
from trmkit.store.open import open_store
from trmkit.store.publish import checkpoints, publish
from trmkit.store.retry import persist
from trmkit.store.summary import Status
from trmkit.store.take import take_files
from trmkit.store.uploader import Keep, Uploader, publish_files

RUN = "demo/0123abcd/checkpoints"


@pytest.fixture
def door(seaweed: Seaweed) -> Iterator[FaultyDoor]:
    made = FaultyDoor(int(seaweed.endpoint.rpartition(":")[2]))
    yield made
    made.close()


@pytest.mark.parametrize("fault", ["reset", "busy"])
def test_a_save_lands_after_the_fault_is_over(s3: str, door: FaultyDoor, tmp_path: Path, fault: str) -> None:
    store = open_store(StorageSection(remote=s3, endpoint_url=f"http://127.0.0.1:{door.port}"))
    content = make_checkpoint(tmp_path, 7, size=300_000)
    door.fault = fault  # type: ignore[assignment]
    with pytest.raises(StoreUnavailableError):
        publish(store, RUN, tmp_path / "step_00000007", content)
    assert door.hits > 0

    def repair(_: StoreUnavailableError) -> None:
        door.fault = "none"

    one = persist(lambda: publish(store, RUN, tmp_path / "step_00000007", content), 20, waiting=repair)
    assert Fetch(store, 5).folder(one, tmp_path / "here" / "step_00000007").is_dir()


def test_a_fetch_survives_connections_that_are_cut(s3: str, door: FaultyDoor, tmp_path: Path) -> None:
    store = open_store(StorageSection(remote=s3, endpoint_url=f"http://127.0.0.1:{door.port}"))
    one = publish(store, RUN, tmp_path / "step_00000007", make_checkpoint(tmp_path, 7, size=3_000_000))
    door.fault, door.bytes_before_reset = "reset", 500_000

    def repair() -> None:
        while door.hits < 2:
            time.sleep(0.01)
        door.fault = "none"

    threading.Thread(target=repair).start()
    Fetch(store, 20).folder(one, tmp_path / "here" / "step_00000007")


class Closed(FolderStore):
    """Answers nobody until it is opened."""

    open = False

    def look(self, key: str):  # type: ignore[no-untyped-def]
        if not self.open:
            raise StoreUnavailableError("closed")
        return super().look(key)


def uploader(store: Store, run: RunDirectory, said: list[str], every: int | None = None) -> Uploader:
    """Return an uploader of a run with twenty checkpoints on the disk."""
    for step in range(1, 21):
        make_checkpoint(run.checkpoints, step)
    return Uploader(store, "demo/0123abcd", run, Keep(2, every), {}, Status(), said.append)


def test_what_waits_for_a_store_is_bounded_and_the_newest_and_the_best_land(tmp_path: Path) -> None:
    store, run, said = Closed(tmp_path / "share"), RunDirectory(tmp_path / "demo" / "0123abcd"), list[str]()
    made = uploader(store, run, said)
    for step in range(1, 21):
        made.checkpoint(step, Status("training", step, 20, "accuracy", 0.5, best_step=13 if step >= 13 else None))
        assert len(made.holds()) <= 3
    assert {13, 20} <= made.holds()
    assert made.numbers()["pending_bytes"] > 0
    with pytest.raises(StoreError, match="not published"):
        made.finish(0.1)
    store.open = True
    again = Uploader(store, "demo/0123abcd", run, Keep(2), {}, Status("trained", 20, 20, best_step=13), said.append)
    for step in (13, 20):
        again.checkpoint(step, Status("trained", 20, 20, best_step=13))
    again.finish(20)
    assert {one.step for one in checkpoints(store, RUN)} == {13, 20}
    assert again.numbers()["pending_bytes"] == 0
    assert again.numbers()["pending_checkpoints"] == 0
    assert again.numbers()["up"] == 1
    assert again.numbers()["published_time"] > made.numbers()["published_time"]
    assert len([line for line in said if "not published yet" in line]) == 1


def test_a_checkpoint_somebody_deleted_is_let_go(tmp_path: Path) -> None:
    store, run = FolderStore(tmp_path / "share"), RunDirectory(tmp_path / "demo" / "0123abcd")
    run.root.mkdir(parents=True)
    made = Uploader(store, "demo/0123abcd", run, Keep(2), {}, Status(), lambda _: None)
    made.checkpoint(99, Status("training", 99, 100))
    made.finish(20)
    assert checkpoints(store, RUN) == []


class Undeletable(FolderStore):
    """Lets nobody delete."""

    def delete(self, keys: object) -> None:
        raise StoreError("AccessDenied")


def test_without_the_right_to_delete_everything_lands_and_stays(tmp_path: Path) -> None:
    store, run, said = Undeletable(tmp_path / "share"), RunDirectory(tmp_path / "demo" / "0123abcd"), list[str]()
    made = uploader(store, run, said)
    for step in range(1, 6):
        made.checkpoint(step, Status("training", step, 20))
        while made.holds():
            pass
    made.finish(20)
    assert len(checkpoints(store, RUN)) == 5
    assert [line for line in said if "could not be removed" in line] == said[:1]


def test_the_old_best_stays_until_the_new_one_and_what_is_newer_have_landed(tmp_path: Path) -> None:
    store, run = FolderStore(tmp_path / "share"), RunDirectory(tmp_path / "demo" / "0123abcd")
    for step, best in ((50, 50), (90, 50), (100, 100), (110, 100), (120, 100)):
        make_checkpoint(run.checkpoints, step, best=best)
    made = Uploader(store, "demo/0123abcd", run, Keep(1), {}, Status(), lambda _: None)

    def land(step: int, best: int) -> set[int]:
        made.checkpoint(step, Status("training", step, 200, best_step=best))
        while made.holds():
            pass
        return {one.step for one in checkpoints(store, RUN)}

    land(50, 50)
    assert 50 in land(90, 100)  # 100 is the best, and has not landed
    land(100, 100)
    land(110, 100)
    made.finish(20)
    assert {one.step for one in checkpoints(store, RUN)} == {100, 110}


@pytest.mark.parametrize("times", [1, 2])
def test_a_publication_of_files_that_is_cut_off_leaves_files_that_are_known(tmp_path: Path, times: int) -> None:
    """The machine dies between a file and `run.json`; then once more."""
    store, run = Cut(tmp_path / "share"), RunDirectory(tmp_path / "demo" / "0123abcd")
    run.root.mkdir(parents=True)
    run.metrics.write_text("one\n")
    publish_files(store, "demo/0123abcd", run, Status(), {})
    for number in range(times):
        run.metrics.write_text(f"one\nand {number}\n")
        store.cut_after = "metrics.jsonl"
        with pytest.raises(StoreUnavailableError):
            publish_files(store, "demo/0123abcd", run, Status(), {})
        store.cut_after = ""
    lines = take_files(Fetch(store, 5), "demo/0123abcd", tmp_path / "here")
    assert lines == ["demo/0123abcd: metrics.jsonl"]
    assert (tmp_path / "here" / "metrics.jsonl").read_text() == f"one\nand {times - 1}\n"


class Cut(FolderStore):
    """Goes away after a certain file."""

    cut_after = ""

    def upload(self, key: str, file: Path) -> None:
        super().upload(key, file)
        if self.cut_after and key.endswith(self.cut_after):
            raise StoreUnavailableError("gone")


def test_two_that_publish_files_of_one_run_lose_none(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "share")
    runs = [RunDirectory(tmp_path / str(number) / "0123abcd") for number in range(2)]
    for run, name in zip(runs, ("metrics.jsonl", "eval.json"), strict=True):
        run.root.mkdir(parents=True)
        (run.root / name).write_text(name)
    for _ in range(10):
        threads = [
            threading.Thread(target=publish_files, args=(store, "demo/0123abcd", run, Status(), {})) for run in runs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = summary.read(store, "demo/0123abcd")
    assert found is not None
    assert set(found.files) == {"metrics.jsonl", "eval.json"}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{", b"[" * 100_000, b'{"format": 2}', b'{"format": 1, "files": []}',
        b'{"format": 1, "step": "x", "total": -1, "value": "y", "state": 5, "best_step": [], "about": 3}',
        b'{"format": 1, "files": {"run.yaml": {}, "../evil": [], "eval.json": [{"bytes": -1, "sha256": "x"}]}}',
    ],
)  # fmt: skip
def test_a_hostile_summary_says_nothing_wrong(tmp_path: Path, content: bytes) -> None:
    store = FolderStore(tmp_path / "share")
    store.write("demo/0123abcd/run.json", content)
    found = summary.read(store, "demo/0123abcd") or summary.Summary()
    assert found.status == Status()
    assert not any(found.files.values())


@pytest.mark.full
def test_a_hundred_kills_of_the_server_leave_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Half of the publications go on after the restart, half are abandoned with the server."""
    server = Seaweed(tmp_path / "seaweed")
    request.addfinalizer(lambda: server.stop(signal.SIGKILL))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.start()
    store = open_store(StorageSection(remote="s3://trm-artifacts/kills"))
    chance, acknowledged, hit, orphans = random.Random(5), set[str](), 0, 0
    for number in range(100):
        folder = tmp_path / f"made{number}"
        content = make_checkpoint(folder, number + 1, seed=number, size=40 << 20)
        give_up = threading.Event()

        def work(folder: Path = folder, number: int = number, content: bytes = content, stop=give_up) -> None:  # type: ignore[no-untyped-def]
            path = folder / f"step_{number + 1:08d}"
            with suppress(StoreUnavailableError):
                acknowledged.add(persist(lambda: publish(store, RUN, path, content), 60, give_up=stop.is_set).name)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(chance.uniform(0.05, 1.2))
        hit += thread.is_alive()
        if number % 2:
            give_up.set()
        server.stop(signal.SIGKILL)
        server.start()
        thread.join()
        for path in folder.rglob("*.safetensors"):
            path.unlink()
        orphans += len(store.unfinished("")) > 0
    seen = checkpoints(store, RUN)
    assert acknowledged <= {one.name for one in seen}
    for one in seen:
        target = tmp_path / "here" / f"step_{one.step:08d}"
        Fetch(store, 30).folder(one, target)
        (target / "model.safetensors").unlink()
    remove(store, find(store, "", -60))
    assert store.unfinished("") == []
    assert find(store, "", -60) == []
    assert checkpoints(store, RUN) == seen
    print(f"{hit} kills hit a publication; {len(acknowledged)} acknowledged, {len(seen)} visible, all whole; "
          f"{orphans} times an upload was left unfinished, none after gc")  # fmt: skip
