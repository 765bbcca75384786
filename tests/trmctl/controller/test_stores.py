"""What the controller hears of runs: from their pods and their stores, however odd, slow or wrong that is."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.trmctl.controller.test_reconcile import wanted
from tests.trmctl.controller.world import RUN
from trmctl.controller import attempts, stores
from trmctl.controller.pod_metrics import Said, ask, understood
from trmctl.controller.seen import Wanted
from trmctl.controller.stores import FAILED_FOR, FRESH, Stores, open_ours
from trmkit.errors import StoreError, StoreUnavailableError
from trmkit.spec.storage import StorageSection
from trmkit.store.attempts import Attempt
from trmkit.store.base import Entry
from trmkit.store.catalog import Listed, announce
from trmkit.store.folder import FolderStore
from trmkit.store.open import open_store
from trmkit.store.summary import Status, Summary, text

NOW = 1_700_000_000.0


def at(folder: Path, run_id: str = "deadbeef", **storage: Any) -> Wanted:
    """Return what a run asks for that is published to a folder."""
    found = wanted(run={**RUN, "storage": {"remote": str(folder), **storage}})
    return replace(found, run_id=run_id, store=f"{folder}/demo/{run_id}")


def line(folder: Path, step: int = 30, run_id: str = "deadbeef") -> FolderStore:
    """Have a line of a run in a store."""
    store = open_store(StorageSection(remote=str(folder)))
    announce(store, Listed("demo", run_id, "training", step, 100, "exact_accuracy", 0.5, 0.0))
    assert isinstance(store, FolderStore)
    return store


def test_one_listing_of_a_store_tells_of_all_runs(tmp_path: Path) -> None:
    store, opened = open_store(StorageSection(remote=str(tmp_path))), []
    announce(store, Listed("demo", "deadbeef", "training", 30, 100, "exact_accuracy", 0.5, 0.0))

    def opens(section: StorageSection):
        opened.append(section.remote)
        return store

    found = at(tmp_path)
    now = [0.0]
    stores = Stores(lambda: now[0], asks=lambda pod: {}, opens=opens)
    progress = stores.progress(found, [])
    assert (progress.readable, progress.step, progress.total, progress.value) == (True, 30, 100, 0.5)
    assert progress.checkpoint is None
    before = len(opened)
    stores.progress(replace(found, run_id="0badcafe", store=f"{tmp_path}/demo/0badcafe"), [])
    assert len(opened) == before


def test_credentials_only_go_to_the_controllers_own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store:8333")
    with pytest.raises(StoreError, match="not the store"):
        open_ours(StorageSection(remote="s3://bucket/runs", endpoint_url="http://elsewhere:9000"))
    with pytest.raises(StoreError, match="no bucket"):
        open_ours(StorageSection(remote="/etc"))
    assert open_ours(StorageSection(remote="s3://bucket/runs", endpoint_url="http://store:8333")).url.startswith(
        "s3://"
    )


def test_a_store_that_cannot_be_read_says_why() -> None:
    def broken(section: StorageSection):
        raise StoreError("no such bucket")

    progress = Stores(lambda: 0.0, asks=lambda pod: {}, opens=broken).progress(wanted(), [])
    assert (progress.readable, progress.problem) == (False, "no such bucket")


def test_a_pod_is_asked_at_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pod(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"trm_train_step 7\ntrm_last_step_timestamp_seconds 1.5e9\nnonsense\n")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Pod)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr("trmctl.controller.pod_metrics.METRICS_PORT", server.server_address[1])
    assert ask({"status": {"podIP": "127.0.0.1"}})["trm_train_step"] == 7.0
    server.shutdown()
    server.server_close()
    assert ask({"status": {"podIP": "127.0.0.1"}}) == {}
    assert ask({"status": {}}) == {}


def answering(*parts: bytes, pause: float = 0.0) -> tuple[socket.socket, threading.Thread]:
    """Return a server that sends so many parts to the first who asks, with a pause before each."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            for part in parts:
                time.sleep(pause)
                connection.sendall(part)

    thread = threading.Thread(target=serve)
    thread.start()
    return server, thread


@pytest.mark.parametrize("drips", ["in its head", "in its body"])
def test_a_pod_that_answers_byte_by_byte_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, drips: str) -> None:
    monkeypatch.setattr("trmctl.controller.pod_metrics.PATIENCE", 0.4)
    head = b"HTTP/1.1 200 OK\r\n" + (b"" if drips == "in its head" else b"\r\n")
    server, thread = answering(head, *[b"x"] * 40, pause=0.1)
    monkeypatch.setattr("trmctl.controller.pod_metrics.METRICS_PORT", server.getsockname()[1])
    began = time.monotonic()
    assert ask({"status": {"podIP": "127.0.0.1"}}) == {}
    assert time.monotonic() - began < 2.0
    thread.join()
    server.close()


