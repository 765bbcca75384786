"""A run that lives in a store as well goes on anywhere, and what happens to the store does not hurt it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.trainer.helpers import change, fingerprint, train_alone
from tools.seaweed import Seaweed
from trainer import checkpoint
from trainer.__main__ import main
from trainer.dist import Stopped
from trmkit.errors import CheckpointError, StoreError
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store.base import Store
from trmkit.store.catalog import runs
from trmkit.store.fetch import Fetch, newest_whole
from trmkit.store.layout import RunDirectory, store_key
from trmkit.store.open import open_store
from trmkit.store.publish import checkpoints


@pytest.fixture(params=["folder", "s3"])
def published(request: pytest.FixtureRequest, small_run: RunFile, tmp_path: Path) -> RunFile:
    """Return the small run with a store."""
    remote = request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path / "share")
    return change(small_run, f"storage.remote={remote}", "storage.patience_minutes=0.5")


def key_of(run: RunFile) -> str:
    """Return where a run lives in its store."""
    return store_key(run, RunDirectory.of(run))


def in_store(run: RunFile) -> tuple[Store, list[int]]:
    """Return the store of a run, and the steps of its checkpoints there, the newest first."""
    store = open_store(run.storage)
    return store, [one.step for one in checkpoints(store, f"{key_of(run)}/checkpoints")]


def test_a_run_is_published_as_it_goes(published: RunFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_alone(published)
    store, steps = in_store(published)
    assert steps[0] == 12
    assert 6 in steps  # the best
    assert len(steps) <= 3
    (listed,) = runs(store)
    assert (listed.state, listed.step, listed.total) == ("trained", 12, 12)
    summary = json.loads(store.read(f"{listed.key}/run.json"))
    assert set(summary["files"]) >= {"run.yaml", "environment.json", "metrics.jsonl"}
    assert store.read(f"{listed.key}/run.yaml") == RunDirectory.of(published).run_file.read_bytes()
    lines = [json.loads(line) for line in RunDirectory.of(published).metrics.read_text().splitlines()]
    assert next(line for line in lines if line["kind"] == "store")["failures"] == 0
    secret = os.environ.get("AWS_SECRET_ACCESS_KEY", "no secret at all")
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    sent = [store.read(entry.key) for entry in store.keys("")]
    assert not [text for text in [*written, *sent, capsys.readouterr().err.encode()] if secret.encode() in text]


def test_another_machine_goes_on_bit_for_bit(published: RunFile, small_run: RunFile, tmp_path: Path) -> None:
    train_alone(small_run)
    first = change(published, f"storage.path={tmp_path / 'first'}")
    train_alone(first)
    store, _ = in_store(first)
    for one in checkpoints(store, f"{key_of(first)}/checkpoints"):
        if one.step > 8:  # as if the machine had died here
            store.delete([f"{one.key}/manifest.json"])
    second = change(published, f"storage.path={tmp_path / 'second'}")
    train_alone(second)
    directory = RunDirectory.of(second)
    assert fingerprint(directory.checkpoints) == fingerprint(RunDirectory.of(small_run).checkpoints)
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"] == "train"]
    assert steps[0] == 3  # the numbers from before came along
    assert in_store(second)[1][0] == 12


def test_evaluation_and_report_happen_on_another_machine(published: RunFile, tmp_path: Path) -> None:
    train_alone(published)
    elsewhere = change(published, f"storage.path={tmp_path / 'elsewhere'}")
    file = tmp_path / "run.yaml"
    file.write_text(dump(elsewhere))
    assert main(["evaluate", str(file), "--checkpoint", "best"]) == 0
    shutil.rmtree(tmp_path / "elsewhere" / "small" / RunDirectory.of(elsewhere).root.name / "checkpoints")
    assert main(["report", str(file)]) == 0
    store, _ = in_store(published)
    summary = json.loads(store.read(f"{key_of(published)}/run.json"))
    assert {"eval.json", "report.html"} <= set(summary["files"])
    assert runs(store)[0].state == "scored"


def evaluate_elsewhere(run: RunFile, tmp_path: Path, *arguments: str) -> int:
    """Evaluate as `python -m trainer evaluate` does; return its exit code."""
    file = tmp_path / "elsewhere.yaml"
    file.write_text(dump(run))
    return main(["evaluate", str(file), *arguments])


def test_a_damaged_or_older_checkpoint_here_is_not_scored_instead_of_the_newest(
    published: RunFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_alone(published)
    elsewhere = change(published, f"storage.path={tmp_path / 'elsewhere'}")
    root = RunDirectory.of(elsewhere).checkpoints
    shutil.copytree(RunDirectory.of(published).checkpoints / "step_00000008", root / "step_00000008")
    assert evaluate_elsewhere(elsewhere, tmp_path) == 0
    assert json.loads(RunDirectory.of(elsewhere).evaluation.read_text())["step"] == 12
    for path in root.glob("step_*/state.json"):
        path.write_text("damaged")
    assert evaluate_elsewhere(elsewhere, tmp_path) == 0
    assert json.loads(RunDirectory.of(elsewhere).evaluation.read_text())["step"] == 12


def test_scoring_an_older_checkpoint_does_not_turn_back_what_is_listed(published: RunFile, tmp_path: Path) -> None:
    train_alone(published)
    elsewhere = change(published, f"storage.path={tmp_path / 'elsewhere'}")
    assert evaluate_elsewhere(elsewhere, tmp_path, "--sample", "4") == 0
    assert [(run.state, run.step) for run in runs(in_store(published)[0])] == [("trained", 12)]
    assert evaluate_elsewhere(elsewhere, tmp_path, "--checkpoint", "best") == 0
    assert [(run.state, run.step) for run in runs(in_store(published)[0])] == [("scored", 12)]


def test_a_new_machine_goes_on_although_a_file_of_the_run_is_not_what_it_should_be(
    published: RunFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_alone(change(published, "train.steps=8"))
    store, _ = in_store(change(published, "train.steps=8"))
    store.write(f"{key_of(change(published, 'train.steps=8'))}/metrics.jsonl", b"cut off")
    second = change(published, "train.steps=8", f"storage.path={tmp_path / 'second'}")
    assert train_alone(second) == 8
    assert "not brought" in capsys.readouterr().err


def test_a_process_ends_although_the_store_is_frozen_in_the_middle_of_an_upload(
    breakable: tuple[Seaweed, RunFile], tmp_path: Path
) -> None:
    server, _ = breakable
    server.start()
    program = """
