"""Stand-ins for exporters that need hardware or a cluster: they serve samples in those exporters' format."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SAMPLES = Path(__file__).with_name("samples")
GROWING = re.compile(r"^(\w+_(?:total|bucket|sum|count)\{.*\}) (\S+)$", re.MULTILINE)


class Samples:
    """Serves a file of samples, with words of it changed; counters grow from scrape to scrape."""

    def __init__(self, name: str, words: dict[str, str] | None = None) -> None:
        text = (SAMPLES / f"{name}.prom").read_text()
        for word, meant in (words or {}).items():
            text = text.replace(word, meant)
        scrapes = 0

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                nonlocal scrapes
                scrapes += 1
                now = GROWING.sub(lambda found: f"{found[1]} {float(found[2]) * (1 + scrapes / 100)}", text)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.end_headers()
                self.wfile.write(now.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Say nothing: a Prometheus that ends, or has waited too long, leaves in the middle of an answer."""

        self._server = Quiet(("127.0.0.1", 0), Answer)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
