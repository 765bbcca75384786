"""Vectors are read once and kept: whole or absent, found again by what they are of, verified, shared, resumed."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.helpers import change
from trainer.__main__ import main
from trainer.data import build_for
from trainer.data.store import read_split
from trainer.dist import World
from trainer.features import cache, stage
from trainer.features.cache import Place, Shards, write_shard
from trainer.features.keys import as_array
from trainer.features.readers import open_reader
from trainer.features.stage import place_for, read_features
from trainer.features.text import reader_known, with_text
from trmkit.errors import DataError, StoreDamagedError
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile

DISTINCT = 36
"""Different prompts of the run: three tasks in three variants, three training rows and a test row each."""


def opened(run: RunFile, world: World) -> Any:
    """Return the splits of `run` with their text."""
    folder = build_for(run)
    return with_text(run, folder, {name: read_split(folder, name) for name in ("train", "test")}, world)


def texts(run: RunFile, world: World) -> dict[str, np.ndarray]:
    """Return the text of all rows."""
    return {name: split.beside["text"].get(np.arange(len(split))) for name, split in opened(run, world).items()}


def written(run: RunFile, tmp_path: Path) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(dump(run))
    return str(path)


def replace_model(model: Path) -> None:
    """Put another model of the same shape into the folder."""
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-200_000:] = content[-100_000:] * 2
    weights.write_bytes(content)


def test_a_second_stage_finds_everything(
    reading_run: RunFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(reading_run, tmp_path)
    assert main(["features", file]) == 0
    first = capsys.readouterr()
    assert f"{DISTINCT} prompts, {DISTINCT} distinct: 0 found, {DISTINCT} read" in first.err
    folder = Path(first.out.strip().splitlines()[-1])
    assert folder.name.startswith("features-")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert main(["features", file]) == 0
    assert f"{DISTINCT} found, 0 read" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_that_reads_no_text_has_nothing_to_do(
    small_run: RunFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["features", written(small_run, tmp_path)]) == 0
    said = capsys.readouterr()
    assert "nothing to do, the run reads no text" in said.err
    assert said.out == ""


def test_rows_get_what_the_reader_makes_of_their_prompts_kept_or_online(reading_run: RunFile, alone: World) -> None:
    kept = texts(reading_run, alone)
    online = texts(change(reading_run, "features.online=true"), alone)
    for split in ("train", "test"):
        assert kept[split].dtype == np.float16
        assert kept[split].shape[1:] == (1, 64)
        assert np.array_equal(kept[split], online[split])
    assert len(np.unique(np.concatenate(list(kept.values())).reshape(-1, 64), axis=0)) == DISTINCT


def test_rows_are_given_in_the_order_they_are_asked_for(reading_run: RunFile, alone: World) -> None:
    text = opened(reading_run, alone)["train"].beside["text"]
    whole = text.get(np.arange(27))
    assert np.array_equal(text.get(np.array([5, 0, 5, 26])), whole[[5, 0, 5, 26]])


def test_a_stage_that_was_killed_goes_on_where_it_was(
    reading_run: RunFile, alone: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = texts(change(reading_run, "features.online=true"), alone)
    assert reading_run.features is not None
    reader = open_reader(reading_run.features)
    read, calls = reader.read, []

    def until_told(some: list[str]) -> Any:
        calls.append(len(some))
        if len(calls) == 3:
            raise SystemExit(143)
        return read(some)

    monkeypatch.setattr(stage, "SHARD_BYTES", 128 * 5)
    monkeypatch.setattr(stage, "open_reader", lambda *_: reader)
    monkeypatch.setattr(reader, "read", until_told)
    with pytest.raises(SystemExit):
        read_features(reading_run, alone)
    assert sum(calls[:2]) == 10
    monkeypatch.undo()
    capsys.readouterr()
    read_features(reading_run, alone)
    assert f"10 found, {DISTINCT - 10} read" in capsys.readouterr().err
    found = texts(reading_run, alone)
    assert all(np.array_equal(found[split], expected[split]) for split in expected)


def test_a_stage_that_was_killed_goes_on_on_another_disk(
    reading_run: RunFile, alone: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = change(reading_run, f"storage.remote={tmp_path / 'store'}", "storage.publish_data=true")
    assert run.features is not None
    reader = open_reader(run.features)
    read, calls = reader.read, []

    def until_told(some: list[str]) -> Any:
        calls.append(len(some))
        if len(calls) == 3:
            raise SystemExit(143)
        return read(some)

    with monkeypatch.context() as patched:
        patched.setattr(stage, "SHARD_BYTES", 128 * 5)
        patched.setattr(stage, "open_reader", lambda *_: reader)
        patched.setattr(reader, "read", until_told)
        with pytest.raises(SystemExit):
            read_features(run, alone)
    assert len(list((tmp_path / "store").rglob("shard-*"))) == 2
    assert not list((tmp_path / "store").rglob("rows"))
    capsys.readouterr()
    other = change(run, f"storage.data={tmp_path / 'other'}")
    read_features(other, alone)
    assert f"10 found, {DISTINCT - 10} read" in capsys.readouterr().err
    expected, found = texts(change(reading_run, "features.online=true"), alone), texts(other, alone)
    assert all(np.array_equal(found[split], expected[split]) for split in expected)


def test_a_damaged_shard_is_named_with_what_mends_it(reading_run: RunFile, alone: World) -> None:
    folder = read_features(reading_run, alone)
    assert folder is not None
    [shard] = folder.glob("shard-*")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    for look in (lambda: texts(reading_run, alone), lambda: read_features(reading_run, alone)):
        with pytest.raises(DataError, match=f"{shard.name}: is damaged") as error:
            look()
        assert "delete the file" in error.value.next
    shard.unlink()
    read_features(reading_run, alone)
    assert shard.is_file()


def test_damaged_keys_are_named(reading_run: RunFile, alone: World) -> None:
    read_features(reading_run, alone)
    place = place_for(reading_run, build_for(reading_run))
    place.keys_of("hash-1")["test"].write_bytes(b"no numbers")
    with pytest.raises(DataError, match=r"test.npy: is damaged"):
        texts(reading_run, alone)


def test_another_reader_width_or_pooling_shares_nothing_and_another_batch_size_everything(reading_run: RunFile) -> None:
    places = {
        place_for(change(reading_run, *keys), Path("data/arc-0")).folder
        for keys in (
            ["features.batch_size=9"],
            ["features.width=32", "model.text_hidden_size=32"],
            ["features.pooling=mean"],
            ["features.max_length=99"],
        )
    }
    assert len(places) == 4
    assert place_for(reading_run, Path("data/arc-0")).folder in places


def test_many_shards_are_one_set(tmp_path: Path, reading_run: RunFile) -> None:
    assert reading_run.features is not None
    place = Place(tmp_path, tmp_path / "rows")
    keys = [bytes([k]) * 31 + b"\0" for k in range(7)]
    vectors = np.arange(7 * 64, dtype=np.float16).reshape(7, 1, 64)
    for some in ([0, 3], [6, 1, 5], [2], [3, 0]):
        write_shard(tmp_path, [keys[k] for k in some], vectors[some])
    shards = Shards(place, reading_run.features)
    found = shards.find(as_array([keys[k] for k in (5, 0, 4, 3)]))
    assert (found >= 0).tolist() == [True, True, False, True]
    assert np.array_equal(shards.get(found[[0, 1, 3]]), vectors[[5, 0, 3]])


def test_training_never_loads_a_language_model_unasked(reading_run: RunFile, alone: World) -> None:
    run = change(reading_run, "features.reader=/no/such/model")
    with pytest.raises(DataError, match="the text of this data set has not been read") as error:
        opened(run, alone)
    assert "python -m trainer features" in error.value.next


def test_what_one_machine_published_the_next_one_takes_and_needs_no_reader(
    reading_run: RunFile, alone: World, tmp_path: Path, tiny_llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    model.symlink_to(tiny_llama)
    run = change(
        reading_run, f"features.reader={model}", "features.max_length=512", f"storage.remote={tmp_path / 'store'}",
        "storage.publish_data=true",
    )  # fmt: skip
    read_features(run, alone)
    expected = texts(run, alone)
    assert "published" in capsys.readouterr().err
    model.unlink()
    other = change(run, f"storage.data={tmp_path / 'other'}")
    found = texts(other, alone)
    assert all(np.array_equal(found[split], expected[split]) for split in expected)
    assert "brought 1 shards of features" in capsys.readouterr().err
    assert read_features(other, alone) is not None
    assert f"{DISTINCT} found, 0 read" in capsys.readouterr().err
    assert not list((tmp_path / "store" / "_features").rglob("*.tmp"))
    [shard] = (tmp_path / "store").rglob("shard-*")
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreDamagedError, match="is damaged"):
        texts(change(run, f"storage.data={tmp_path / 'third'}"), alone)


def test_a_model_that_changed_in_its_folder_is_read_anew(
    reading_run: RunFile, alone: World, tmp_path: Path, tiny_llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(tiny_llama, tmp_path / "model")
    run = change(
        reading_run, f"features.reader={model}", "features.max_length=512", f"storage.remote={tmp_path / 'store'}",
        "storage.publish_data=true",
    )  # fmt: skip
    read_features(run, alone)
    before = texts(run, alone)
    replace_model(model)
    with pytest.raises(DataError, match="has not been read"):
        texts(run, alone)
    capsys.readouterr()
    read_features(run, alone)
    assert f"0 found, {DISTINCT} read" in capsys.readouterr().err
    after = texts(run, alone)
    assert not any(np.array_equal(before[split], after[split]) for split in before)
    found = texts(change(run, f"storage.data={tmp_path / 'other'}"), alone)
    assert all(np.array_equal(found[split], after[split]) for split in after)


def test_keys_of_one_reader_are_never_taken_for_another_s_whatever_interrupts(
    reading_run: RunFile, alone: World, tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(tiny_llama, tmp_path / "model")
    run = change(reading_run, f"features.reader={model}", "features.max_length=512")
    read_features(run, alone)
    replace_model(model)
    write, writes = cache.write_whole, []

    def until_the_keys(path: Path, content: str | bytes) -> None:
        if not path.name.startswith("shard-"):
            writes.append(path)
            if len(writes) == 2:
                raise SystemExit(143)
        write(path, content)

    monkeypatch.setattr(cache, "write_whole", until_the_keys)
    with pytest.raises(SystemExit):
        read_features(run, alone)
    monkeypatch.undo()
    with pytest.raises(DataError, match="has not been read"):
        texts(run, alone)
    read_features(run, alone)
    assert run.features is not None
    assert reader_known(run) == open_reader(run.features).identity


def test_what_another_machine_read_anew_takes_the_place_of_what_lies_here(
    reading_run: RunFile, alone: World, tmp_path: Path, tiny_llama: Path
) -> None:
    model = shutil.copytree(tiny_llama, tmp_path / "model")
    run = change(
        reading_run, f"features.reader={model}", "features.max_length=512", f"storage.remote={tmp_path / 'store'}",
        "storage.publish_data=true",
    )  # fmt: skip
    other = change(run, f"storage.data={tmp_path / 'other'}")
    read_features(run, alone)
    before = texts(other, alone)
    replace_model(model)
    read_features(run, alone)
    expected = texts(run, alone)
    shutil.rmtree(model)
    read_features(other, alone)
    found = texts(other, alone)
    assert all(np.array_equal(found[split], expected[split]) for split in expected)
    assert not any(np.array_equal(found[split], before[split]) for split in before)


def test_a_data_set_of_another_kind_has_no_text(small_run: RunFile, reading_run: RunFile, alone: World) -> None:
    puzzles = build_for(small_run)
    run = change(reading_run, f"data={{source: folder, path: {puzzles}}}")
    with pytest.raises(DataError, match="only ARC tasks have a text") as error:
        read_features(run, alone)
    assert "--set features=null" in error.value.next
    without = change(run, "features=null", "model.conditioning=[none]")
    assert read_features(without, alone) is None


def on_two(*arguments: str, folders: tuple[Path, ...] = (), **environment: str) -> "list[subprocess.Popen[str]]":
    """Start the trainer on two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    found = []
    for rank in ("0", "1"):
        own = {"RANK": rank, "LOCAL_RANK": "0" if folders else rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        found.append(
            subprocess.Popen(
                [sys.executable, "-m", "trainer", *arguments],
                env={**os.environ, **environment, **own, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
                cwd=folders[int(rank)] if folders else None,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return found


def test_two_processes_share_the_work_and_keep_the_same(reading_run: RunFile, alone: World, tmp_path: Path) -> None:
    children = on_two("features", written(reading_run, tmp_path))
    said = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert f"0 found, {DISTINCT} read" in said[0][1]
    place = place_for(reading_run, build_for(reading_run))
    assert said[0][0].strip() == str(place.folder)
    assert len(place.shards()) == 2
    found, online = texts(reading_run, alone), texts(change(reading_run, "features.online=true"), alone)
    assert all(np.array_equal(found[split], online[split]) for split in online)


def test_machines_that_share_no_folder_all_have_everything(reading_run: RunFile, alone: World, tmp_path: Path) -> None:
    run = change(reading_run, "storage.data=data", "storage.path=runs")
    machines = tmp_path / "one", tmp_path / "two"
    for machine in machines:
        machine.mkdir()
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    children = on_two("features", written(run, tmp_path), folders=machines, **paths)
    said = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    found = [texts(change(run, f"storage.data={machine / 'data'}"), alone) for machine in machines]
    assert all(np.array_equal(found[0][split], found[1][split]) for split in found[0])
    names = [{path.name for path in (machine / "data").rglob("shard-*")} for machine in machines]
    assert names[0] == names[1]
    assert len(names[0]) == 2
