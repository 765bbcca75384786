"""A published folder is whole or is not there, and only what verifies is used."""

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from tests.trmkit.store.conftest import make_checkpoint
from trmkit.errors import StoreDamagedError, StoreError, StoreUnavailableError
from trmkit.store.base import Store
from trmkit.store.fetch import PIECE, Fetch, newest_whole
from trmkit.store.folder import FolderStore
from trmkit.store.garbage import find, remove
from trmkit.store.manifest import parse
from trmkit.store.publish import Published, checkpoints, point_to, publish, read_manifest
from trmkit.store.publish import remove as unpublish
from trmkit.store.take import Wanted, take_checkpoints

RUN = "demo/0123abcd/checkpoints"


def published(store: Store, tmp_path: Path, *steps: int, **options: int) -> list[Published]:
    """Publish checkpoints of these steps."""
    folder = tmp_path / "made"
    return [
        publish(store, RUN, folder / f"step_{step:08d}", make_checkpoint(folder, step, **options)) for step in steps
    ]


def test_what_is_published_comes_back_byte_for_byte(store: Store, tmp_path: Path) -> None:
    (one,) = published(store, tmp_path, 7, size=3 * PIECE + 5)
    counted: list[int] = []
    target = Fetch(store, 5, counted.append).folder(one, tmp_path / "here" / "step_00000007")
    for file in (tmp_path / "made" / "step_00000007").iterdir():
        assert (target / file.name).read_bytes() == file.read_bytes()
    assert sum(counted) == read_manifest(store, one).bytes
    assert [path.name for path in target.parent.glob(".*")] == [".fetch.lock"]


def test_publishing_twice_or_from_two_places_gives_one_checkpoint(store: Store, tmp_path: Path) -> None:
    (one,) = published(store, tmp_path, 7)
    again = publish(
        store, RUN, tmp_path / "made" / "step_00000007", (tmp_path / "made/step_00000007/manifest.json").read_bytes()
    )
    assert again == one
    assert checkpoints(store, RUN) == [one]


def test_another_attempt_at_the_same_step_does_not_touch_the_first(store: Store, tmp_path: Path) -> None:
    (one,) = published(store, tmp_path, 7, seed=1)
    other = make_checkpoint(tmp_path / "other", 7, seed=2)
    two = publish(store, RUN, tmp_path / "other" / "step_00000007", other)
    assert one.name != two.name
    for which in (one, two):
        Fetch(store, 5).folder(which, tmp_path / which.name)


def test_without_its_manifest_a_checkpoint_is_nothing_and_the_one_before_is_taken(store: Store, tmp_path: Path) -> None:
    old, new = published(store, tmp_path, 7, 8)
    store.delete([f"{new.key}/manifest.json"])
    refused: list[str] = []
    assert newest_whole(Fetch(store, 5), checkpoints(store, RUN), tmp_path / "here", refused) == old
    assert refused == []
    with pytest.raises(StoreDamagedError, match="never finished"):
        Fetch(store, 5).folder(new, tmp_path / "there")


def damage(store: Store, folder: Published, other: Published, kind: str, chance: random.Random) -> None:
    """Damage a published checkpoint as disks, networks and people do."""
    name = chance.choice(["model.safetensors", "state.json", "manifest.json"])
    key = f"{folder.key}/{name}"
    content = bytearray(store.read(key))
    at = chance.randrange(len(content))
    if kind == "flip":
        content[at] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del content[at:]
    elif kind == "zeros":
        content[at : at + 4096] = bytes(len(content[at : at + 4096]))
        if store.read(key) == content:
            content[at] ^= 1
    elif kind == "missing":
        store.delete([key])
        return
    elif kind == "swapped":
        content = bytearray(store.read(f"{other.key}/{name}"))
    elif kind == "stale":
        key, content = f"{folder.key}/manifest.json", bytearray(store.read(f"{other.key}/manifest.json"))
    store.write(key, bytes(content))


KINDS = ("flip", "cut", "zeros", "missing", "swapped", "stale")


