"""Put a folder that is never changed into a store so that it is whole there or not there at all.

Its name in the store ends in the first 12 digits of the SHA-256 of its manifest. So two writers cannot mix: the same
name means the same bytes. The files go first, the manifest last; without a manifest a folder is nothing.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from trmkit.errors import StoreDamagedError, StoreError, StoreUnavailableError
from trmkit.store.base import Store, write_over
from trmkit.store.layout import STEP
from trmkit.store.manifest import MANIFEST, Manifest, parse


@dataclass(frozen=True)
class Published:
    """A folder in a store, not verified yet."""

    parent: str
    name: str

    @property
    def key(self) -> str:
        """Its address in the store."""
        return f"{self.parent}/{self.name}"

    @property
    def step(self) -> int:
        """The step a checkpoint says it is of."""
        match = STEP.fullmatch(self.name)
        return int(match[1]) if match else -1


def published_name(name: str, manifest: bytes) -> str:
    """Return what a folder with this manifest is called in a store."""
    return f"{name}-{hashlib.sha256(manifest).hexdigest()[:12]}"


def publish(store: Store, parent: str, folder: Path, manifest: bytes, *, called: str = MANIFEST) -> Published:
    """Put the files that `manifest` lists, then the manifest, which is `called` so, below `parent`.

    What is there already is not sent again, so an interrupted publication goes on where it was.
    StoreError: the store refuses; StoreUnavailableError: it does not answer, and the same call goes on later.
    """
    target = Published(parent, published_name(folder.name, manifest))
    for name in parse(manifest).files:
        key = f"{target.key}/{name}"
        if not store.holds(key, folder / name):
            store.upload(key, folder / name)
    key = f"{target.key}/{called}"
    write_over(store, key, manifest, None)  # or it is there: from another writer of the same bytes, or an earlier try
    if store.read(key) != manifest:  # the name holds the hash of this content, so what else is there is damaged
        store.write(key, manifest)
        if store.read(key) != manifest:
            raise StoreUnavailableError(f"{store.url}/{key}: did not arrive as it was sent")
    return target


def checkpoints(store: Store, parent: str) -> list[Published]:
    """Return the checkpoints below `parent` that have a manifest, the newest first. Nothing is verified."""
    tail = f"/{MANIFEST}"
    keys = (entry.key.removeprefix(f"{parent}/") for entry in store.keys(f"{parent}/"))
    names = {key.removesuffix(tail) for key in keys if key.endswith(tail)}
    return newest_first([Published(parent, name) for name in names if STEP.fullmatch(name)])


def newest_first(found: list[Published]) -> list[Published]:
    """Return checkpoints in the order in which a reader tries them."""
    return sorted(found, key=lambda one: (-one.step, one.name))


def read_manifest(store: Store, folder: Published, *, called: str = MANIFEST) -> Manifest:
    """Return the manifest of a folder in a store. StoreDamagedError: there is none, or not the one of this folder."""
    where = f"{store.url}/{folder.key}"
    if store.look(f"{folder.key}/{called}") is None:
        raise damaged(where, "it was never finished: there is no manifest")
    try:
        manifest = parse(store.read(f"{folder.key}/{called}"))
    except StoreUnavailableError:
        raise
    except (StoreError, ValueError) as error:
        raise damaged(where, error.message if isinstance(error, StoreError) else str(error)) from error
    tail = re.search(r"-([0-9a-f]{12})$", folder.name)
    if tail and not manifest.sha256.startswith(tail[1]):
        raise damaged(where, "the manifest is not the one it was published with")
    if STEP.fullmatch(folder.name) and manifest.step != folder.step:
        raise damaged(where, f"the manifest belongs to step {manifest.step}")
    return manifest


def damaged(where: str, reason: str) -> StoreDamagedError:
    """Return the error for something that may not be used."""
    return StoreDamagedError(f"{where}: {reason}", next="it is not used; `trmctl gc` removes what was never finished")


def remove(store: Store, folder: Published, *, called: str = MANIFEST) -> None:
    """Delete a published folder, its manifest first, so that nobody ever sees a part of it as the whole."""
    keys = [entry.key for entry in store.keys(f"{folder.key}/")]
    manifest = f"{folder.key}/{called}"
    store.delete([manifest] if manifest in keys else [])
    store.delete(key for key in keys if key != manifest)


def point_to(store: Store, key: str, content: bytes) -> None:
    """Move a pointer such as `latest.json`; where another writer is faster, or the store is old, that is fine.

    Nobody decides by a pointer: readers list manifests and take the highest that verifies.
    """
    write_over(store, key, content, store.look(key))