def test_a_pod_does_not_send_the_controller_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere, _ = other = answering(b"HTTP/1.1 200 OK\r\n\r\ntrm_train_step 7\n")
    there = elsewhere.getsockname()[1]
    server, thread = answering(f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{there}/\r\n\r\n".encode())
    monkeypatch.setattr("trmctl.controller.pod_metrics.METRICS_PORT", server.getsockname()[1])
    assert ask({"status": {"podIP": "127.0.0.1"}}) == {}
    thread.join()
    assert other[1].is_alive(), "it was asked"
    socket.create_connection(("127.0.0.1", there)).close()
    other[1].join()
    for one in (server, elsewhere):
        one.close()


def test_a_pod_that_is_silent_is_not_asked_again_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stores, "TOO_LONG", -1.0)
    now, asked = [NOW], []
    known = Stores(lambda: now[0], asks=lambda pod: asked.append(1) or {}, opens=lambda section: line(tmp_path))
    status = {"phase": "Running", "containerStatuses": [{"name": "pytorch", "state": {"running": {}}}]}
    pod = {"metadata": {"name": "p", "uid": "u"}, "status": status}
    for _ in range(5):
        known.progress(at(tmp_path), [pod])
    assert len(asked) == 1
    now[0] += stores.SILENT_FOR + 1
    known.progress(at(tmp_path), [pod])
    assert len(asked) == 2


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0, 1e20])
def test_numbers_that_cannot_be_are_none(value: float) -> None:
    numbers = dict.fromkeys(("trm_train_step", "trm_train_total_steps", "trm_last_step_timestamp_seconds"), value)
    assert understood(numbers, NOW) == Said()


def test_a_pod_says_how_far_it_is_and_whether_it_trains() -> None:
    numbers = {
        "trm_train_step": 7.0, "trm_train_total_steps": 9.0, "trm_last_step_timestamp_seconds": NOW - 5,
        'trm_run_state{state="training"}': 1.0, 'trm_run_state{state="evaluating"}': 0.0,
    }  # fmt: skip
    assert understood(numbers, NOW) == Said(7, 9, NOW - 5, True)
    assert not understood({**numbers, 'trm_run_state{state="training"}': 0.0}, NOW).training
    assert understood({"trm_last_step_timestamp_seconds": NOW + 3600}, NOW).last_step_at is None


def test_what_a_running_pod_says_is_part_of_the_progress(tmp_path: Path) -> None:
    numbers = {"trm_train_step": 41.0, 'trm_run_state{state="training"}': 1.0}
    known = Stores(lambda: NOW, asks=lambda pod: numbers, opens=lambda section: line(tmp_path))
    status = {"phase": "Running", "containerStatuses": [{"name": "pytorch", "state": {"running": {}}}]}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "pytorch"}]}, "status": status}
    progress = known.progress(at(tmp_path), [pod])
    assert (progress.step, progress.total, progress.training) == (41, 100, True)
    assert not known.progress(at(tmp_path), []).training


def scored(folder: Path, **evaluate: Any) -> int | None:
    """Return up to where a run at update 350 is known to be scored."""
    found = wanted(run={**RUN, "storage": {"remote": str(folder)}, "evaluate": {"every_steps": 100, **evaluate}})
    known = Stores(lambda: NOW, asks=lambda pod: {}, opens=lambda section: FolderStore(folder))
    return known.progress(replace(found, run_id="deadbeef", store=f"{folder}/demo/deadbeef"), []).scored


def test_how_far_scores_are_is_known_of_both_who_score(tmp_path: Path) -> None:
    store = line(tmp_path, step=350)
    assert scored(tmp_path) is None
    store.write("demo/deadbeef/run.json", text(Summary(Status("training", 350, 1000, best_step=100)), "demo/deadbeef"))
    assert scored(tmp_path) == 250
    assert scored(tmp_path, mode="job") is None
    for step in (100, 200):
        store.write(f"demo/deadbeef/scores/{step}.json", b"{}")
    assert scored(tmp_path, mode="job") == 200


@pytest.mark.parametrize("odd", [
    b"not json", b"[]", b'{"format": 1, "attempts": [{"number": 1, "started": "yesterday", "step": 0}]}',
    b'{"format": 1, "attempts": [{"number": 1e999, "started": 1, "step": 0}]}', b"[" * 9999,
])  # fmt: skip
def test_a_ledger_that_says_nothing_is_none(tmp_path: Path, odd: bytes) -> None:
    store = line(tmp_path)
    store.write("demo/deadbeef/attempts.json", odd)
    known = Stores(lambda: NOW, asks=lambda pod: {}, opens=lambda section: store)
    progress = known.progress(at(tmp_path), [])
    assert (progress.readable, progress.ledger) == (True, ())


