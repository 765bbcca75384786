"""A cluster through its API server: the one place that imports a Kubernetes client.

Of the client it takes what knows how to log in and whom to trust; objects stay plain dictionaries. Every request has a
timeout, and is asked again where that is safe. A create is: what has our name and our content was made by us.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trmctl.client.answers import Answer, error
from trmctl.client.api import Api, GoneError, Query, good, parsed
from trmctl.client.patience import Patience, Tries
from trmctl.client.watching import Watching
from trmctl.cluster import POD, Change, Cluster, Kind, Object
from trmctl.output import talk
from trmkit.errors import ClusterMissingError, ClusterNotConfiguredError
from trmkit.render.names import MANAGER, SPEC_HASH

PAGE = 1000
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
WRITE = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
CONNECTIONS = 256
NOT_SERVED_FOR = 20.0
"""Seconds for which it is believed that a kind is not served: an operator may be installed at any time."""
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def open_cluster(context: str | None = None, namespace: str | None = None, patience: Patience | None = None) -> Cluster:
    """Return the cluster of a kubeconfig context, or the one this pod is in. ClusterNotConfiguredError: none."""
    try:
        from kubernetes import client, config
    except ImportError as missing:
        raise ClusterNotConfiguredError(
            "the package kubernetes is not installed", next="pip install 'trmctl[cluster]'"
        ) from missing
    settings = client.Configuration()
    settings.retries = False  # we ask again ourselves
    settings.connection_pool_maxsize = CONNECTIONS
    try:
        contexts, active = config.list_kube_config_contexts()
        config.load_kube_config(context=context, client_configuration=settings)
    except config.ConfigException as problem:
        return _from_inside(context, namespace, patience, problem)
    known = {one["name"]: one for one in contexts}
    chosen = known.get(context or "", active)
    space = namespace or chosen.get("context", {}).get("namespace") or "default"
    where = f"{chosen['name']} ({settings.host})"
    return KubeCluster(client.ApiClient(settings), space, where, patience or Patience())


def open_inside(namespace: str | None = None, patience: Patience | None = None) -> Cluster:
    """Return the cluster this process runs in, under its pod's account. ClusterNotConfiguredError: it runs in none."""
    try:
        from kubernetes import client, config
    except ImportError as missing:
        raise ClusterNotConfiguredError(
            "the package kubernetes is not installed", next="pip install 'trmctl[cluster]'"
        ) from missing
    settings = client.Configuration()
    settings.retries = False
    settings.connection_pool_maxsize = CONNECTIONS
    try:
        config.load_incluster_config(client_configuration=settings)
    except config.ConfigException as problem:
        raise ClusterNotConfiguredError(
            f"this process is in no pod with a service account: {problem}",
            next="leave --in-cluster out, or run it as `helm test` does",
        ) from problem
    own = POD_NAMESPACE.read_text(encoding="utf-8").strip() if POD_NAMESPACE.is_file() else "default"
    where = f"in the cluster ({settings.host})"
    return KubeCluster(client.ApiClient(settings), namespace or own, where, patience or Patience())


def _from_inside(context: str | None, namespace: str | None, patience: Patience | None, problem: Exception) -> Cluster:
    """Return the cluster this process runs in, where no context was asked for. ClusterNotConfiguredError: none."""
    if context is None:
        with suppress(ClusterNotConfiguredError):
            return open_inside(namespace, patience)
    raise ClusterNotConfiguredError(
        f"there is no cluster to work with: {problem}",
        next="set KUBECONFIG, or --context to one of: kubectl config get-contexts",
    ) from problem


