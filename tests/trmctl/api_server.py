"""An API server on this machine, small but true where clients trip: versions, pages, watches, conflicts; with faults.

It keeps its objects in a `FakeCluster`. A fault is answered instead of what was asked for, which has been done before
(`after`) or has not: a client cannot tell.
"""

import json
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.trmctl.fake_cluster import FakeCluster
from trmctl import cluster as kinds
from trmctl.cluster import Kind, Object
from trmkit.errors import ClusterConflictError, ClusterMissingError

KINDS = [value for value in vars(kinds).values() if isinstance(value, Kind)]
PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?P<rest>/.*)?"
)


@dataclass
class Fault:
    """An answer that goes wrong, once."""

    method: str
    where: str
    """Regular expression in the path and query."""
    what: int | str
    """An HTTP status, `reset`, or `hang`."""
    after: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    text: str = ""


class ApiServer:
    """The server; `with` starts and stops it."""

    def __init__(self, backend: FakeCluster | None = None) -> None:
        self.backend = backend or FakeCluster()
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.headers: dict[str, str] = {}
        """Of the last request."""
        self.events: list[tuple[int, Kind, str, Object]] = []
        """Version, kind, type and object of every change, for watches."""
        self.compacted = 0
        """Watches and pages from before this version are gone."""
        self.watch_ends_after = 100
        """Events after which a watch ends without a word."""
        self.closing = threading.Event()
        self.lock = threading.RLock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or each answer waits 40 ms for the headers to be acknowledged

            def handle_any(self) -> None:
                serve(server, self)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

        self.http = Server(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self) -> "ApiServer":
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()

    def changed(self, kind: Kind, what: str, body: Object) -> Object:
        """Remember a change for those who watch."""
        self.events.append((int(body["metadata"]["resourceVersion"]), kind, what, body))
        return body

    def put(self, kind: Kind, body: Object) -> Object:
        """Have an object be what `body` says, and whoever watches see it."""
        with self.lock:
            name = body["metadata"]["name"]
            what = "MODIFIED" if name in self.backend.names(kind) else "ADDED"
            return self.changed(kind, what, self.backend.put(kind, body))

    def remove(self, kind: Kind, name: str) -> None:
        """Have an object be gone, and whoever watches see it."""
        with self.lock:
            gone = self.backend.see(kind, name)
            self.backend.remove(kind, name)
            self.backend._counter += 1
            gone["metadata"]["resourceVersion"] = str(self.backend._counter)
            self.changed(kind, "DELETED", gone)


def serve(server: ApiServer, request: BaseHTTPRequestHandler) -> None:
    """Answer a request, or what a fault has in its place."""
    length = int(request.headers.get("Content-Length") or 0)
    body = json.loads(request.rfile.read(length) or b"null")
    with server.lock:
        server.requests.append((request.command, request.path))
        server.headers = {name.title(): value for name, value in request.headers.items()}
        fault = next(
            (f for f in server.faults if f.method == request.command and re.search(f.where, request.path)), None
        )
        if fault is not None:
            server.faults.remove(fault)
    if fault is None:
        answer(server, request, body, send=True)
        return
    if fault.after:
        answer(server, request, body, send=False)
    if fault.what == "hang":
        server.closing.wait(30)
    if isinstance(fault.what, str):
        request.close_connection = True
        with suppress(OSError):
            request.connection.shutdown(2)
        return
    reply(request, fault.what, fault.text, fault.headers)


def answer(server: ApiServer, request: BaseHTTPRequestHandler, body: Any, *, send: bool) -> None:
    """Do what is asked, and say so if `send`."""
    url = urlsplit(request.path)
    query = dict(parse_qsl(url.query))
    if query.get("watch") and send:
        watch(server, request, kind_of(url.path)[0], query)
        return
    with server.lock:
        try:
            status, text = 200, do(server, request.command, url.path, query, body)
        except ClusterMissingError as error:
            status, text = 404, problem(404, "NotFound", str(error))
        except ClusterConflictError as error:
            status, text = 409, problem(409, "AlreadyExists", str(error))
        except GoneError:
            status, text = 410, problem(410, "Expired", "too old resource version")
    if send:
        reply(request, status, text)


class GoneError(Exception):
    """What is asked for is too old."""


