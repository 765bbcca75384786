"""Runs are listed by names alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from trmkit.spec.storage import StorageSection
from trmkit.store.base import Store
from trmkit.store.catalog import Listed, announce, index_key, matching, runs
from trmkit.store.s3 import S3Store


def listed(name: str, number: int = 0, **changes: object) -> Listed:
    """Return a run."""
    known = {"state": "training", "step": 5, "total": 9, "metric": "accuracy", "value": 0.5, "modified": 0.0}
    return Listed(name, f"{number:08x}", **(known | changes))  # type: ignore[arg-type]


def test_what_a_run_last_said_is_what_is_listed(store: Store) -> None:
    announce(store, listed("demo", step=3, metric="", value=None))
    announce(store, listed("demo", step=7))
    announce(store, listed("other-run", 2, state="stopped", value=1.0))
    found = {run.key: run for run in runs(store)}
    assert set(found) == {"demo/00000000", "other-run/00000002"}
    assert (found["demo/00000000"].step, found["demo/00000000"].value) == (7, 0.5)
    assert found["other-run/00000002"].state == "stopped"
    assert len(list(store.keys("_index/"))) == 2


def test_runs_are_found_by_name_by_id_and_by_both() -> None:
    known = [listed("demo", 1), listed("demo", 2), listed("other", 3)]
    assert matching(known, "demo") == known[:2]
    assert matching(known, "00000003") == [known[2]]
    assert matching(known, "demo/00000002") == [known[1]]
    assert matching(known, "dem") == []


@pytest.mark.parametrize(
    "key",
    ["_index/demo/x/training,1,2,,", "_index/demo/00000000/nonsense", "_index/De mo/00000000/training,1,2,,",
     "_index/demo/00000000/training,99999999999999999999,2,,", "_index/demo/00000000/training,1,2,,9e9e9"],
)  # fmt: skip
def test_what_is_no_line_of_the_index_is_left_out(key: str) -> None:
    class Odd:
        def keys(self, prefix: str) -> Iterator[object]:
            from trmkit.store.base import Entry

            yield Entry(key, 0, "", 0.0)

    found = runs(Odd())  # type: ignore[arg-type]
    assert [run.value for run in found] in ([], [None])


def test_a_thousand_runs_are_one_request(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    store = S3Store(s3, StorageSection(remote=s3))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.write(index_key(listed("many", number)), b""), range(1000)))
    requests = []
    store._client.meta.events.register("before-send.s3.*", lambda request, **_: requests.append(request.url) or None)
    assert len(runs(store)) == 1000
    assert len(requests) == 1


def test_the_index_fits_every_name_a_run_may_have(tmp_path: Path) -> None:
    from trmkit.store.base import checked

    assert checked(index_key(listed("a" * 50, step=10**14, total=10**14, metric="exact_accuracy", value=-1.5e-300)))
