"""Whether a store can be used from here."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trmctl.doctor.finding import Finding
from trmkit.errors import TrmError

if TYPE_CHECKING:
    from trmkit.spec.storage import StorageSection


def store_findings(storage: "StorageSection | None") -> Iterator[Finding]:
    """Write, read and delete an object in a store from here, and say how long that took."""
    import time

    from trmkit.store.layout import PROBES
    from trmkit.store.open import open_store

    if storage is None or storage.remote is None:
        yield Finding(
            "store", "not needed", "no store is named; -c run.yaml with storage.remote, or --store, has it tried"
        )
        return
    key, content = f"{PROBES}/doctor-{time.time_ns()}", b"trmctl doctor"
    try:
        store = open_store(storage)
        marks = [time.monotonic()]
        store.write(key, content)
        marks.append(time.monotonic())
        same = store.read(key) == content
        marks.append(time.monotonic())
        store.delete([key])
        marks.append(time.monotonic())
    except (TrmError, OSError) as error:
        message = error.message if isinstance(error, TrmError) else str(error)
        yield Finding("store", "failed", message, error.next if isinstance(error, TrmError) else "")
        return
    took = ", ".join(
        f"{name} {1000 * (after - before):.0f} ms"
        for name, before, after in zip(("put", "get", "delete"), marks, marks[1:], strict=False)
    )
    if same:
        yield Finding("store", "ok", f"{store.url}, from this machine: {took}")
    else:
        yield Finding("store", "failed", f"{store.url}: what was read is not what was written", "see its checksums")
