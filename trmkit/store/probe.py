"""Find out at the start, not after hours, whether a store can be written and does what is asked of it."""

import secrets

from trmkit.errors import StoreConflictError, StoreError, StoreUnavailableError
from trmkit.store.base import Store
from trmkit.store.layout import PROBES


def probe(store: Store) -> list[str]:
    """Write, read, list and delete a small object; return what the store does not do, in words.

    StoreError: it cannot be used at all. StoreUnavailableError: it does not answer.
    """
    key, content = f"{PROBES}/{secrets.token_hex(8)}", secrets.token_bytes(100)
    _write_first(store, key, content)
    if store.read(key) != content:
        raise StoreError(
            f"{store.url}: gives back other bytes than were written", next="try storage.checksums: when_required"
        )
    if not any(entry.key == key for entry in store.keys(f"{PROBES}/")):
        raise StoreError(f"{store.url}: does not list what was written", next="use a store that does")
    findings = [
        *_ignored(store, key, "If-None-Match", only_new=True),
        *_ignored(store, key, "If-Match", only_if="0" * 32),
    ]
    try:
        store.delete([key])
    except StoreUnavailableError:
        raise
    except StoreError:
        findings.append(f"{store.url} does not let us delete: checkpoints that need not stay will stay")
    return findings


def _write_first(store: Store, key: str, content: bytes) -> None:
    try:
        store.write(key, content, only_new=True)
    except (StoreUnavailableError, StoreConflictError):
        raise
    except StoreError:  # a store that does not know conditional writes, or none that can be written
        store.write(key, content)


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
