"""A bucket as a store, and the only place that imports boto3. Credentials come from the SDK's own chain alone."""

import hashlib
import queue
import threading
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from trmkit import __version__
from trmkit.errors import StoreConflictError, StoreError, StoreUnavailableError
from trmkit.spec.storage import StorageSection
from trmkit.store.address import refuse_link_local
from trmkit.store.base import SMALL, Entry, Unfinished, checked

T = TypeVar("T")

PART_SIZE = 16 << 20
"""Bytes of one part of a large object; larger files go up in parts, four at a time."""
MOST_PARTS = 10_000
SENDERS = 4
"""Parts on their way at once; as many times PART_SIZE is in memory."""
CONNECT_SECONDS, READ_SECONDS = 4, 12
TRANSIENT = {
    "RequestTimeout", "RequestTimeoutException", "Throttling", "ThrottlingException", "TooManyRequestsException",
    "SlowDown", "ServiceUnavailable", "InternalError", "InternalServerError", "ConditionalRequestConflict",
    "OperationAborted", "BadDigest", "IncompleteBody",
}  # fmt: skip
HINTS = {
    "NoSuchBucket": "make the bucket, or check storage.remote",
    "AccessDenied": "give these credentials the right to list, read, write and delete below storage.remote",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID, or the role of the service account",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY",
    "PermanentRedirect": "set storage.region to the bucket's",
    "301": "set storage.region to the bucket's",
    "ExpiredToken": "get new credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
    "400": "check whether the credentials have expired, and this machine's clock",
    "403": "check the credentials, and their right to list, read, write and delete below storage.remote",
}


