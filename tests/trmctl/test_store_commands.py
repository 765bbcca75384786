"""What a person does with runs in a store; and no secret in anything that is said, kept, or sent."""

import base64
import json
import os
import shutil
import urllib.parse
from pathlib import Path

import pytest

from tests.trmctl.conftest import Run
from tools.seaweed import Seaweed
from trmkit.spec.load import dump, load, loads
from trmkit.spec.storage import StorageSection
from trmkit.store import manifest as manifests
from trmkit.store.base import Store
from trmkit.store.folder import FolderStore
from trmkit.store.layout import RunDirectory, store_key
from trmkit.store.open import open_store
from trmkit.store.summary import Status
from trmkit.store.uploader import Keep, Uploader


def make_run(folder: Path, seed: int = 0, name: str = "demo") -> RunDirectory:
    """Write a run with three checkpoints, the first of which is the best."""
    text = (
        f"name: {name}\nmodel: {{family: trm}}\ndata: {{source: sudoku-generated}}\ntrain: {{steps: 30}}\nseed: {seed}"
    )
    run = loads(text, "run.yaml", [f"storage.path={folder}"])
    directory = RunDirectory.of(run)
    for step in (10, 20, 30):
        path = directory.checkpoints / f"step_{step:08d}"
        path.mkdir(parents=True)
        (path / "model.safetensors").write_bytes(os.urandom(1000))
        about = {"version": "0.1.0", "best": {"step": 10, "metric": "exact_accuracy", "value": 0.75},
                 "scores": {"exact_accuracy": 0.75}, "created": "2026-01-01T00:00:00+00:00"}  # fmt: skip
        (path / "manifest.json").write_text(manifests.write(step, manifests.members(path), about))
    directory.run_file.write_text(dump(run))
    directory.metrics.write_text('{"kind": "train", "step": 1}\n')
    directory.report.write_text("<p>report</p>")
    return directory


def key_of(directory: RunDirectory) -> str:
    """Return where the run lives in a store."""
    return store_key(load(directory.run_file), directory)