def do(server: ApiServer, method: str, path: str, query: dict[str, str], body: Any) -> str:
    """Do what is asked; return what is said."""
    backend = server.backend
    if path == "/version":
        return json.dumps({"gitVersion": "v1.36.2"})
    if path.endswith("selfsubjectaccessreviews"):
        wanted = body["spec"]["resourceAttributes"]
        resource = "/".join(part for part in (wanted["resource"], wanted["subresource"]) if part)
        return json.dumps({"status": {"allowed": (wanted["verb"], resource) not in backend.denied}})
    if path in ("/api", "/apis"):
        return json.dumps(discovery(path, backend.served))
    known = [kind for kind in KINDS if path in (f"/apis/{kind.api_version}", f"/api/{kind.api_version}")]
    if known:
        return json.dumps({"resources": [described(kind) for kind in known if kind in backend.served]})
    kind, namespace, name, rest = kind_of(path)
    if rest == "/status":
        changed = backend.patch(kind, name, body, namespace, subresource="status")
        return json.dumps(server.changed(kind, "MODIFIED", changed))
    if kind not in backend.served:
        raise ClusterMissingError("the server could not find the requested resource")
    if rest.startswith("/proxy"):
        pod, _, port = name.partition(":")
        return backend.ports[(pod, int(port), rest.removeprefix("/proxy"))]
    if rest == "/log":
        stamps = query.get("timestamps") == "true"
        return "".join(f"{line}\n" for line in backend.log(name, query["container"], namespace, stamps=stamps))
    return json.dumps(change(server, method, kind, namespace, name, query, body))


def discovery(path: str, served: set[Kind]) -> Object:
    """Return which groups and versions there are."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    groups: dict[str, list[Object]] = {}
    for group, version in sorted({(kind.group, kind.version) for kind in served if kind.group}):
        groups.setdefault(group, []).append({"groupVersion": f"{group}/{version}", "version": version})
    return {"groups": [{"name": name, "versions": all, "preferredVersion": all[0]} for name, all in groups.items()]}


def described(kind: Kind) -> Object:
    """Return what discovery says of a kind."""
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    names = {"name": kind.plural, "singularName": kind.kind.lower(), "kind": kind.kind}
    return {**names, "namespaced": kind.namespaced, "verbs": verbs}


def change(
    server: ApiServer, method: str, kind: Kind, namespace: str | None, name: str, query: dict[str, str], body: Any
) -> Any:
    """Do what is asked of objects; return what is answered."""
    backend, dry = server.backend, query.get("dryRun") == "All"
    space = namespace or "*"
    if method == "GET" and not name:
        return page(server, backend.list(kind, space, labels=query.get("labelSelector", "")), query)
    if method == "GET":
        found = backend.get(kind, name, namespace)
        if found is None:
            raise ClusterMissingError(f'{kind.plural} "{name}" not found')
        return found
    if method == "DELETE":
        there = backend.get(kind, name, namespace)
        if there is None:
            raise ClusterMissingError(f'{kind.plural} "{name}" not found')
        backend.delete(kind, name, namespace, uid=((body or {}).get("preconditions") or {}).get("uid", ""))
        return server.changed(kind, "DELETED", there)
    if method == "POST":
        made = backend.create(kind, body, dry_run=dry)
    elif "force" in query:
        made = backend.apply(kind, body, dry_run=dry)
    else:
        made = backend.patch(kind, name, body, namespace)
    return made if dry else server.changed(kind, "ADDED" if method == "POST" else "MODIFIED", made)


def page(server: ApiServer, found: list[Object], query: dict[str, str]) -> Any:
    """Return a page of a list."""
    version = server.backend._counter
    start = 0
    if "continue" in query:
        version, start = (int(part) for part in query["continue"].split(":"))
        if version < server.compacted:
            raise GoneError
    limit = int(query.get("limit", len(found) or 1))
    about: dict[str, str] = {"resourceVersion": str(version)}
    if start + limit < len(found):
        about["continue"] = f"{version}:{start + limit}"
    return {"metadata": about, "items": found[start : start + limit]}


def watch(server: ApiServer, request: BaseHTTPRequestHandler, kind: Kind, query: dict[str, str]) -> None:
    """Send changes as they come, until there are no more; then a bookmark."""
    after = int(query.get("resourceVersion") or 0)
    if after < server.compacted:
        reply(request, 410, problem(410, "Expired", "too old resource version"))
        return
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    with server.lock:
        seen = [(w, body) for version, one, w, body in server.events if one == kind and version > after]
    lines = [{"type": what, "object": body} for what, body in seen[: server.watch_ends_after]]
    if len(lines) == len(seen):
        lines.append({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(server.backend._counter)}}})
        server.backend.step()
    for line in lines:
        data = json.dumps(line).encode() + b"\n"
        request.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    request.wfile.write(b"0\r\n\r\n")


def kind_of(path: str) -> tuple[Kind, str | None, str, str]:
    """Return kind, namespace, name and what follows of a path."""
    match = PATH.fullmatch(path)
    assert match, path
    group = match["group"] or ""
    kind = next(k for k in KINDS if (k.group, k.version, k.plural) == (group, match["version"], match["plural"]))
    return kind, match["namespace"], match["name"] or "", match["rest"] or ""


def problem(code: int, reason: str, message: str) -> str:
    """Return a Status object."""
    return json.dumps({"kind": "Status", "code": code, "reason": reason, "message": message})


def reply(request: BaseHTTPRequestHandler, status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
    """Send an answer."""
    data = text.encode()
    with suppress(OSError):
        request.send_response(status)
        kind = "application/json" if text.startswith(("{", "[")) else "text/plain"
        for name, value in (*headers, ("Content-Type", kind), ("Content-Length", str(len(data)))):
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data)
