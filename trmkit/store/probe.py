"""Find out at the start, not after hours, whether a store can be written and does what is asked of it."""

import secrets

from trmkit.errors import StoreConflictError, StoreError, StoreUnavailableError
from trmkit.store.base import Store

FOLDER = "_probe"


def probe(store: Store) -> list[str]:
    """Write, read, list and delete a small object; return what the store does not do, in words.

    StoreError: it cannot be used at all. StoreUnavailableError: it does not answer.
    """
    key, content = f"{FOLDER}/{secrets.token_hex(8)}", secrets.token_bytes(100)
    try:
        store.write(key, content, only_new=True)
        if store.read(key) != content:
            raise StoreError(
                f"{store.url}: gives back other bytes than were written", next="try storage.checksums: when_required"
            )
        if not any(entry.key == key for entry in store.keys(f"{FOLDER}/")):
            raise StoreError(f"{store.url}: does not list what was written", next="use a store that does")
        return [
            *_ignored(store, key, "If-None-Match", only_new=True),
            *_ignored(store, key, "If-Match", only_if="0" * 32),
        ]
    finally:
        _tidy(store, key)


def _ignored(store: Store, key: str, header: str, *, only_new: bool = False, only_if: str | None = None) -> list[str]:
    try:
        store.write(key, b"changed", only_new=only_new, only_if=only_if)
    except StoreConflictError:
        return []
    except StoreUnavailableError:
        raise
    except StoreError:
        return [f"{store.url} refuses conditional writes ({header}); publishing does not depend on them"]
    return [f"{store.url} ignores conditional writes ({header}); publishing does not depend on them"]


def _tidy(store: Store, key: str) -> None:
    try:
        store.delete([key])
    except StoreError:  # what failed before says more
        return
