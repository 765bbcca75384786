"""What goes wrong between a controller and its cluster: it is killed at a write, or sees what is no longer so."""

from collections.abc import Callable
from typing import Any

from tests.trmctl.fake_cluster import FakeCluster

WRITES = ("create", "apply", "patch", "delete")


class KilledError(BaseException):
    """The controller's process is gone."""


class Deadly:
    """A cluster at whose writes the controller dies: at number `at`, before or after it is done."""

    def __init__(self, cluster: FakeCluster, at: int = 0, after: bool = False) -> None:
        self._cluster = cluster
        self.at = at
        self.after = after
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cluster, name)
        return self._write(found) if name in WRITES else found

    def _write(self, do: Callable[..., Any]) -> Callable[..., Any]:
        def doing(*args: Any, **how: Any) -> Any:
            if how.get("dry_run"):
                return do(*args, **how)
            self.writes += 1
            mine = self.writes == self.at
            if mine and not self.after:
                raise KilledError
            answer = do(*args, **how)
            if mine:
                raise KilledError
            return answer

        return doing


class Late:
    """A cluster whose reads are those of a while ago, and whose writes are done now."""

    def __init__(self, cluster: FakeCluster, past: dict[Any, Any]) -> None:
        self._cluster = cluster
        self._past = FakeCluster("team", *cluster.served)
        self._past._objects = past

    def __getattr__(self, name: str) -> Any:
        return getattr(self._past if name in ("get", "list") else self._cluster, name)


class LateLists(Late):
    """A cluster whose lists are those of a while ago, as in the middle of a long look at many runs."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._past if name == "list" else self._cluster, name)
