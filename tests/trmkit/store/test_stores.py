"""A folder and a bucket keep the same promises."""

import errno
import os
from pathlib import Path

import pytest

from trmkit.errors import StoreConflictError, StoreError, StoreUnavailableError
from trmkit.spec.storage import StorageSection
from trmkit.store.base import Store
from trmkit.store.folder import FolderStore
from trmkit.store.open import open_store
from trmkit.store.probe import probe


def test_what_was_written_is_read_listed_and_deleted(store: Store) -> None:
    for key in ("run/a/one", "run/a/two", "run/b/one"):
        store.write(key, key.encode())
    assert store.read("run/a/two") == b"run/a/two"
    assert [entry.key for entry in store.keys("run/a/")] == ["run/a/one", "run/a/two"]
    assert store.folders("run") == ["a", "b"]
    assert store.folders("") == ["run"]
    store.delete(["run/a/one", "run/a/two", "run/a/three"])
    assert [entry.key for entry in store.keys("")] == ["run/b/one"]
    assert store.look("run/a/one") is None


def test_a_small_object_that_is_not_there_or_not_small_is_an_error(store: Store) -> None:
    store.write("big", bytes(100))
    with pytest.raises(StoreError, match="more than 99 bytes"):
        store.read("big", limit=99)
    with pytest.raises(StoreError, match="is not there"):
        store.read("none")


def test_only_the_first_of_two_writers_makes_an_object(store: Store) -> None:
    store.write("one", b"first", only_new=True)
    with pytest.raises(StoreConflictError):
        store.write("one", b"second", only_new=True)
    assert store.read("one") == b"first"


def test_an_object_changes_only_if_it_is_still_what_the_writer_saw(store: Store) -> None:
    store.write("pointer", b"1")
    seen = store.look("pointer")
    assert seen is not None
    store.write("pointer", b"two", only_if=seen.etag)
    with pytest.raises(StoreConflictError):
        store.write("pointer", b"three", only_if=seen.etag)
    with pytest.raises(StoreConflictError):
        store.write("absent", b"x", only_if=seen.etag)
    assert store.read("pointer") == b"two"


def test_a_large_file_goes_up_in_parts_and_is_known_again(store: Store, tmp_path: Path) -> None:
    large, other = tmp_path / "large", tmp_path / "other"
    large.write_bytes(bytes(range(256)) * (33 << 12))
    other.write_bytes(large.read_bytes()[:-1] + b"!")
    store.upload("large", large)
    assert store.holds("large", large)
    assert not store.holds("large", other)
    assert not store.holds("absent", large)
    entry = store.look("large")
    assert entry is not None
    assert entry.size == large.stat().st_size
    assert store.read_range(entry, 17 << 20, 1000) == large.read_bytes()[17 << 20 :][:1000]
    assert store.unfinished("") == []


def test_a_part_of_an_object_that_has_changed_is_not_mixed_with_the_old_one(store: Store) -> None:
    store.write("file", b"old content")
    entry = store.look("file")
    assert entry is not None
    store.write("file", b"new content!")
    with pytest.raises(StoreConflictError):
        store.read_range(entry, 0, 4)


@pytest.mark.parametrize(
    "key", ["../out", "a/../../out", "/etc/passwd", "a//b", "", ".hidden", "a/.", "a\\b", "a\nb", "a b", "x" * 600]
)
def test_a_hostile_key_is_refused_before_anything_is_asked(store: Store, key: str) -> None:
    for use in (store.read, store.look, lambda key: store.write(key, b""), lambda key: store.delete([key])):
        with pytest.raises(StoreError, match="is not a name of a file"):
            use(key)


def test_symbolic_links_in_a_folder_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    root = tmp_path / "share"
    root.mkdir()
    (root / "link").symlink_to(secret / "file")
    (root / "way").symlink_to(secret)
    store = FolderStore(root)
    for key in ("link", "way/file"):
        with pytest.raises(StoreError, match="symbolic link"):
            store.read(key)
        with pytest.raises(StoreError, match="symbolic link"):
            store.write("way/new", b"")
    assert list(store.keys("")) == []
    assert store.folders("") == []
    assert [path.name for path in secret.iterdir()] == ["file"]


def test_the_probe_is_content_with_a_good_store_and_leaves_nothing(store: Store) -> None:
    assert probe(store) == []
    assert list(store.keys("")) == []


class Forgetful(FolderStore):
    """Ignores conditions, as some S3 servers do."""

    def write(self, key: str, content: bytes, *, only_new: bool = False, only_if: str | None = None) -> None:
        super().write(key, content)


def test_the_probe_finds_a_store_that_ignores_conditions(tmp_path: Path) -> None:
    found = probe(Forgetful(tmp_path / "share"))
    assert len(found) == 2
    assert "If-None-Match" in found[0]
    assert "If-Match" in found[1]


def test_a_closed_port_is_worth_another_try_and_a_wrong_key_is_not(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = open_store(StorageSection(remote=s3, endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        closed.read("one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match="SignatureDoesNotMatch") as error:
        open_store(StorageSection(remote=s3)).read("one")
    assert not isinstance(error.value, StoreUnavailableError)
    assert "wrong" not in str(error.value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StoreError, match="no S3 credentials"):
        open_store(StorageSection(remote=s3)).read("one")


def test_a_bucket_that_is_not_there_is_named(s3: str) -> None:
    with pytest.raises(StoreError, match="NoSuchBucket"):
        list(open_store(StorageSection(remote="s3://no-such-bucket/x")).keys(""))


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "share").mkdir()
    store = FolderStore(tmp_path / "share")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StoreError, match="cannot be listed"):
        list(store.keys(""))


class Undeletable(FolderStore):
    """Lets nobody delete, as credentials without that right do."""

    def delete(self, keys: object) -> None:
        raise StoreError("AccessDenied")


def test_the_probe_says_when_nothing_can_be_deleted(tmp_path: Path) -> None:
    (finding,) = probe(Undeletable(tmp_path / "share"))
    assert "does not let us delete" in finding