class KubeCluster:
    """`trmctl.cluster.Cluster`, by HTTP. May be used by several threads."""

    def __init__(
        self,
        client: Any,
        namespace: str,
        where: str,
        patience: Patience | None = None,
        say: Callable[[str], None] = talk,
    ) -> None:
        """Take a `kubernetes.client.ApiClient` whose configuration has `retries = False`."""
        self._client = client
        self._namespace = namespace
        self._where = where
        self._patience = patience or Patience()
        self._served: dict[str, tuple[float, frozenset[str]]] = {}
        """Version -> when it was asked for, and the plurals of its kinds."""
        self.api = Api(client.rest_client.pool_manager, client.configuration.host, self._log_in, self._patience, say)

    @property
    def namespace(self) -> str:
        """Return the namespace the configuration names, or `default`."""
        return self._namespace

    @property
    def where(self) -> str:
        """Return context and server."""
        return self._where

    # -- objects

    def serves(self, kind: Kind) -> bool:
        """Say whether the API server knows this kind, in this version."""
        version = kind.api_version
        at, known = self._served.get(version, (float("-inf"), frozenset[str]()))
        if kind.plural not in known and time.monotonic() - at > NOT_SERVED_FOR:
            try:
                found = self.api.object("GET", f"/apis/{version}" if kind.group else "/api/v1", f"ask for {version}")
            except ClusterMissingError:
                found = {}
            known = frozenset(str(one.get("name", "")) for one in found.get("resources") or ())
            self._served[version] = time.monotonic(), known
        return kind.plural in known

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        """Return one object; None: there is none."""
        try:
            return self.api.object("GET", self._path(kind, namespace, name), f"read {kind.plural} {name}")
        except ClusterMissingError:
            return None

    def list(self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "") -> list[Object]:
        """Return objects by label and field selector, all pages. ClusterMissingError: this kind is not served."""
        return [*self._listed(kind, namespace, _selectors(labels, fields))[0]]

    def _listed(self, kind: Kind, namespace: str | None, selectors: Query) -> tuple[Sequence[Object], str]:
        """Return objects, and the version of the list, from which a watch goes on."""
        query = {**selectors, "limit": str(PAGE)}
        doing = f"list {kind.plural}"
        found: Any = []
        while True:
            answer = self.api.ask("GET", self._path(kind, namespace), doing, query)
            if isinstance(answer, Answer) and answer.status == 410 and "limit" in query:
                found, query = [], selectors  # the pages grew too old in between: once more, in one piece
                continue
            page = parsed(good(answer, doing).text, doing) if isinstance(answer, Answer) else answer
            about = page.get("metadata") or {}
            found += [{"apiVersion": kind.api_version, "kind": kind.kind, **one} for one in page.get("items") or ()]
            if not about.get("continue"):
                return found, str(about.get("resourceVersion") or "")
            query = {**query, "continue": about["continue"]}

    def create(self, kind: Kind, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object, unknown fields refused. ClusterConflictError: the name is taken.

        After a try whose outcome is not known, an object of that name with our content is what that try made.
        """
        name, space = body["metadata"]["name"], body["metadata"].get("namespace")
        doing = f"create {kind.plural} {name}"
        unsure = False

        def settle(answer: Answer | None) -> Object | None:
            nonlocal unsure
            taken = answer is not None and answer.status == 409
            unsure = unsure or not taken
            there = self.get(kind, name, space) if taken or (unsure and not dry_run) else None
            if there is not None and unsure and same(body, there):
                return there
            if there is not None and answer is not None and taken:
                raise error(answer, doing)
            return None

        whole = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        query = {**WRITE, **_dry(dry_run)}
        return self.api.object("POST", self._path(kind, space), doing, query, whole, settle=settle)

    def apply(self, kind: Kind, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object or make it what `body` says (server-side apply)."""
        name, space = body["metadata"]["name"], body["metadata"].get("namespace")
        whole = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        query = {**WRITE, "force": "true", **_dry(dry_run)}
        doing = f"apply {kind.plural} {name}"
        return self.api.object("PATCH", self._path(kind, space, name), doing, query, whole, content=APPLY)

    def patch(
        self, kind: Kind, name: str, changes: Object, namespace: str | None = None, *, subresource: str = ""
    ) -> Object:
        """Change an object, or its `status`, by a merge patch. ClusterMissingError: there is none.

        ClusterConflictError: `changes` names a version or uid, and the object has another one. With a version it is
        asked once: an answer that was lost may have been a yes.
        """
        about, part = changes.get("metadata") or {}, f"/{subresource}" if subresource else ""
        doing, path = f"change {kind.plural} {name}", self._path(kind, namespace, name) + part
        once = "resourceVersion" in about
        settle = _conflict(doing) if once or "uid" in about else None
        return self.api.object("PATCH", path, doing, WRITE, changes, content=MERGE, once=once, settle=settle)

    def delete(self, kind: Kind, name: str, namespace: str | None = None, *, uid: str = "") -> bool:
        """Delete an object, what belongs to it in the background; False: there was none.

        ClusterConflictError: there is one, and its uid is not the one given.
        """
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        body |= {"preconditions": {"uid": uid}} if uid else {}
        doing = f"delete {kind.plural} {name}"
        tried: list[object] = []

        def settle(answer: Answer | None) -> None:
            tried.append(answer)
            if uid:
                _conflict(doing)(answer)

        try:
            self.api.object("DELETE", self._path(kind, namespace, name), doing, None, body, settle=settle)
        except ClusterMissingError:
            return bool(tried)  # an earlier try, of which we did not hear, has done it
        return True

    def watch(
        self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "", seconds: float
    ) -> Iterator[Change]:
        """Yield what is there as ADDED, then every change, for so long; lost connections are taken up again."""
        selectors, doing = _selectors(labels, fields), f"watch {kind.plural}"
        watching = Watching(lambda: self._listed(kind, namespace, selectors))
        end = time.monotonic() + seconds
        tries = Tries(self._patience, True, lambda text: None)
        while (left := end - time.monotonic()) > 0:
            if watching.stale:
                yield from watching.relist()
            query = {
                **selectors, "watch": "true", "allowWatchBookmarks": "true",
                "resourceVersion": watching.version, "timeoutSeconds": str(max(1, min(int(left), 290))),
            }  # fmt: skip
            heard = False
            try:
                for line in self.api.lines(self._path(kind, namespace), doing, query, min(self._patience.quiet, left)):
                    heard = True
                    yield from watching.take(line)
            except GoneError:
                watching.stale = True
            if heard or (time.monotonic() < end and not tries.again("a watch says nothing", None)):
                tries = self.api.tries()

    # -- pods

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
        """Yield the lines of a container; if it is followed, until it ends or the connection is cut."""
        query = {"container": container}
        for name, wanted in (("follow", follow), ("previous", previous), ("timestamps", stamps)):
            query |= {name: "true"} if wanted else {}
        query |= {"sinceSeconds": str(max(1, round(since)))} if since is not None else {}
        query |= {"tailLines": str(tail)} if tail is not None else {}
        path, doing = self._path(POD, namespace, pod) + "/log", f"read the log of {pod}"
        if follow:
            yield from self.api.lines(path, doing, query, self._patience.quiet)
        else:
            yield from self.api.text(path, doing, query).splitlines()

    def read_port(self, pod: str, port: int, path: str, namespace: str | None = None) -> str:
        """Return what a pod answers to an HTTP GET, through the API server's proxy; asked once: it is a glance."""
        full = f"{self._path(POD, namespace, f'{pod}:{port}')}/proxy/{path.lstrip('/')}"
        return self.api.text(full, f"read port {port} of {pod}", once=True)

    def allowed(self, verb: str, kind: Kind, namespace: str | None = None, *, subresource: str = "") -> bool:
        """Say whether this user may do this (SelfSubjectAccessReview)."""
        wanted = {"verb": verb, "group": kind.group, "resource": kind.plural, "subresource": subresource}
        if kind.namespaced and namespace != "*":
            wanted["namespace"] = namespace or self._namespace
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        found = self.api.object("POST", path, "ask for rights", {}, {**body, "spec": {"resourceAttributes": wanted}})
        return bool((found.get("status") or {}).get("allowed"))

    def execute(self, pod: str, container: str, command: Sequence[str], namespace: str | None = None) -> int:
        """Run a command in a container, connected to this terminal; return its exit code."""
        from kubernetes.stream.ws_client import WSClient, get_websocket_url
        from websocket import WebSocketException

        from trmctl.client.terminal import connect
        from trmctl.cluster import POD

        tty = sys.stdin.isatty() and sys.stdout.isatty()
        flags = {"container": container, "stdin": "true", "stdout": "true", "stderr": str(not tty).lower()}
        query = [*flags.items(), ("tty", str(tty).lower()), *(("command", part) for part in command)]
        url = get_websocket_url(f"{self._client.configuration.host}{self._path(POD, namespace, pod)}/exec", query)
        headers = {name.lower(): value for name, value in self.api.headers().items()}
        try:
            socket = WSClient(self._client.configuration, url, headers, False, binary=True)
        except (WebSocketException, OSError) as problem:
            said = getattr(problem, "resp_body", None) or str(problem).encode()
            answer = Answer(getattr(problem, "status_code", 0), bytes(said).decode(errors="replace"), {})
            raise error(answer, f"run in {pod}") from problem
        try:
            return connect(socket, tty)
        finally:
            socket.close()
            socket.sock.shutdown()  # closing leaves it open when the other side closed first

    def server(self) -> tuple[str, float]:
        """Return the API server's version and how many seconds its clock is ahead of ours."""
        doing = "ask for the version"
        answer = self.api.ask("GET", "/version", doing)
        now = time.time()
        assert isinstance(answer, Answer)
        date = good(answer, doing).headers.get("date")
        ahead = parsedate_to_datetime(date).timestamp() + 0.5 - now if date else 0.0  # dates have no fractions
        return str(parsed(answer.text, doing).get("gitVersion") or "unknown"), ahead

    def _path(self, kind: Kind, namespace: str | None, name: str = "") -> str:
        base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        space = f"/namespaces/{quote(namespace or self._namespace)}" if kind.namespaced and namespace != "*" else ""
        return f"{base}{space}/{kind.plural}" + (f"/{quote(name, safe=':')}" if name else "")

    def _log_in(self) -> dict[str, str]:
        """Return the headers that say who asks; tokens that run out are renewed by the client."""
        headers: dict[str, str] = {}
        self._client.update_params_for_auth(headers, None, ["BearerToken"])
        return headers


def same(wanted: Object, there: Object) -> bool:
    """Say whether an object is what we would create: by its spec hash, or else by everything that we say of it."""
    hashes = [(one["metadata"].get("annotations") or {}).get(SPEC_HASH) for one in (wanted, there)]
    return hashes[0] == hashes[1] if any(hashes) else _says(there, wanted)


def _says(there: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(_says(there.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list):
        alike = isinstance(there, list) and len(there) == len(wanted)
        return alike and all(_says(one, other) for one, other in zip(there, wanted, strict=True))
    return bool(there == wanted)


def _conflict(doing: str) -> Callable[[Answer | None], None]:
    """Return what gives up when another version or uid is there: asked again, the answer would be the same."""

    def settle(answer: Answer | None) -> None:
        if answer is not None and answer.status == 409:
            raise error(answer, doing)

    return settle


def _selectors(labels: str, fields: str) -> Query:
    return {name: text for name, text in (("labelSelector", labels), ("fieldSelector", fields)) if text}


def _dry(dry_run: bool) -> Query:
    return {"dryRun": "All"} if dry_run else {}