import os, sys, time
from pathlib import Path
from trmkit.spec.storage import StorageSection
from trmkit.store import manifest
from trmkit.store.layout import RunDirectory
from trmkit.store.open import open_store
from trmkit.store.summary import Status
from trmkit.store.uploader import Keep, Uploader

run = RunDirectory(Path("demo/0123abcd"))
path = run.checkpoints / "step_00000001"
path.mkdir(parents=True)
(path / "model.safetensors").write_bytes(bytes(200 << 20))
(path / "manifest.json").write_text(manifest.write(1, manifest.members(path), {}))
store = open_store(StorageSection(remote="s3://trm-artifacts/frozen"))
uploader = Uploader(store, "demo/0123abcd", run, Keep(2), {}, Status(), print)
uploader.checkpoint(1, Status(step=1))
while not store.unfinished(""):
    time.sleep(0.01)
print("frozen", flush=True)
sys.stdin.readline()
try:
    uploader.finish(0.5)
except Exception as error:
    print(error, flush=True)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, stdin=-1, stdout=-1, stderr=-1, text=True
    )
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "frozen\n"
    server.send(signal.SIGSTOP)
    out, err = child.communicate("go\n", timeout=9)  # the SDK alone would wait 12 s for an answer
    server.send(signal.SIGCONT)
    server.stop()
    assert "not published" in out
    assert err == ""


def test_only_the_best_and_the_last_are_published_when_asked(published: RunFile) -> None:
    run = change(published, "train.checkpoint.upload_every_minutes=null", "train.checkpoint.every_steps=2")
    train_alone(run)
    assert set(in_store(run)[1]) <= {6, 12}


def test_multiples_of_keep_every_stay_everywhere(published: RunFile) -> None:
    run = change(published, "train.checkpoint.keep=1", "train.checkpoint.keep_every=4", "evaluate.every_steps=null")
    train_alone(run)
    assert in_store(run)[1] == [12, 8, 4]
    assert checkpoint.steps(RunDirectory.of(run).checkpoints) == [4, 8, 12]


def test_a_store_that_cannot_be_used_stops_the_run_before_it_starts(s3: str, small_run: RunFile) -> None:
    run = change(small_run, "storage.remote=s3://no-such-bucket/x", "storage.patience_minutes=0.01")
    with pytest.raises(StoreError, match="NoSuchBucket"):
        train_alone(run)
    closed = change(
        small_run, f"storage.remote={s3}", "storage.endpoint_url=http://127.0.0.1:9", "storage.patience_minutes=0.01"
    )
    with pytest.raises(StoreError, match="cannot be reached"):
        train_alone(closed)


