"""Built data sets in a store: one machine builds, the others take."""

import multiprocessing
import os
import shutil
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from tests.trainer.helpers import change, train_alone
from trainer import data
from trainer.data.shared import over_limit, used
from trmkit.spec.load import loads
from trmkit.spec.run import RunFile
from trmkit.store.folder import FolderStore
from trmkit.store.garbage import find
from trmkit.store.local import sha256


@pytest.fixture(params=["folder", "s3"])
def shared_run(request: pytest.FixtureRequest, tmp_path: Path) -> RunFile:
    """Return a run that publishes its data set."""
    remote = request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path / "share")
    return change(None, f"storage.remote={remote}", "storage.publish_data=true", f"storage.path={tmp_path / 'runs'}")


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of every file."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "published.json"]
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def at(run: RunFile, folder: Path) -> RunFile:
    """Return the run with its data sets in another folder, as on another machine."""
    return change(run, f"storage.data={folder}")


def test_another_machine_takes_the_data_set_byte_for_byte(
    shared_run: RunFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = data.build_for(at(shared_run, tmp_path / "one"))
    assert "published the data set" in capsys.readouterr().err
    two = data.build_for(at(shared_run, tmp_path / "two"))
    assert "brought the data set" in capsys.readouterr().err
    assert contents(one) == contents(two)
    assert (two / "published.json").is_file()
    assert data.build_for(at(shared_run, tmp_path / "two")) == two
    assert capsys.readouterr().err == ""
    assert train_alone(at(shared_run, tmp_path / "two")) == 12


def test_a_damaged_data_set_is_built_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = change(None, f"storage.remote={tmp_path / 'share'}", "storage.publish_data=true")
    one = data.build_for(at(run, tmp_path / "one"))
    store = FolderStore(tmp_path / "share")
    for entry in store.keys("_data/"):
        if entry.key.endswith("all__inputs.npy"):
            store.write(entry.key, b"x" * entry.size)
    two = data.build_for(at(run, tmp_path / "two"))
    assert "not used" in capsys.readouterr().err
    assert (one / "train/all__inputs.npy").read_bytes() == (two / "train/all__inputs.npy").read_bytes()
    assert find(store, "", -60) == []


def test_what_was_built_before_it_was_to_be_published_is_published_later(
    shared_run: RunFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = data.build_for(at(change(shared_run, "storage.publish_data=false"), tmp_path / "one"))
    assert "published" not in capsys.readouterr().err
    assert data.build_for(at(shared_run, tmp_path / "one")) == one
    assert "published the data set" in capsys.readouterr().err
    assert data.build_for(at(shared_run, tmp_path / "one")) == one
    assert capsys.readouterr().err == ""
    assert contents(data.build_for(at(shared_run, tmp_path / "two"))) == contents(one)
    assert "brought" in capsys.readouterr().err


def damage(store: FolderStore, name: str, content: bytes | None) -> None:
    """Change, or remove, every published file of this name; what is changed keeps its size if `content` is empty."""
    for entry in list(store.keys("_data/")):
        if entry.key.endswith(name) and content is None:
            store.delete([entry.key])
        elif entry.key.endswith(name):
            store.write(entry.key, content or b"x" * entry.size)


@pytest.mark.parametrize("name", ["all__inputs.npy", "manifest.json", "published.json"])
@pytest.mark.parametrize("content", [b"", b"{}", None], ids=["changed", "shortened", "removed"])
def test_a_damaged_data_set_is_published_again_by_who_builds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    run = change(None, f"storage.remote={tmp_path / 'share'}", "storage.publish_data=true")
    data.build_for(at(run, tmp_path / "one"))
    damage(FolderStore(tmp_path / "share"), name, content)
    two = data.build_for(at(run, tmp_path / "two"))
    assert "published the data set" in capsys.readouterr().err
    three = data.build_for(at(run, tmp_path / "three"))
    said = capsys.readouterr().err
    assert "brought the data set" in said
    assert "not used" not in said
    assert contents(two) == contents(three)


@pytest.mark.parametrize("name", ["all__inputs.npy", "manifest.json", "published.json"])
def test_a_data_set_that_is_not_whole_in_the_store_is_mended_by_who_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    run = change(None, f"storage.remote={tmp_path / 'share'}", "storage.publish_data=true")
    one = data.build_for(at(run, tmp_path / "one"))
    damage(FolderStore(tmp_path / "share"), name, b"{}")
    assert data.build_for(at(run, tmp_path / "one")) == one
    assert "published the data set" in capsys.readouterr().err
    assert contents(data.build_for(at(run, tmp_path / "two"))) == contents(one)


def csv_run(tmp_path: Path, folder: Path) -> RunFile:
    text = f"""
name: csv
model: {{family: trm}}
data: {{source: sudoku, path: {folder}, subsample_size: null, num_aug: 1}}
train: {{steps: 5, batch_size: 2}}
storage: {{remote: {tmp_path / "share"}, publish_data: true}}
"""
    return loads(text, "run.yaml", ())


def write_csv(folder: Path, rows: int) -> None:
    """Write a pair of files with so many training puzzles."""
    puzzle = ".23456789456789123789123456214365897365897214897214365531642978642978531978531642"
    folder.mkdir(exist_ok=True)
    for name, count in (("train.csv", rows), ("test.csv", 1)):
        lines = [f"{number},{puzzle},1{puzzle[1:]},1" for number in range(count)]
        (folder / name).write_text("\n".join(["source,question,answer,rating", *lines, ""]))


def test_a_published_set_without_its_manifest_does_not_stop_who_can_build(tmp_path: Path) -> None:
    write_csv(tmp_path / "csv", 1)
    run = csv_run(tmp_path, tmp_path / "csv")
    one = data.build_for(at(run, tmp_path / "one"))
    damage(FolderStore(tmp_path / "share"), "/manifest.json", None)
    two = data.build_for(at(run, tmp_path / "two"))
    assert (two / "train/all__inputs.npy").read_bytes() == (one / "train/all__inputs.npy").read_bytes()


def test_a_data_set_made_from_other_files_is_not_taken(tmp_path: Path) -> None:
    folder = tmp_path / "csv"
    write_csv(folder, 1)
    run = csv_run(tmp_path, folder)
    one = data.build_for(at(run, tmp_path / "one"))
    write_csv(folder, 2)
    two = data.build_for(at(run, tmp_path / "two"))
    assert contents(one) != contents(two)
    shutil.rmtree(folder)  # no file left to compare with: what was published last is taken
    assert contents(data.build_for(at(run, tmp_path / "three"))) == contents(two)


def test_a_mixed_set_is_not_taken_where_the_folder_of_a_part_holds_something_else(tmp_path: Path) -> None:
    keys = "side: 4, train_puzzles: 5, test_puzzles: 3, num_aug: 1"
    parts = f"[{{source: folder, path: {tmp_path}/theirs}}, {{source: sudoku-generated, {keys}}}]"
    mixed = f"data={{source: mixed, parts: {parts}}}"
    run = change(None, f"storage.remote={tmp_path / 'share'}", "storage.publish_data=true", mixed)
    built = []
    for seed in (5, 7):  # two machines with another data set in the same place
        theirs = change(None, f"data={{source: sudoku-generated, {keys}, seed: {seed}}}")
        shutil.rmtree(tmp_path / "theirs", ignore_errors=True)
        shutil.copytree(data.build_for(at(theirs, tmp_path / "built")), tmp_path / "theirs")
        built.append(data.build_for(at(run, tmp_path / str(seed))))
    rows = [(folder / "train/all__inputs.npy").read_bytes() for folder in built]
    assert rows[0] != rows[1]


def _build(run: RunFile, together: Barrier | None = None) -> None:
    if together is not None:
        together.wait()
    data.build_for(run)


def test_many_processes_take_one_data_set_at_once(tmp_path: Path) -> None:
    run = change(None, f"storage.remote={tmp_path / 'share'}", "storage.publish_data=true")
    one = data.build_for(at(run, tmp_path / "one"))
    there = at(run, tmp_path / "two")
    processes = multiprocessing.get_context("forkserver")
    children = [processes.Process(target=_build, args=(there,)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert contents(one) == contents(data.build_for(there))


def test_the_sets_unused_for_longest_make_room(tmp_path: Path) -> None:
    run = change(None, f"storage.data={tmp_path / 'data'}")
    folders = [data.build_for(change(run, f"data.seed={seed}")) for seed in range(3)]
    for age, folder in zip((3, 1, 2), folders, strict=True):
        os.utime(folder / "manifest.json", (1e9 - age * 1e5, 1e9))
    size = sum(path.stat().st_size for path in folders[0].rglob("*") if path.is_file())
    assert over_limit(tmp_path / "data", 2.5 * size, folders[0]) == [folders[2]]
    limited = change(run, f"storage.data_cache_gib={1.5 * size / 2**30}", "data.seed=1")
    data.build_for(limited)
    assert [folder.is_dir() for folder in folders] == [False, True, False]


def test_many_processes_make_room_at_once(tmp_path: Path) -> None:
    run = change(None, f"storage.data={tmp_path / 'data'}", "storage.data_cache_gib=1e-9")
    folder = data.build_for(run)
    for number in range(200):
        old = folder.with_name(f"old-{number:012}")
        (old / "train").mkdir(parents=True)
        for name in ("manifest.json", "train/a", "train/b"):
            (old / name).touch()
        os.utime(old / "manifest.json", (0, 0))
    processes = multiprocessing.get_context("forkserver")
    together = processes.Barrier(4)
    children = [processes.Process(target=_build, args=(run, together)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert [path for path in folder.parent.iterdir() if not path.name.endswith(".lock")] == [folder]


def test_a_set_that_another_process_removes_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = change(None, f"storage.data={tmp_path / 'data'}")
    folders = [data.build_for(change(run, f"data.seed={seed}")) for seed in range(2)]
    walk = Path.rglob

    def walk_then_remove(self: Path, pattern: str) -> list[Path]:
        found = list(walk(self, pattern))
        shutil.rmtree(folders[1], ignore_errors=True)  # as another process does right now
        return found

    monkeypatch.setattr(Path, "rglob", walk_then_remove)
    assert over_limit(tmp_path / "data", 1, folders[0]) == []


def test_a_set_that_was_removed_before_it_could_be_used_is_built_again(tmp_path: Path) -> None:
    run = change(None, f"storage.data={tmp_path / 'data'}")
    folder = data.build_for(run)
    assert used(folder)
    shutil.rmtree(folder)
    assert not used(folder)
    assert data.build_for(run) == folder
    assert used(folder)


def test_a_set_that_was_just_used_is_not_removed(tmp_path: Path) -> None:
    run = change(None, f"storage.data={tmp_path / 'data'}", "storage.data_cache_gib=1e-9")
    first = data.build_for(run)
    data.build_for(change(run, "data.seed=1"))
    assert first.is_dir()