def refuse_damage(store: Store, tmp_path: Path, times: int) -> None:
    """Damage the newest checkpoint in every way so many times: it is never taken, the one before always is."""
    old, new = published(store, tmp_path, 7, 8)
    whole = {entry.key: store.read(entry.key) for entry in store.keys(f"{new.key}/")}
    chance = random.Random(3)
    for kind in KINDS:
        for number in range(times):
            damage(store, new, old, kind, chance)
            here = tmp_path / "here" / f"{kind}{number}"
            refused: list[str] = []
            assert newest_whole(Fetch(store, 5), checkpoints(store, RUN), here, refused) == old, kind
            assert all(new.name in reason for reason in refused), kind
            assert [path.name for path in here.glob("[!.]*")] == ["step_00000007"], kind
            for key, content in whole.items():
                store.write(key, content)


def test_every_kind_of_damage_is_refused(store: Store, tmp_path: Path) -> None:
    refuse_damage(store, tmp_path, 4)


@pytest.mark.full
def test_a_thousand_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    refuse_damage(FolderStore(tmp_path / "share"), tmp_path, 200)


class Stopping(FolderStore):
    """Fails after so many pieces."""

    left = 2

    def read_range(self, entry: object, start: int, length: int) -> bytes:  # type: ignore[override]
        if self.left == 0:
            raise StoreUnavailableError("gone")
        self.left -= 1
        return super().read_range(entry, start, length)  # type: ignore[arg-type]


def test_an_interrupted_fetch_goes_on_where_it_stopped(tmp_path: Path) -> None:
    store = Stopping(tmp_path / "share")
    (one,) = published(store, tmp_path, 7, size=5 * PIECE)
    target = tmp_path / "here" / "step_00000007"
    with pytest.raises(StoreUnavailableError):
        Fetch(store, 0).folder(one, target)
    assert not target.exists()
    store.left = 4  # four of six pieces are left to bring
    counted: list[int] = []
    Fetch(store, 0, counted.append).folder(one, target)
    assert store.left == 0
    assert sum(counted) == read_manifest(store, one).bytes


def test_the_best_checkpoint_is_the_one_the_newest_manifest_names(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    for step, best in ((3, 3), (5, 3), (9, 3)):
        publish(store, RUN, folder / f"step_{step:08d}", make_checkpoint(folder, step, best=best))
    lines = take_checkpoints(Fetch(store, 5), checkpoints(store, RUN), tmp_path / "run", Wanted("best"))
    assert "step 3: 2 files" in lines[0]
    assert (tmp_path / "run/checkpoints/step_00000003/model.safetensors").is_file()
    with pytest.raises(StoreError, match="no checkpoint of step 4"):
        take_checkpoints(Fetch(store, 5), checkpoints(store, RUN), tmp_path / "run", Wanted("step", 4))
    take_checkpoints(Fetch(store, 5), checkpoints(store, RUN), tmp_path / "run", Wanted("all"))
    assert len(list((tmp_path / "run/checkpoints").glob("step_*"))) == 3


def test_the_pointer_follows_but_a_slower_writer_does_not_fail(store: Store) -> None:
    for content in (b"1", b"2", b"3"):
        point_to(store, f"{RUN}/latest.json", content)
    assert store.read(f"{RUN}/latest.json") == b"3"


def test_garbage_is_what_never_finished_and_nothing_else(store: Store, tmp_path: Path) -> None:
    whole, broken = published(store, tmp_path, 7, 8)
    store.delete([f"{broken.key}/manifest.json"])
    store.write("_probe/left", b"")
    store.write("_index/demo/0123abcd/training,7,9,,", b"")
    store.write("demo/0123abcd/run.yaml", b"name: demo")
    assert find(store, "", 3600) == []
    found = find(store, "", -60)
    assert {one.kind for one in found} == {"unfinished checkpoint", "probe"}
    remove(store, found)
    assert find(store, "", -60) == []
    assert checkpoints(store, RUN) == [whole]
    unpublish(store, whole)
    assert checkpoints(store, RUN) == []


GOOD = '{"format": 1, "step": 1, "files": {"a.json": {"bytes": 1, "sha256": "' + "0" * 64 + '"}}}'


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("a.json", "../a.json"),
        lambda text: text.replace("a.json", "/etc/passwd"),
        lambda text: text.replace("a.json", "a/b/c"),
        lambda text: text.replace("a.json", ".a"),
        lambda text: text.replace('"bytes": 1', '"bytes": -1'),
        lambda text: text.replace('"bytes": 1', '"bytes": true'),
        lambda text: text.replace('"bytes": 1', '"bytes": 1e400'),
        lambda text: text.replace('"bytes": 1', '"bytes": 99999999999999999999'),
        lambda text: text.replace("0" * 64, "0" * 63 + "G"),
        lambda text: text.replace('"step": 1', '"step": "1"'),
        lambda text: text.replace('"step": 1', '"step": -1'),
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: "[" * 100_000,
        lambda text: text[:-1],
        lambda text: "[]",
        lambda text: " " * (5 << 20),
        lambda text: '{"format": 1, "step": 1, "files": []}',
    ],
)
def test_a_hostile_manifest_is_refused(change: Callable[[str], str]) -> None:
    assert parse(GOOD.encode()).step == 1
    with pytest.raises(ValueError, match="manifest"):
        parse(change(GOOD).encode())


