"""Lets pods reach a server that listens on the loopback address of this machine, and nothing else of it."""

import contextlib
import socket
import threading
from types import TracebackType


class Relay:
    """Passes connections to `port` of every interface on to a port of the loopback address."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("0.0.0.0", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="relay", daemon=True)

    def __enter__(self) -> "Relay":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._listener.close()
        self._thread.join(5)
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._open |= {near, far}
            threads = [
                threading.Thread(target=self._copy, args=pair, daemon=True) for pair in ((near, far), (far, near))
            ]
            threading.Thread(target=self._both, args=(threads, near, far), daemon=True).start()

    def _both(self, threads: list[threading.Thread], near: socket.socket, far: socket.socket) -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one in (near, far):
            self._open.discard(one)
            one.close()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
