"""What a watch knows: so that a connection can be lost, or begin again too late, and no change is seen twice."""

import json
from collections.abc import Callable, Iterator, Sequence

from trmctl.cluster import Change, Object


class Watching:
    """The objects of one watch."""

    def __init__(self, listed: Callable[[], tuple[Sequence[Object], str]]) -> None:
        """Begin with a list; `listed` returns the objects and the version of the list."""
        self._listed = listed
        self._known: dict[tuple[str, str], Object] = {}
        self.version = ""
        """From where the watch goes on."""
        self.stale = True
        """Whether the list has to be asked for first."""

    def relist(self) -> Iterator[Change]:
        """Yield how the list differs from what is known."""
        objects, self.version = self._listed()
        self.stale = False
        there = {_key(one): one for one in objects}
        for key, one in list(self._known.items()):
            if key not in there:
                yield from self._see("DELETED", one)
        for one in there.values():
            yield from self._see("ADDED", one)

    def take(self, line: str) -> Iterator[Change]:
        """Yield the change that a line of the watch tells of, if it is one. An error makes the list stale."""
        try:
            event = json.loads(line)
            kind, body = event["type"], event["object"]
            version = body.get("metadata", {}).get("resourceVersion")
        except (ValueError, KeyError, TypeError, AttributeError):
            self.stale = True
            return
        if kind == "ERROR":
            self.stale = True
            return
        if version:
            self.version = str(version)
        if kind != "BOOKMARK":
            yield from self._see(kind, body)

    def _see(self, kind: str, body: Object) -> Iterator[Change]:
        key = _key(body)
        known = self._known.get(key)
        if kind == "DELETED":
            if self._known.pop(key, None) is not None:
                yield Change("DELETED", body)
        elif known != body:
            self._known[key] = body
            yield Change("MODIFIED" if known else "ADDED", body)


def _key(body: Object) -> tuple[str, str]:
    about = body.get("metadata") or {}
    return str(about.get("namespace", "")), str(about.get("name", ""))