def test_a_damaged_manifest_is_healed_by_publishing_again(store: Store, tmp_path: Path) -> None:
    (one,) = published(store, tmp_path, 7)
    content = store.read(f"{one.key}/manifest.json")
    store.write(f"{one.key}/manifest.json", b"damaged")
    assert publish(store, RUN, tmp_path / "made" / "step_00000007", content) == one
    assert read_manifest(store, one).step == 7


def test_pieces_that_went_bad_on_this_disk_are_brought_anew(tmp_path: Path) -> None:
    store = Stopping(tmp_path / "share")
    (one,) = published(store, tmp_path, 7, size=5 * PIECE)
    target = tmp_path / "here" / "step_00000007"
    with pytest.raises(StoreUnavailableError):
        Fetch(store, 0).folder(one, target)
    store.left = 99
    (draft,) = target.parent.rglob(".model*.part")
    (listed,) = target.parent.rglob(".model*.pieces")
    piece = int(listed.read_text().split()[0])
    with draft.open("r+b") as file:
        file.seek(piece * PIECE)
        file.write(bytes(100))
    assert newest_whole(Fetch(store, 5), [one], target.parent, []) == one


def test_several_that_fetch_the_same_wait_for_each_other(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "share")
    (one,) = published(store, tmp_path, 7, size=3 * PIECE)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(Fetch(store, 5).folder, one, tmp_path / "here" / "step_00000007") for _ in range(4)]
        assert {job.result() for job in jobs} == {tmp_path / "here" / "step_00000007"}


def test_an_odd_newest_checkpoint_is_skipped_like_a_damaged_one(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "share")
    (good,) = published(store, tmp_path, 7)
    member = {"bytes": 1, "sha256": "0" * 64}
    for number, content in enumerate(
        (
            b" " * (5 << 20),
            json.dumps({"format": 1, "step": 9, "files": {"a": member, "a/b": member}}).encode(),
            json.dumps({"format": 1, "step": 9, "files": {"a": {**member, "bytes": 1 << 43}}}).encode(),
        )
    ):
        name = f"step_{9 + number:08d}-{sha256(content).hexdigest()[:12]}"
        store.write(f"{RUN}/{name}/manifest.json", content)
        store.write(f"{RUN}/{name}/a", b"x")
    refused: list[str] = []
    assert newest_whole(Fetch(store, 5), checkpoints(store, RUN), tmp_path / "here", refused) == good
    assert len(refused) == 3


def test_garbage_in_a_folder_that_is_not_ours_stays(tmp_path: Path) -> None:
    theirs = [tmp_path / "home" / "mine" / ".draft.tmp" / "novel.txt", tmp_path / ".x.abcdefgh.tmp"]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a novel")
    ours = tmp_path / "demo" / "0123abcd" / ".run.yaml.abcd_123.tmp"
    ours.parent.mkdir(parents=True)
    ours.write_text("")
    store = FolderStore(tmp_path)
    remove(store, find(store, "", -60))
    assert all(path.is_file() for path in theirs)
    assert not ours.exists()
