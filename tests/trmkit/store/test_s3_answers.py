"""What servers answer that is not SeaweedFS: said by a small server of our own, heard through the real SDK."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trmkit.errors import StoreError, StoreUnavailableError
from trmkit.spec.storage import StorageSection
from trmkit.store.s3 import S3Store, etag_of

ERROR = '<?xml version="1.0"?><Error><Code>%s</Code><Message>m</Message></Error>'


class Server(ThreadingHTTPServer):
    """Answers every request with one status, one error code, and some headers; keeps what was asked."""

    status, code = 200, ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        body = (ERROR % self.server.code).encode() if self.server.code and self.command != "HEAD" else b""
        self.send_response(self.server.status)
        for name, value in {"Content-Length": str(len(body)), **self.server.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815 - names of http.server

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def store(server: Server, **options: object) -> S3Store:
    """Return a store on the server."""
    url = f"http://127.0.0.1:{server.server_port}"
    section = StorageSection.model_validate({"remote": "s3://bucket/x", "endpoint_url": url, **options})
    return S3Store("s3://bucket/x", section)


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [
        (503, "SlowDown", True), (500, "InternalError", True), (429, "TooManyRequests", True),
        (400, "RequestTimeout", True), (400, "ExpiredToken", False), (403, "AccessDenied", False),
        (403, "RequestTimeTooSkewed", False), (301, "PermanentRedirect", False), (501, "NotImplemented", False),
        (404, "NoSuchBucket", False),
    ],
)  # fmt: skip
def test_some_refusals_are_worth_another_try(server: Server, status: int, code: str, again: bool) -> None:
    server.status, server.code = status, code
    with pytest.raises(StoreError) as error:
        store(server).write("key", b"content")
    assert isinstance(error.value, StoreUnavailableError) is again
    assert code in error.value.message or status == 301
    assert error.value.next


@pytest.mark.parametrize("status", [301, 302, 307])
def test_an_endpoint_that_redirects_is_said(server: Server, status: int) -> None:
    server.status = status
    server.headers = {"Location": "https://127.0.0.1:1/", "x-amz-bucket-region": "eu-west-1"}
    with pytest.raises(StoreError):
        list(store(server).keys(""))


def test_an_etag_of_kms_is_no_md5(server: Server, tmp_path: Path) -> None:
    """Of a bucket that encrypts by itself, too, where the run file says nothing of it."""
    file = tmp_path / "file"
    file.write_bytes(b"content")
    other = {"ETag": '"0123456789abcdef0123456789abcdef"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    server.headers = {"Content-Length": "7", **other}
    assert not store(server).holds("key", file)
    server.headers = {**server.headers, "x-amz-server-side-encryption": "aws:kms"}
    assert store(server).holds("key", file)
    server.headers = {"Content-Length": "7", "ETag": f'"{etag_of(file)}"', "Last-Modified": other["Last-Modified"]}
    assert store(server).holds("key", file)


def test_encryption_is_asked_for_with_every_object(server: Server) -> None:
    server.headers = {"ETag": '"0"'}
    store(server, sse="aws:kms", kms_key_id="alias/mine").write("key", b"content")
    (_, path, headers) = server.asked[0]
    assert path == "/bucket/x/key"
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/mine"
    assert headers["Content-MD5"]


def test_a_bucket_may_be_named_in_the_host(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))
    server.headers = {"ETag": '"0"'}
    section = {"addressing": "virtual", "endpoint_url": f"http://localhost:{server.server_port}"}
    store(server, **section).write("key", b"content")
    (_, path, headers) = server.asked[0]
    assert path == "/x/key"
    assert headers["Host"].startswith("bucket.localhost")


def test_checksums_are_sent_only_when_asked_for(server: Server) -> None:
    server.headers = {"ETag": '"0"'}
    store(server).write("key", b"content")
    store(server, checksums="when_supported").write("key", b"content")
    plain, summed = ({name.lower() for name in headers} for _, _, headers in server.asked)
    assert not [name for name in plain if "checksum" in name]
    assert [name for name in summed if "checksum" in name]
