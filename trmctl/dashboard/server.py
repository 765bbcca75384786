"""Serves the page and the numbers it asks for. It only reads, and only answers who calls it by a name of this machine.

Without that a page of somebody else, whose name was made to lead here, could read what runs here (DNS rebinding).
"""

import ipaddress
import json
import socket
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from trmctl.dashboard.series import Shown, panels
from trmkit.errors import SpecError, TrmError

FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/app.js": ("app.js", "text/javascript"),
    "/chart.js": ("chart.js", "text/javascript"),
    "/grids.js": ("grids.js", "text/javascript"),
}
RULES = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'"
HELD_SECONDS = 10
LONGEST = 300
"""Characters of the name of a run."""


class Numbers(Protocol):
    """A place that runs' numbers come from."""

    @property
    def name(self) -> str:
        """What it is called."""

    def runs(self) -> list[Shown]:
        """Return every run it knows, without curves. TrmError: it cannot be asked."""

    def show(self, key: str) -> Shown | None:
        """Return one with its curves; None: it knows none of this name. TrmError: it cannot be asked."""


class Site:
    """What is answered: pure but for the places that are asked."""

    def __init__(self, places: Sequence[Numbers], every: float) -> None:
        self._places = {place.name: place for place in places}
        self._locks = {place.name: threading.Lock() for place in places}
        """Places remember how far they have read, so each is asked by one at a time."""
        self._every = every

    def answer(self, address: str) -> tuple[int, str, bytes]:
        """Return status, type and content of what is at `address`."""
        try:
            parts = urlsplit(address)
        except ValueError:
            return 400, "application/json", _json({"error": "this is no address"})
        if parts.path in FILES:
            name, kind = FILES[parts.path]
            return (
                200,
                f"{kind}; charset=utf-8",
                resources.files("trmctl.dashboard").joinpath("page", name).read_bytes(),
            )
        try:
            found = self._found(parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()})
        except TrmError as error:
            return 502, "application/json", _json({"error": error.message, "next": error.next})
        if found is None:
            return 404, "application/json", _json({"error": "there is nothing of this name"})
        return 200, "application/json", _json(found)

    def _found(self, path: str, asked: dict[str, str]) -> dict[str, Any] | None:
        if path == "/api/panels":
            return {"panels": panels(), "every": self._every, "places": list(self._places)}
        if path == "/api/runs":
            return self._runs()
        place, key = self._places.get(asked.get("source", "")), asked.get("key", "")
        if path != "/api/run" or place is None or not 0 < len(key) <= LONGEST:
            return None
        with self._locks[place.name]:
            shown = place.show(key)
        return None if shown is None else shown.as_json()

    def _runs(self) -> dict[str, Any]:
        """Return the runs of all places; one that does not answer does not hide those of the others."""
        found: list[dict[str, Any]] = []
        errors: list[str] = []
        for place in self._places.values():
            try:
                with self._locks[place.name]:
                    found += [run.as_json() for run in place.runs()]
            except TrmError as error:
                errors.append(error.message)
        return {"runs": found, "errors": errors}


def serve(site: Site, address: str, port: int) -> ThreadingHTTPServer:
    """Return a server that listens; `serve_forever` answers. SpecError: the port is taken, or not this machine's."""

    class Handler(BaseHTTPRequestHandler):
        timeout = HELD_SECONDS
        server_version = "trmctl"
        sys_version = ""

        def do_GET(self) -> None:
            self._reply(body=True)

        def do_HEAD(self) -> None:
            self._reply(body=False)

        def _reply(self, *, body: bool) -> None:
            if not is_ours(self.headers.get("Host", ""), address):
                status, kind, content = 403, "application/json", _json({"error": "call this page by its own address"})
            else:
                status, kind, content = site.answer(self.path)
            self.send_response(status)
            for name, value in (
                ("Content-Type", kind), ("Content-Length", str(len(content))), ("Cache-Control", "no-store"),
                ("Content-Security-Policy", RULES), ("X-Content-Type-Options", "nosniff"),
                ("Cross-Origin-Resource-Policy", "same-origin"), ("Referrer-Policy", "no-referrer"),
            ):  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the page asks every few seconds."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of a browser that left in the middle."""
            if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
                super().handle_error(request, client_address)

    try:
        return Server((address, port), Handler)
    except OSError as error:
        raise SpecError(
            f"port {port} cannot be opened on {address}: {error.strerror}", next="give another one with --port"
        ) from error


def is_ours(host: str, address: str) -> bool:
    """Say whether a request's `Host` names this machine: `localhost`, or a number, as people type it."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", address):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
