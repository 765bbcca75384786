"""A cluster that lets its user do what some RBAC rules allow and nothing else, and remembers what was used."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cluster import POD, Kind, Object
from trmkit.render.base import Rules

Right = tuple[str, str, str]
"""API group, resource or resource/subresource, verb."""
VERBS = {"apply": ("create", "patch"), "watch": ("list", "watch"), "log": ("get",)}
"""What an API server asks for where that is not the call's own name; a watch of ours lists first."""


def rights(rules: Rules) -> set[Right]:
    """Return every single right that rules give."""
    return {(api, resource, verb) for api, resources, verbs in rules for resource in resources for verb in verbs}


def asked(verb: str, kind: Kind, subresource: str) -> set[Right]:
    """Return the rights that a call needs."""
    if (kind, subresource) == (POD, "exec"):
        return {("", "pods/exec", "create"), ("", "pods/exec", "get")}
    part = "log" if verb == "log" else subresource
    resource = f"{kind.plural}/{part}" if part else kind.plural
    return {(kind.group, resource, one) for one in VERBS.get(verb, (verb,))}


class GuardedCluster(FakeCluster):
    """The cluster of one test, seen by somebody who has some rules in its namespace, and some in the whole cluster."""

    def __init__(self, rules: Rules, namespace: str = "team", *served: Kind, everywhere: Rules = ()) -> None:
        super().__init__(namespace, *served)
        self.inside, self.everywhere = rights(rules), rights(everywhere)
        self.used: set[Right] = set()
        self.refused: set[Right] = set()
        self._target: str | None = None

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        with self._looking_at(namespace):
            return super().get(kind, name, namespace)

    def list(self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "") -> list[Object]:
        with self._looking_at(namespace):
            return super().list(kind, namespace, labels=labels, fields=fields)

    @contextmanager
    def _looking_at(self, namespace: str | None) -> Iterator[None]:
        before, self._target = self._target, namespace
        try:
            yield
        finally:
            self._target = before

    def _denies(self, verb: str, kind: Kind, subresource: str) -> bool:
        here = kind.namespaced and self._target in (None, self.namespace)
        return not asked(verb, kind, subresource) <= self.everywhere | (self.inside if here else set())

    def _call(self, verb: str, kind: Kind | None, name: str, subresource: str = "") -> None:
        if kind is not None and verb != "serves" and kind in self.served:
            wanted = asked(verb, kind, subresource)
            (self.refused if self._denies(verb, kind, subresource) else self.used).update(wanted)
        super()._call(verb, kind, name, subresource)
