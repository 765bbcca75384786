"""A door before a server that can be told to misbehave: to cut connections after so many bytes, or to answer 503."""

import socket
import threading
from contextlib import suppress
from typing import Literal

Fault = Literal["none", "reset", "busy"]
BODY = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your rate</Message></Error>'
HEAD = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
BUSY = HEAD % len(BODY) + BODY


class FaultyDoor:
    """Listens on a port of its own and passes connections on to `port` unless `fault` says otherwise."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.fault: Fault = "none"
        self.bytes_before_reset = 1000
        self.hits = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, suppress(OSError):
            if self.fault == "busy":
                self.hits += 1
                caller.recv(65_536)
                caller.sendall(BUSY)
                return
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                back = threading.Thread(target=self._pass, args=(server, caller), daemon=True)
                back.start()
                self._pass(caller, server)
                back.join(5)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(16_384):
                if self.fault != "none":
                    data = data[: max(0, self.bytes_before_reset - passed)]
                    passed += len(data)
                    if not data or self.fault == "busy":
                        self.hits += 1
                        for end in (source, target):
                            end.shutdown(socket.SHUT_RDWR)
                        return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