def publish(store: Store, directory: RunDirectory) -> None:
    """Publish a run whole."""
    status = Status("trained", 30, 30, "exact_accuracy", 0.75, best_step=10)
    made = Uploader(store, key_of(directory), directory, Keep(5), {"version": "0.1.0"}, status, print)
    for step in (10, 20, 30):
        made.checkpoint(step, status)
        while made.holds():
            pass
    made.finish(30)


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of a store with one run."""
    url = request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path / "share")
    publish(open_store(StorageSection(remote=url)), make_run(tmp_path / "made"))
    return url


def test_a_run_is_listed_shown_and_fetched(trmctl: Run, address: str, tmp_path: Path) -> None:
    done = trmctl("list", "--store", address)
    assert done.out.splitlines()[1].split()[1:4] == ["trained", "30/30", "0.7500"]
    shown = json.loads(trmctl("show", "demo", "--store", address, "-o", "json").out)
    assert [one["step"] for one in shown["checkpoints"]] == [30, 20, 10]
    assert shown["checkpoints"][2]["note"] == "best"
    assert "report.html" in trmctl("show", "demo", "--store", address).out
    got = trmctl("fetch", "demo", "--store", address, "--to", "got")
    assert got.code == 0
    assert "every SHA-256 right" in got.err
    assert "version: 0.1.0" in got.err
    folder = Path(got.out.strip())
    assert sorted(path.name for path in (folder / "checkpoints").glob("[!.]*")) == ["best.json", "step_00000030"]
    assert (folder / "report.html").read_text() == "<p>report</p>"
    assert trmctl("fetch", "demo", "--best", "--store", address, "--to", "got").code == 0
    assert (folder / "checkpoints" / "step_00000010" / "model.safetensors").is_file()
    assert trmctl("fetch", "demo", "--step", "20", "--store", address, "--to", "got").code == 0
    assert trmctl("fetch", "demo", "--all", "--store", address, "--to", "every").code == 0
    assert len(list(Path("every").glob("demo/*/checkpoints/step_*"))) == 3
    assert trmctl("fetch", "demo", "--report", "--store", address, "--to", "page").code == 0
    assert not list(Path("page").glob("demo/*/checkpoints"))


def test_what_is_not_there_is_said_with_what_is(trmctl: Run, address: str) -> None:
    done = trmctl("fetch", "demp", "--store", address)
    assert done.code == 1
    assert "did you mean 'demo'" in done.err
    done = trmctl("fetch", "demo", "--step", "7", "--store", address)
    assert "no checkpoint of step 7" in done.err
    assert "30, 20, 10" in done.err
    assert trmctl("list", "nothing*", "--store", address).err == "no runs\n"
    assert trmctl("list", "--store", "ftp://x").code == 2
    done = trmctl("gc")
    assert done.code == 1
    assert "TRM_STORE" in done.err


def test_a_damaged_checkpoint_is_not_fetched_but_the_one_before(trmctl: Run, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "share")
    publish(store, make_run(tmp_path / "made"))
    for entry in store.keys("demo/"):
        if "step_00000030" in entry.key and entry.key.endswith("safetensors"):
            store.write(entry.key, os.urandom(1000))
    done = trmctl("fetch", "demo", "--store", str(tmp_path / "share"), "--to", "got")
    assert done.code == 0
    assert "not used" in done.err
    assert "another SHA-256" in done.err
    assert [path.name for path in Path("got").glob("demo/*/checkpoints/step_*")] == ["step_00000020"]
    done = trmctl("fetch", "demo", "--step", "30", "--store", str(tmp_path / "share"), "--to", "got")
    assert done.code == 1
    assert "is whole" in done.err


def test_files_outside_the_target_are_never_written(trmctl: Run, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "share")
    directory = make_run(tmp_path / "made")
    publish(store, directory)
    summary = json.loads(store.read(f"{key_of(directory)}/run.json"))
    entry = summary["files"]["report.html"]  # a list of what the file may be
    for name in ("../../../evil", "/tmp/evil", "checkpoints/../../evil", ".bashrc", "run.sh"):
        summary["files"][name] = entry
    store.write(f"{key_of(directory)}/run.json", json.dumps(summary).encode())
    assert trmctl("fetch", "demo", "--store", str(tmp_path / "share"), "--to", "got").code == 0
    found = {path.name for path in Path("got").rglob("[!.]*") if path.is_file()}
    assert found == {"run.yaml", "metrics.jsonl", "report.html", "model.safetensors", "manifest.json", "best.json"}
    assert not list(tmp_path.rglob("*evil*"))


def test_the_difference_of_two_runs_is_in_keys(trmctl: Run, address: str, tmp_path: Path) -> None:
    publish(open_store(StorageSection(remote=address)), make_run(tmp_path / "made", seed=3, name="second"))
    done = trmctl("diff", "demo", "second", "--store", address, "-o", "json")
    found = {one["key"]: (one["first"], one["second"]) for one in json.loads(done.out)["differences"]}
    assert found == {"name": ("demo", "second"), "seed": (0, 3)}
    assert trmctl("diff", "demo", "demo", "--store", address).err == "the run files say the same\n"


def test_garbage_is_shown_then_removed(trmctl: Run, address: str) -> None:
    store = open_store(StorageSection(remote=address))
    (broken,) = [entry.key for entry in store.keys("demo/") if "0030" in entry.key and "manifest" in entry.key]
    store.delete([broken])
    assert trmctl("gc", "--store", address).err == "0 removed, 0 B\n"
    done = trmctl("gc", "--store", address, "--older-than", "0s", "--dry-run")
    assert "unfinished checkpoint" in done.out
    assert "1 to remove" in done.err
    assert "1 removed" in trmctl("gc", "--store", address, "--older-than", "0s").err
    assert trmctl("gc", "--store", address, "--older-than", "0s").err == "0 removed, 0 B\n"
    assert trmctl("gc", "--store", address, "--older-than", "soon").code == 2


def test_no_secret_is_said_kept_or_sent(
    trmctl: Run, s3: str, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secret key is looked for in everything: as it is, in base64, and as in an address."""
    store = open_store(StorageSection(remote=s3))
    publish(store, make_run(tmp_path / "made"))
    secret = seaweed.secret_key
    commands = [["list"], ["show", "demo"], ["fetch", "demo"], ["diff", "demo", "demo"], ["gc"], ["show", "none"]]
    said = []
    for wrong in (False, True):
        if wrong:
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret := "canary-Zq7/+=9" + "x" * 20)
        for command in commands:
            done = trmctl(*command, "--store", s3)
            failed = "none" in command or (wrong and "diff" not in command)  # diff finds what was fetched
            assert done.code == int(failed)
            said.append(done.out + done.err)
        monkeypatch.setenv("TRM_DEBUG", "0")
        forms = [secret, base64.b64encode(secret.encode()).decode(), urllib.parse.quote(secret, safe="")]
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.secret_key)
        kept = [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
        sent = [store.read(entry.key).decode("latin-1") for entry in store.keys("")]
        assert not [form for form in forms for text in said + kept + sent if form in text]
    shutil.rmtree(tmp_path / "made")


def test_two_ways_to_say_which_checkpoint_are_refused(trmctl: Run, address: str) -> None:
    done = trmctl("fetch", "demo", "--step", "10", "--best", "--store", address)
    assert done.code == 2
    assert "ask for different things" in done.err


def test_all_of_a_run_that_is_not_whole_is_brought_as_far_as_it_is_and_ends_with_1(trmctl: Run, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "share")
    publish(store, make_run(tmp_path / "made"))
    (key,) = [entry.key for entry in store.keys("demo/") if "00020-" in entry.key and "safetensors" in entry.key]
    store.write(key, os.urandom(1000))
    done = trmctl("fetch", "demo", "--all", "--store", str(tmp_path / "share"), "--to", "got")
    assert done.code == 1
    assert "not every checkpoint" in done.err
    assert len(list(Path("got").glob("demo/*/checkpoints/step_*"))) == 2


def test_a_run_whose_line_in_the_index_is_lost_is_found_by_name_and_id(trmctl: Run, address: str) -> None:
    store = open_store(StorageSection(remote=address))
    (line,) = [entry.key for entry in store.keys("_index/")]
    store.delete([line])
    run = "/".join(line.split("/")[1:3])
    assert trmctl("fetch", "demo", "--store", address).code == 1
    assert trmctl("fetch", run, "--store", address, "--to", "got").code == 0
    assert f"{run}" in trmctl("show", run, "--store", address).out


def test_a_file_that_fits_no_version_does_not_keep_the_checkpoints_away(trmctl: Run, address: str) -> None:
    store = open_store(StorageSection(remote=address))
    (key,) = [entry.key for entry in store.keys("demo/") if entry.key.endswith("metrics.jsonl")]
    store.write(key, b"something else")
    done = trmctl("fetch", "demo", "--store", address, "--to", "got")
    assert done.code == 0
    assert "not brought" in done.err
    assert list(Path("got").glob("demo/*/checkpoints/step_00000030"))


def test_a_store_cannot_steer_the_terminal(trmctl: Run, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "share")
    directory = make_run(tmp_path / "made")
    path = directory.checkpoints / "step_00000030"
    about = {"created": "\x1b]0;owned\x07", "version": "\x1b[31m1"}
    files = manifests.read(path).files
    (path / "manifest.json").write_text(manifests.write(30, files, about))
    publish(store, directory)
    for command in (["show", "demo"], ["fetch", "demo", "--to", "got"]):
        done = trmctl(*command, "--store", str(tmp_path / "share"))
        assert done.code == 0
        assert "\x1b" not in done.out + done.err


def test_an_address_that_is_no_run_is_a_wrong_use(trmctl: Run) -> None:
    assert trmctl("fetch", "s3://bucket/a").code == 2
    done = trmctl("list", "--store", "no/such/folder")
    assert done.code == 1
    assert "no such folder" in done.err


def test_a_secret_in_the_address_of_the_endpoint_is_not_repeated(
    trmctl: Run, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://user:canarysecret@127.0.0.1:9")
    done = trmctl("list", "--store", s3)
    assert done.code == 1
    assert "a name or a password in its address" in done.err
    assert "canarysecret" not in done.err
