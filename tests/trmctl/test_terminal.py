"""A command in a container, over a real websocket: what it says, how it ends, what is refused."""

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.trmctl.test_kube import connect
from trmkit.errors import ClusterForbiddenError, ClusterUnreachableError

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(channel: int, data: bytes) -> bytes:
    """Return a binary frame of a websocket, as a server sends it."""
    payload = bytes([channel]) + data
    assert len(payload) < 126
    return bytes([0x82, len(payload)]) + payload


CLOSE = b"\x88\x02\x03\xe8"


@contextmanager
def container(*frames: bytes, refuse: bytes = b"") -> Iterator[tuple[str, list[bytes]]]:
    """Serve one connection: take the handshake, or refuse it, then send frames. Yield address and what was asked."""
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            asked.append(head)
            if refuse:
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(refuse) + refuse)
                return
            lines = [line.partition(b":") for line in head.split(b"\r\n")]
            key = next(value.strip() for name, _, value in lines if name.lower() == b"sec-websocket-key")
            accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: v4.channel.k8s.io\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            connection.sendall(b"".join(frames))
            connection.recv(65536)  # until the client has closed, too

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        thread.join()
        listener.close()


def status(**said: object) -> bytes:
    return frame(3, json.dumps(said).encode())


@pytest.mark.parametrize(
    ("last", "code"),
    [(status(status="Success"), 0), (status(status="Failure", details={"causes": [{"message": "7"}]}), 7)],
)
def test_a_command_speaks_on_both_streams_and_ends_with_its_code(
    last: bytes, code: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with container(frame(1, b"out\xff"), frame(2, b"err"), frame(1, b"more"), last, CLOSE) as (url, asked):
        assert connect(url).execute("p", "pytorch", ["df", "-h"]) == code
    printed = capfdbinary.readouterr()
    assert (printed.out, printed.err) == (b"out\xffmore", b"err")
    assert b"/api/v1/namespaces/team/pods/p/exec?container=pytorch" in asked[0]
    assert b"command=df&command=-h" in asked[0]


def test_a_connection_that_is_lost_is_no_success() -> None:
    with container(frame(1, b"out"), CLOSE) as (url, _), pytest.raises(ClusterUnreachableError, match="was lost"):
        connect(url).execute("p", "pytorch", ["df"])


def test_who_may_not_is_told() -> None:
    said = b'{"message": "pods \\"p\\" is forbidden: User \\"me\\" cannot create resource \\"pods/exec\\""}'
    with container(refuse=said) as (url, _), pytest.raises(ClusterForbiddenError, match="pods/exec"):
        connect(url).execute("p", "pytorch", ["df"])