def test_a_store_in_which_nothing_is_whole_is_not_overwritten_by_a_new_start(published: RunFile) -> None:
    train_alone(published)
    store, _ = in_store(published)
    for entry in store.keys(key_of(published)):
        if entry.key.endswith("state.json"):
            store.write(entry.key, b"damaged")
    shutil.rmtree(RunDirectory.of(published).root)
    with pytest.raises(CheckpointError, match="is whole"):
        train_alone(published)


def survive(server: Seaweed, run: RunFile, begin: int, end: int | None, seconds: float) -> float:
    """Train while the server is away; return how long after its return everything had landed."""
    server.start()
    back: list[float] = []

    def outage() -> None:
        root = RunDirectory.of(run).root
        wait_for(root / "metrics.jsonl")  # training has begun, the probe is over
        server.send(begin) if end is not None else server.stop(begin)
        time.sleep(seconds)
        server.send(end) if end is not None else server.start()
        back.append(time.monotonic())

    thread = threading.Thread(target=outage)
    thread.start()
    assert train_alone(run) == 12
    landed = time.monotonic()
    thread.join()
    store, steps = in_store(run)
    assert steps[0] == 12
    newest = checkpoints(store, f"{key_of(run)}/checkpoints")
    assert newest_whole(Fetch(store, 5), newest, RunDirectory.of(run).root / "again", []) == newest[0]
    server.stop()
    return landed - back[0]


OUTAGES = {"refused": (signal.SIGKILL, None), "frozen": (signal.SIGSTOP, signal.SIGCONT)}


@pytest.fixture
def breakable(tmp_path: Path, small_run: RunFile, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Seaweed, RunFile]]:
    """Return a server of one's own, not started yet, and a run that is published there."""
    server = Seaweed(tmp_path / "seaweed")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server, change(small_run, "storage.remote=s3://trm-artifacts/outage", "train.checkpoint.every_steps=1")
    server.stop(signal.SIGKILL)


@pytest.mark.parametrize("kind", OUTAGES)
def test_training_goes_on_without_the_store_and_everything_lands_afterwards(
    kind: str, breakable: tuple[Seaweed, RunFile], capsys: pytest.CaptureFixture[str]
) -> None:
    survive(*breakable, *OUTAGES[kind], 2.0)
    lines = capsys.readouterr().err
    if kind == "refused":
        assert "not published yet" in lines
        assert "the store takes files again" in lines


def stop_when(sign: Callable[[], bool]) -> None:
    """Send this process SIGTERM as soon as `sign()`."""

    def wait() -> None:
        while not sign():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def test_a_run_that_waits_for_its_store_can_be_stopped(
    s3: str, small_run: RunFile, capsys: pytest.CaptureFixture[str]
) -> None:
    run = change(small_run, f"storage.remote={s3}", "storage.endpoint_url=http://127.0.0.1:9")
    stop_when(lambda: RunDirectory.of(run).environment.is_file())
    with pytest.raises(Stopped) as stopped:
        train_alone(run)
    assert stopped.value.exit_code == 143


def test_a_run_that_publishes_its_last_files_can_be_stopped(
    breakable: tuple[Seaweed, RunFile], capsys: pytest.CaptureFixture[str]
) -> None:
    server, run = breakable
    run = change(run, "storage.stop_seconds=0.2")
    server.start()
    root = RunDirectory.of(run).root
    gone = threading.Thread(target=lambda: (wait_for(root / "metrics.jsonl"), server.stop(signal.SIGKILL)))
    gone.start()
    stop_when((root / "checkpoints" / "step_00000012").is_dir)
    with pytest.raises(Stopped):
        train_alone(run)
    gone.join()
    assert "not published" in capsys.readouterr().err
    server.start()
    assert train_alone(run) == 12
    assert in_store(run)[1][0] == 12
    server.stop()


def wait_for(path: Path) -> None:
    """Wait until there is something at `path`."""
    while not path.exists():
        time.sleep(0.01)


@pytest.mark.full
@pytest.mark.parametrize("kind", OUTAGES)
def test_a_minute_without_the_store(kind: str, breakable: tuple[Seaweed, RunFile]) -> None:
    late = survive(*breakable, *OUTAGES[kind], 60.0)
    print(f"{kind}: everything had landed {late:.1f} s after the store was back")
    assert late <= 10.0