class S3Store:
    """Objects below `s3://bucket/prefix`."""

    def __init__(self, url: str, options: StorageSection) -> None:
        """Open a client. StoreError: its endpoint is a metadata address. Nothing is sent yet."""
        parts = urlsplit(url)
        self.url = url.rstrip("/")
        self._bucket = parts.netloc
        self._prefix = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
        self._extra = encryption(options)
        self._client = client(options)
        self._endpoint = self._client.meta.endpoint_url

    def keys(self, prefix: str) -> Iterator[Entry]:
        """See `Store`; one request a thousand objects."""
        for page in self._pages("list_objects_v2", Prefix=self._prefix + prefix):
            for found in page.get("Contents", []):
                yield self._entry(found["Key"][len(self._prefix) :], found["Size"], found)

    def folders(self, prefix: str) -> list[str]:
        """See `Store`; one request a thousand folders."""
        start = f"{self._prefix}{prefix.rstrip('/')}/" if prefix else self._prefix
        pages = self._pages("list_objects_v2", Prefix=start, Delimiter="/")
        return [found["Prefix"][len(start) : -1] for page in pages for found in page.get("CommonPrefixes", [])]

    def look(self, key: str) -> Entry | None:
        """See `Store`."""
        try:
            found = self._ask(key, lambda at: self._client.head_object(**at))
        except _NotThereError:
            return None
        entry = self._entry(key, found["ContentLength"], found)
        encrypted = str(found.get("ServerSideEncryption", "")).startswith("aws:") or "SSECustomerAlgorithm" in found
        return entry if encrypted or not _is_md5(entry.etag) else entry._replace(md5=entry.etag)

    def read(self, key: str, limit: int = SMALL) -> bytes:
        """See `Store`."""

        def get(at: dict[str, str]) -> bytes:
            body = self._client.get_object(**at)["Body"]
            with body:
                return bytes(body.read(limit + 1))

        content = self._ask(key, get)
        if len(content) > limit:
            raise StoreError(f"{self.url}/{key}: has more than {limit:,} bytes", next="it is not used; see who made it")
        return content

    def read_range(self, entry: Entry, start: int, length: int) -> bytes:
        """See `Store`."""

        def get(at: dict[str, str]) -> bytes:
            span = f"bytes={start}-{start + length - 1}"
            body = self._client.get_object(**at, Range=span, IfMatch=f'"{entry.etag}"')["Body"]
            with body:
                return bytes(body.read(length + 1))

        content = self._ask(entry.key, get)
        if len(content) != length:
            raise StoreUnavailableError(f"{self.url}/{entry.key}: sent {len(content)} bytes instead of {length}")
        return content

    def write(self, key: str, content: bytes, *, only_new: bool = False, only_if: str | None = None) -> None:
        """See `Store`."""
        condition = {"IfNoneMatch": "*"} if only_new else {"IfMatch": f'"{only_if}"'} if only_if else {}
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        extra = {**self._extra, **condition, "ContentMD5": _base64(digest)}
        try:
            self._ask(key, lambda at: self._client.put_object(**at, Body=content, **extra))
        except _NotThereError as error:  # If-Match on an object that is gone
            raise StoreConflictError(error.message) from None

    def upload(self, key: str, file: Path) -> None:
        """See `Store`. Large files go up in parts, which nobody sees before the last."""
        size = file.stat().st_size
        if size < PART_SIZE:
            self.write(key, file.read_bytes())
        else:
            Parts(self._client, partial(self._ask, key), self._extra, file).send()
        there = self.look(key)
        if there is not None and there.size > size:
            raise StoreError(
                f"{self.url}/{key}: has {there.size:,} bytes instead of {size:,}; the server keeps checksums in it",
                next="set storage.checksums: when_required",
            )
        if not self.holds(key, file):
            raise StoreUnavailableError(f"{self.url}/{key}: did not arrive as it was sent")

    def holds(self, key: str, file: Path) -> bool:
        """See `Store`. Where the ETag is no MD5 (KMS encryption) the size has to do."""
        there = self.look(key)
        if there is None or there.size != file.stat().st_size:
            return False
        return not there.md5 or there.md5 == etag_of(file)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store`; one request an object, which every server knows."""
        for key in keys:
            self._ask(key, lambda at: self._client.delete_object(**at))

    def unfinished(self, prefix: str) -> list[Unfinished]:
        """See `Store`."""
        found = []
        for page in self._pages("list_multipart_uploads", Prefix=self._prefix + prefix):
            for upload in page.get("Uploads", []):
                key = upload["Key"][len(self._prefix) :]
                found.append(Unfinished(key, upload["UploadId"], upload["Initiated"].timestamp()))
        return found

    def abort(self, upload: Unfinished) -> None:
        """See `Store`."""
        try:
            self._ask(upload.key, lambda at: self._client.abort_multipart_upload(**at, UploadId=upload.token))
        except _NotThereError:
            return

    def _pages(self, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        pages = iter(self._client.get_paginator(operation).paginate(Bucket=self._bucket, **arguments))
        while True:
            try:
                page = self._ask("", lambda _: next(pages, None), check=False)
            except _NotThereError as error:
                raise StoreError(error.message, next=HINTS["NoSuchBucket"]) from None
            if page is None:
                return
            yield page

    def _entry(self, key: str, size: int, found: dict[str, Any]) -> Entry:
        return Entry(key, size, str(found.get("ETag", "")).strip('"'), found["LastModified"].timestamp())

    def _ask(self, key: str, request: Callable[[dict[str, str]], T], *, check: bool = True) -> T:
        """Send a request for an object; errors of the SDK become ours."""
        at = {"Bucket": self._bucket, "Key": self._prefix + (checked(key) if check else key)}
        try:
            return request(at)
        except ClientError as error:
            raise self._refused(key, error) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StoreError(
                f"{self.url}: there are no S3 credentials here",
                next="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the pod a role",
            ) from error
        except RecursionError:  # the SDK follows a redirect by asking again where it was redirected from
            raise StoreError(
                f"{self.url}: {self._endpoint} redirects to another address",
                next="give that address as storage.endpoint_url, or the bucket's region as storage.region",
            ) from None
        except (BotoCoreError, OSError) as error:
            raise self._unavailable(key, error) from error

    def _refused(self, key: str, error: ClientError) -> StoreError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        where = f"{self.url}/{key}".rstrip("/")
        if status == 412:
            return StoreConflictError(f"{where}: another writer was faster")
        if code in ("NoSuchKey", "404", "NotFound", "NoSuchUpload"):
            return _NotThereError(f"{where}: is not there", next="check the address")
        if code in TRANSIENT or status in (408, 425, 429) or (status >= 500 and status != 501):
            return StoreUnavailableError(f"{where}: the store answers {code or status}", next="it is tried again")
        return StoreError(f"{where}: the store refuses ({code or status})", next=HINTS.get(code, HINTS["AccessDenied"]))

    def _unavailable(self, key: str, error: Exception) -> StoreUnavailableError:
        where = f"{self.url}/{key}".rstrip("/")
        reason = type(error).__name__
        return StoreUnavailableError(
            f"{where}: the store cannot be reached ({reason}) at {self._endpoint}",
            next="check storage.endpoint_url or AWS_ENDPOINT_URL_S3, and the network",
        )


class Parts:
    """A large file on its way up.

    boto3's own transfer would do, but the threads it works in keep a process from ending for as long as a frozen
    server keeps them waiting; these do not.
    """

    def __init__(self, sdk: Any, ask: Callable[..., Any], extra: dict[str, str], file: Path) -> None:
        self._sdk, self._ask, self._extra, self._file = sdk, ask, extra, file
        self._size = _part_size(file)
        self._upload_id = ""
        self._left: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._sent: dict[int, str] = {}
        self._errors: list[BaseException] = []

    def send(self) -> None:
        """Send all parts, then have the server put them together. What fails is aborted, as far as that is possible."""
        self._upload_id = self._ask(lambda at: self._sdk.create_multipart_upload(**at, **self._extra))["UploadId"]
        try:
            self._send_parts()
            parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(self._sent.items())]
            self._ask(
                lambda at: self._sdk.complete_multipart_upload(
                    **at, UploadId=self._upload_id, MultipartUpload={"Parts": parts}
                )
            )
        except StoreError as error:
            with suppress(StoreError):
                self._ask(lambda at: self._sdk.abort_multipart_upload(**at, UploadId=self._upload_id))
            if isinstance(error, _NotThereError):  # somebody aborted it meanwhile
                raise StoreUnavailableError(error.message, next=error.next) from error
            raise

    def _send_parts(self) -> None:
        for number in range(1, -(-self._file.stat().st_size // self._size) + 1):
            self._left.put(number)
        senders = [threading.Thread(target=self._sender, name="part", daemon=True) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        if self._errors:
            raise self._errors[0]

    def _sender(self) -> None:
        try:
            with self._file.open("rb") as stream:
                while not self._errors:
                    number = self._left.get_nowait()
                    stream.seek((number - 1) * self._size)
                    self._sent[number] = self._ask(partial(self._put, number, stream.read(self._size)))["ETag"]
        except queue.Empty:
            return
        except BaseException as error:  # noqa: BLE001 - raised again where the parts are waited for
            self._errors.append(error)

    def _put(self, number: int, content: bytes, at: dict[str, str]) -> Any:
        digest = _base64(hashlib.md5(content, usedforsecurity=False).digest())
        where = {**at, "UploadId": self._upload_id, "PartNumber": number}
        return self._sdk.upload_part(**where, Body=content, ContentMD5=digest)


class _NotThereError(StoreError):
    pass


def client(options: StorageSection) -> Any:
    """Return an S3 client. It does not retry: `persist` does. StoreError: its endpoint is a metadata address."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": options.addressing},
        request_checksum_calculation=options.checksums,
        response_checksum_validation=options.checksums,
        max_pool_connections=32,
        tcp_keepalive=True,
        user_agent_extra=f"trmctl/{__version__}",
    )
    try:
        made = boto3.session.Session().client(
            "s3", endpoint_url=options.endpoint_url, region_name=options.region or _default_region(), config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"no S3 client can be made ({error})", next="check storage and the AWS_* settings") from error
    parts = urlsplit(made.meta.endpoint_url)
    if parts.username or parts.password:
        raise StoreError(
            f"the S3 endpoint on {parts.hostname} has a name or a password in its address",
            next="take it out of AWS_ENDPOINT_URL_S3 or the profile; give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if not options.allow_link_local:
        refuse_link_local(made.meta.endpoint_url)
    return made


def _default_region() -> str | None:
    """Return a region where none is configured: servers that are not AWS need a name, but not which."""
    return None if boto3.session.Session().region_name else "us-east-1"


def encryption(options: StorageSection) -> dict[str, str]:
    """Return the arguments that ask for server-side encryption."""
    wanted = {"ServerSideEncryption": options.sse, "SSEKMSKeyId": options.kms_key_id}
    return {name: value for name, value in wanted.items() if value is not None}


def download(url: str, target: Path) -> None:
    """Copy the object `s3://bucket/key` into the file `target`; endpoint and credentials are the SDK's.

    StoreError: it cannot be read.
    """
    parts = urlsplit(url)
    try:
        client(StorageSection()).download_file(parts.netloc, parts.path.lstrip("/"), str(target))
    except (BotoCoreError, ClientError, ValueError) as error:
        raise StoreError(
            f"{url}: cannot be read ({type(error).__name__}: {error})",
            next="check the address, AWS_ENDPOINT_URL and the credentials",
        ) from error


def etag_of(file: Path) -> str:
    """Return the ETag that S3 gives to `file` as `upload` sends it: its MD5, or that of the MD5s of its parts."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size < PART_SIZE:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        step = _part_size(file)
        parts = [hashlib.md5(part, usedforsecurity=False).digest() for part in iter(lambda: stream.read(step), b"")]
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


def _part_size(file: Path) -> int:
    return max(PART_SIZE, -(-file.stat().st_size // MOST_PARTS))


def _is_md5(etag: str) -> bool:
    return len(etag.partition("-")[0]) == 32


def _base64(content: bytes) -> str:
    return b64encode(content).decode()
