"""What the controller answers over HTTP: `/metrics`, `/healthz` (is it alive), `/readyz` (does the cluster answer)."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from trmctl.controller.metrics import Metrics
from trmctl.controller.runner import Runner

Answer = tuple[int, bytes, str]
TEXT, EXPOSITION = "text/plain; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8"


def serve(port: int, metrics: Metrics, runner: Runner) -> ThreadingHTTPServer:
    """Answer on all addresses, in a thread; port 0 takes a free one."""
    routes: dict[str, Callable[[], Answer]] = {
        "/metrics": lambda: (200, metrics.text(), EXPOSITION),
        "/healthz": lambda: _state(runner.healthy, "all runs were looked at lately"),
        "/readyz": lambda: _state(runner.ready, "the cluster has answered lately"),
    }

    class Handler(BaseHTTPRequestHandler):
        """Answers GET."""

        def do_GET(self) -> None:
            """Answer."""
            route = routes.get(self.path.partition("?")[0], lambda: (404, b"not found\n", TEXT))
            status, content, kind = route()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing of requests."""

    server = ThreadingHTTPServer(("", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _state(good: bool, what: str) -> Answer:
    return (200, f"{what}\n".encode(), TEXT) if good else (503, f"not so: {what}\n".encode(), TEXT)
