"""From an address to a store."""

from pathlib import Path

from trmkit.errors import StoreError
from trmkit.spec.storage import StorageSection
from trmkit.store.base import Store
from trmkit.store.folder import FolderStore


def open_store(options: StorageSection) -> Store:
    """Return the store `options.remote`. StoreError: there is none, or its endpoint may not be used."""
    if options.remote is None:
        raise StoreError("no store is given", next="set storage.remote, give --store, or set TRM_STORE")
    if options.remote.startswith("s3://"):
        from trmkit.store.s3 import S3Store

        return S3Store(options.remote, options)
    return FolderStore(Path(options.remote))
