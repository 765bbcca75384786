"""A cluster in memory, for tests: it answers as an API server does, remembers who changed what, and never sleeps.

Nothing runs in it. What operators and kubelets would do is a *script*: functions that are called one by one whenever
something waits, so a test says in which order the world changes and needs no clock.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from trmctl.cluster import (
    CLAIM,
    CONFIG_MAP,
    EVENT,
    KUEUE_WORKLOAD,
    LEASE,
    LOCAL_QUEUE,
    NAMESPACE,
    NODE,
    POD,
    PYTORCHJOB,
    QUOTA,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    TRMRUN,
    WORKFLOW,
    Change,
    Kind,
    Object,
)  # fmt: skip
from trmkit.errors import (
    ClusterConflictError,
    ClusterForbiddenError,
    ClusterMissingError,
    ClusterNotReadyError,
    ClusterUnreachableError,
)  # fmt: skip

CORE = {LEASE, CLAIM, POD, EVENT, CONFIG_MAP, SECRET, SERVICE, SERVICE_ACCOUNT, QUOTA, NODE, NAMESPACE}
START = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
MUTATIONS = ("create", "apply", "patch", "delete")


class FakeCluster:
    """A `trmctl.cluster.Cluster`. Public attributes are for tests to set and to read."""

    def __init__(self, namespace: str = "team", *served: Kind) -> None:
        self._namespace = namespace
        self.served: set[Kind] = CORE | set(served or (PYTORCHJOB, WORKFLOW, KUEUE_WORKLOAD, LOCAL_QUEUE))
        self.now = START
        """Seconds since 1970 that new objects say they were made at."""
        self.calls: list[tuple[str, str, str]] = []
        """Every call: verb, plural, name or selector."""
        self.mutations: list[tuple[str, str, str]] = []
        """Those that changed something; a dry run never does."""
        self.denied: set[tuple[str, str]] = set()
        """(verb, plural or plural/subresource) that this user may not; `*` is any verb."""
        self.admission: list[Callable[[Kind, Object], None]] = []
        """Called with everything that is created or applied, dry runs too; they raise what they have against it."""
        self.script: list[Callable[[], object]] = []
        """What happens next, one function whenever something waits."""
        self.logs: dict[str, list[str]] = {}
        """Pod -> its lines, or `<pod>:previous`. A pod that is not in here has not started."""
        self.ports: dict[tuple[str, int, str], str] = {}
        """(pod, port, path) -> what is answered."""
        self.executed: list[tuple[str, str, list[str]]] = []
        self.lingering = False
        """Whether pods of deleted jobs stay, Terminating, until `sweep`."""
        self.clock_ahead = 0.0
        self.context: str | None = None
        """The context it was opened with."""
        self._objects: dict[tuple[Kind, str, str], Object] = {}
        self._changes: list[tuple[Kind, Change]] = []
        self._failures: list[tuple[str, str, Exception]] = []
        self._counter = 0

    # -- what tests do to it

    def opened(self, context: str | None, namespace: str | None) -> "FakeCluster":
        """Open this cluster, as `trmctl.kube.open_cluster` does the real one."""
        self.context, self._namespace = context, namespace or self._namespace
        return self

    def put(self, kind: Kind, body: Object) -> Object:
        """Have an object be what `body` says, as if it had always been; return what is kept."""
        key = self._key(kind, body)
        old = self._objects.get(key)
        return self._keep("MODIFIED" if old else "ADDED", kind, key, copied(body), old)

    def remove(self, kind: Kind, name: str, namespace: str | None = None) -> None:
        """Have an object be gone."""
        key = (kind, self._space(kind, namespace), name)
        if key in self._objects:
            self._changes.append((kind, Change("DELETED", self._objects.pop(key))))

    def edit(self, kind: Kind, name: str, **parts: Any) -> Object:
        """Replace top-level parts (`status`, `spec`) of an object."""
        return self.put(kind, {**self.see(kind, name), **parts})

    def see(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """Return an object without that being a call. KeyError: there is none."""
        return copied(self._objects[(kind, self._space(kind, namespace), name)])

    def names(self, kind: Kind) -> list[str]:
        """Return the names of all objects of a kind."""
        return [name for (k, _, name) in self._objects if k == kind]

    def fail(self, verb: str, kind: Kind | None, error: Exception, times: int = 1) -> None:
        """Answer the next calls of `verb` on `kind` (None: on anything) with an error."""
        self._failures += [(verb, kind.plural if kind else "", error)] * times

    def step(self) -> bool:
        """Do what the script says is next; False: there is nothing more."""
        if not self.script:
            return False
        self.script.pop(0)()
        return True

    def wait(self, seconds: float) -> None:
        """Wait as commands do: time goes on and the script with it."""
        self.now += seconds
        self.step()

    def sweep(self) -> None:
        """Remove everything that is being deleted."""
        for (kind, space, name), body in list(self._objects.items()):
            if body["metadata"].get("deletionTimestamp"):
                self.remove(kind, name, space)

    # -- the protocol

    @property
    def namespace(self) -> str:
        return self._namespace

    @property
    def where(self) -> str:
        return "fake (https://fake:6443)"

    def serves(self, kind: Kind) -> bool:
        self._call("serves", kind, "")
        return kind in self.served

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        self._call("get", kind, name)
        return copied(self._objects.get((kind, self._space(kind, namespace), name)))

    def list(self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "") -> list[Object]:
        self._call("list", kind, labels or fields)
        return [*self._selected(kind, namespace, labels, fields)]

    def create(self, kind: Kind, body: Object, *, dry_run: bool = False) -> Object:
        self._call("create", kind, body["metadata"]["name"])
        self._admit(kind, body)
        key = self._key(kind, body)
        if key in self._objects:
            raise ClusterConflictError(f"{kind.plural} {key[2]!r} already exists")
        if dry_run:
            return copied(body)
        self.mutations.append(("create", kind.plural, key[2]))
        return self._keep("ADDED", kind, key, copied(body), None)

    def apply(self, kind: Kind, body: Object, *, dry_run: bool = False) -> Object:
        self._call("apply", kind, body["metadata"]["name"])
        self._admit(kind, body)
        key = self._key(kind, body)
        old = self._objects.get(key)
        new = merge(copied(old) if old else {}, body)
        if dry_run:
            return new
        self.mutations.append(("apply", kind.plural, key[2]))
        return self._keep("MODIFIED" if old else "ADDED", kind, key, new, old)

    def patch(
        self, kind: Kind, name: str, changes: Object, namespace: str | None = None, *, subresource: str = ""
    ) -> Object:
        self._call("patch", kind, name, subresource)
        key = (kind, self._space(kind, namespace), name)
        if key not in self._objects:
            raise ClusterMissingError(f"there is no {kind.kind} {name!r}")
        old = self._objects[key]
        about = changes.get("metadata", {})
        for part in ("uid", "resourceVersion"):
            if part in about and about[part] != old["metadata"][part]:
                raise ClusterConflictError(f"{kind.plural} {name!r} has been modified: its {part} is another one")
        if subresource:
            changes = {subresource: changes[subresource]}
        elif kind == TRMRUN:
            changes = {part: value for part, value in changes.items() if part != "status"}
        new = merge(copied(old), changes)
        if new == old:
            return copied(old)
        self.mutations.append(("patch", f"{kind.plural}/{subresource}" if subresource else kind.plural, name))
        return self._keep("MODIFIED", kind, key, new, old)

    def delete(self, kind: Kind, name: str, namespace: str | None = None, *, uid: str = "") -> bool:
        self._call("delete", kind, name)
        space = self._space(kind, namespace)
        body = self._objects.get((kind, space, name))
        if body is None:
            return False
        if uid and body["metadata"]["uid"] != uid:
            raise ClusterConflictError(f"{kind.plural} {name!r} has another uid")
        self.mutations.append(("delete", kind.plural, name))
        self.remove(kind, name, space)
        self._collect(body["metadata"]["uid"])
        return True

    def _collect(self, uid: str) -> None:
        """Remove what belongs to something that is gone, and what belongs to that."""
        for (owned, place, child), one in list(self._objects.items()):
            if any(ref.get("uid") == uid for ref in one["metadata"].get("ownerReferences", ())):
                if self.lingering:
                    one["metadata"]["deletionTimestamp"] = stamp(self.now)
                else:
                    self.remove(owned, child, place)
                self._collect(one["metadata"]["uid"])

    def watch(
        self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "", seconds: float
    ) -> Iterator[Change]:
        self._call("watch", kind, labels or fields)
        seen = len(self._changes)
        for body in self._selected(kind, namespace, labels, fields):
            yield Change("ADDED", body)
        while True:
            while seen < len(self._changes):
                changed, change = self._changes[seen]
                seen += 1
                if changed == kind and self._wanted(change.object, kind, namespace, labels, fields):
                    yield Change(change.type, copied(change.object))
            if not self.step():
                return

    def log(
        self,
        pod: str,
        container: str,
        namespace: str | None = None,
        *,
        follow: bool = False,
        previous: bool = False,
        since: float | None = None,
        tail: int | None = None,
        stamps: bool = False,
    ) -> Iterator[str]:
        self._call("log", POD, pod)
        if (POD, self._space(POD, namespace), pod) not in self._objects:
            raise ClusterMissingError(f'pods "{pod}" not found')
        name = f"{pod}:previous" if previous else pod
        if name not in self.logs:
            raise ClusterNotReadyError(f'container "{container}" in pod "{pod}" is waiting to start: ContainerCreating')
        lines = [f"{stamp(START + at)} {line}" if stamps else line for at, line in enumerate(self.logs[name])]
        yield from lines[-tail:] if tail else lines

    def read_port(self, pod: str, port: int, path: str, namespace: str | None = None) -> str:
        self._call("get", POD, f"{pod}:{port}{path}", subresource="proxy")
        if (pod, port, path) not in self.ports:
            raise ClusterUnreachableError("error trying to reach service: connect: connection refused")
        return self.ports[(pod, port, path)]

    def allowed(self, verb: str, kind: Kind, namespace: str | None = None, *, subresource: str = "") -> bool:
        self.calls.append(("allowed", kind.plural, verb))
        return not self._denies(verb, kind, subresource)

    def execute(self, pod: str, container: str, command: Sequence[str], namespace: str | None = None) -> int:
        self._call("create", POD, pod, subresource="exec")
        self.executed.append((pod, container, list(command)))
        return 0

    def server(self) -> tuple[str, float]:
        self._call("server", None, "")
        return "v1.36.2", self.clock_ahead

    # -- inside

    def _call(self, verb: str, kind: Kind | None, name: str, subresource: str = "") -> None:
        self.calls.append((verb, kind.plural if kind else "", name))
        for failure in self._failures:
            if failure[0] == verb and failure[1] in ("", kind.plural if kind else ""):
                self._failures.remove(failure)
                raise failure[2]
        if kind is not None and verb != "serves":
            if self._denies(verb, kind, subresource):
                raise ClusterForbiddenError(
                    f'user "me" cannot {verb} resource "{kind.plural}"', next="ask for the right"
                )
            if kind not in self.served:
                raise ClusterMissingError(f"the server knows no {kind.plural}.{kind.group}")

    def _denies(self, verb: str, kind: Kind, subresource: str) -> bool:
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        return (verb, resource) in self.denied or ("*", resource) in self.denied

    def _admit(self, kind: Kind, body: Object) -> None:
        for rule in self.admission:
            rule(kind, body)

    def _space(self, kind: Kind, namespace: str | None) -> str:
        return (namespace or self._namespace) if kind.namespaced else ""

    def _key(self, kind: Kind, body: Object) -> tuple[Kind, str, str]:
        return (kind, self._space(kind, body["metadata"].get("namespace")), body["metadata"]["name"])

    def _keep(self, change: str, kind: Kind, key: tuple[Kind, str, str], body: Object, old: Object | None) -> Object:
        self._counter += 1
        about = body.setdefault("metadata", {})
        body.setdefault("apiVersion", kind.api_version)
        body.setdefault("kind", kind.kind)
        known = old["metadata"] if old else {}
        about.setdefault("uid", known.get("uid") or f"uid-{self._counter}")
        about.setdefault("creationTimestamp", known.get("creationTimestamp") or stamp(self.now))
        about["resourceVersion"] = str(self._counter)
        if kind == TRMRUN:
            same = old is not None and old.get("spec") == body.get("spec")
            about["generation"] = known.get("generation", 0) + (not same)
        if kind.namespaced:
            about["namespace"] = key[1]
        self._objects[key] = body
        self._changes.append((kind, Change(change, copied(body))))
        return copied(body)

    def _selected(self, kind: Kind, namespace: str | None, labels: str, fields: str) -> Sequence[Object]:
        found = [body for (one, _, _), body in self._objects.items() if one == kind]
        return copied([body for body in found if self._wanted(body, kind, namespace, labels, fields)])

    def _wanted(self, body: Object, kind: Kind, namespace: str | None, labels: str, fields: str) -> bool:
        here = not kind.namespaced or namespace == "*" or body["metadata"]["namespace"] == self._space(kind, namespace)
        return here and by_labels(labels, body["metadata"].get("labels", {})) and by_fields(fields, body)


def copied(found: Any) -> Any:
    """Return the same JSON once more."""
    return json.loads(json.dumps(found))


def merge(old: Any, changes: Any) -> Any:
    """Return `old` changed by a merge patch (RFC 7386)."""
    if not isinstance(changes, dict):
        return copied(changes)
    old = old if isinstance(old, dict) else {}
    for name, value in changes.items():
        if value is None:
            old.pop(name, None)
        else:
            old[name] = merge(old.get(name), value)
    return old


def by_labels(selector: str, labels: dict[str, str]) -> bool:
    """Say whether a label selector means something with these labels."""
    for part in re.split(r",(?![^(]*\))", selector) if selector else ():
        inside = re.fullmatch(r"\s*(\S+) (in|notin) \((.*)\)\s*", part)
        if inside:
            known = labels.get(inside[1]) in [value.strip() for value in inside[3].split(",")]
            fits = known == (inside[2] == "in")
        elif "!=" in part:
            name, _, value = part.partition("!=")
            fits = labels.get(name) != value
        elif "=" in part:
            name, _, value = part.replace("==", "=").partition("=")
            fits = labels.get(name) == value
        else:
            fits = (part.lstrip("!") in labels) != part.startswith("!")
        if not fits:
            return False
    return True


def by_fields(selector: str, body: Object) -> bool:
    """Say whether a field selector means this object."""
    for part in selector.split(",") if selector else ():
        path, sign, value = re.split(r"(!=|==?)", part, maxsplit=1)
        found: Any = body
        for name in path.split("."):
            found = found.get(name, "") if isinstance(found, dict) else ""
        if (str(found) == value) == (sign == "!="):
            return False
    return True


def stamp(seconds: float) -> str:
    """Return a time as Kubernetes writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