def test_an_exit_code_that_is_none_is_not_written_down() -> None:
    for code, said in ((137, 137), (10**30, None), (-4, None)):
        turn = _Turn(code)
        attempts._close(turn, "2026-01-01T12:00:00Z", None, "")  # type: ignore[arg-type]
        assert turn.status["attempts"][0].get("exitCode") == said
        assert turn.status["attempts"][0]["reason"] == "Killed"


class _Turn:
    """As much of a turn as an attempt is closed by."""

    def __init__(self, code: int) -> None:
        self.status: dict[str, Any] = {"attempts": [{"pod": "p", "started": "2026-01-01T11:00:00Z", "number": 1}]}
        self.seen = type("Seen", (), {})()
        self.seen.progress = type("Progress", (), {"ledger": (Attempt(1, 2e9, 0, 2e9, code, "Killed", "p"),)})()


class Frozen:
    """A store that answers nothing until it is let go; it counts who asks."""

    def __init__(self, inner: FolderStore) -> None:
        self.inner, self.free, self.asked = inner, threading.Event(), 0
        self.frozen: Callable[[str], bool] = lambda prefix: True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def keys(self, prefix: str) -> Iterator[Entry]:
        self.asked += 1
        if self.frozen(prefix) and not self.free.wait(20.0):
            raise StoreUnavailableError("frozen")
        yield from self.inner.keys(prefix)


def test_a_store_that_does_not_answer_holds_up_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "FIRST", 0.05)
    frozen, now = Frozen(line(tmp_path)), [NOW]
    known = Stores(lambda: now[0], asks=lambda pod: {}, opens=lambda section: frozen)  # type: ignore[arg-type,return-value]
    thread = threading.Thread(target=lambda: known.progress(at(tmp_path), []))
    thread.start()
    while not frozen.asked:
        time.sleep(0.01)
    for number in range(8):
        assert "first time" in known.progress(at(tmp_path, f"{number:08x}"), []).problem
    assert frozen.asked == 1
    frozen.free.set()
    thread.join()
    assert known.progress(at(tmp_path), []).readable
    frozen.free.clear()
    now[0] += FRESH + 1  # what was known is old, and somebody asks
    before = frozen.asked
    thread = threading.Thread(target=lambda: known.progress(at(tmp_path, "00000000"), []))
    thread.start()
    while frozen.asked == before:
        time.sleep(0.01)
    assert known.progress(at(tmp_path, "00000001"), []).readable
    frozen.free.set()
    thread.join()


def test_a_failure_is_remembered_from_when_it_was_told(tmp_path: Path) -> None:
    now, asked = [NOW], []

    def opens(section: StorageSection):
        asked.append(1)
        now[0] += FAILED_FOR  # it takes as long as that to fail
        raise StoreUnavailableError("nobody there")

    known = Stores(lambda: now[0], asks=lambda pod: {}, opens=opens)
    for number in range(9):
        assert known.progress(at(tmp_path, f"{number:08x}"), []).problem == "nobody there"
    assert len(asked) == 1
    now[0] += FAILED_FOR + 1
    known.progress(at(tmp_path), [])
    assert len(asked) == 2


def test_a_store_that_freezes_after_its_listing_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "SLOW", -1.0)
    inner = line(tmp_path)
    line(tmp_path, run_id="0badcafe")

    class Slow(FolderStore):
        def look(self, key: str) -> Entry | None:
            raise StoreUnavailableError("no answer")

    known = Stores(lambda: NOW, asks=lambda pod: {}, opens=lambda section: Slow(tmp_path))
    assert inner
    assert known.progress(at(tmp_path), []).problem == "no answer"
    monkeypatch.setattr(stores, "read", lambda *_: pytest.fail("it was asked again"))
    assert known.progress(at(tmp_path, "0badcafe"), []).problem == "no answer"


def test_another_endpoint_is_another_store(tmp_path: Path) -> None:
    def opens(section: StorageSection):
        if section.endpoint_url is not None:
            raise StoreError("not ours")
        return line(tmp_path)

    known = Stores(lambda: NOW, asks=lambda pod: {}, opens=opens)
    assert known.progress(at(tmp_path, endpoint_url="http://elsewhere:9000"), []).problem == "not ours"
    assert known.progress(at(tmp_path), []).readable
    assert known.progress(at(tmp_path, region="mars"), []).readable


def test_what_is_kept_may_be_forgotten_while_others_look(tmp_path: Path) -> None:
    store = line(tmp_path)
    for number in range(60):
        announce(store, Listed("demo", f"{number:08x}", "training", 1, 100, "", None, 0.0))
    known, over = Stores(lambda: NOW, asks=lambda pod: {}, opens=lambda section: store), threading.Event()
    errors: list[BaseException] = []

    def forget() -> None:
        try:
            while not over.is_set():
                known.forget([f"{tmp_path}/demo/{number:08x}" for number in range(0, 60, 2)])
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=forget)
    thread.start()
    for number in range(240):
        known.progress(at(tmp_path, f"{number % 60:08x}"), [])
    over.set()
    thread.join()
    assert not errors
