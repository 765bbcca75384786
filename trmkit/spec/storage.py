"""The `storage` section: where runs and built data sets live, here and in a store that outlives this machine."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from trmkit.spec.base import NonNegativeFloat, PositiveFloat, Section

BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?")


def _place(value: str) -> str:
    scheme = value.partition("://")[0] if "://" in value else ""
    if scheme and not BUCKET.fullmatch(value):
        raise ValueError(f"{value!r} is neither s3://<bucket>/<prefix> nor a folder")
    if scheme and any(part in ("", ".", "..") for part in value.removeprefix("s3://").rstrip("/").split("/")):
        raise ValueError(f"{value!r} has an empty part, '.' or '..' in it")
    if not value.strip():
        raise ValueError("is empty")
    return value


def _endpoint(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not http://<host> or https://<host>")
    if parts.username or parts.password:
        raise ValueError("holds a name or a password; credentials come from the environment, never from a run file")
    return value


class StorageSection(Section):
    """Where runs and built data sets live."""

    path: str = "runs"
    """Folder of the runs. One run lives at `<path>/<name>/<run id>/`."""

    data: str = "data"
    """Folder of the built data sets, shared by every run on this machine."""

    data_cache_gib: PositiveFloat | None = None
    """Most disk the built data sets in `data` may take; those not used for longest are removed. Null: no limit."""

    remote: Annotated[str, AfterValidator(_place)] | None = None
    """Store in which runs are published: `s3://bucket/prefix`, or a folder such as a mounted share. Null: none."""

    publish_data: bool = False
    """Publish built data sets in `remote` too. A whole one there, made from the same files, is always taken."""

    endpoint_url: Annotated[str, AfterValidator(_endpoint)] | None = None
    """Address of an S3 that is not AWS, as in `http://minio:9000`; null: what the SDK finds (`AWS_ENDPOINT_URL_S3`)."""

    region: str | None = None
    """Region of the bucket; null leaves it to the SDK (`AWS_REGION`)."""

    addressing: Literal["auto", "path", "virtual"] = "auto"
    """Whether the bucket is named in the path or in the host of a request; many S3 servers know only `path`."""

    checksums: Literal["when_required", "when_supported"] = "when_required"
    """When the SDK sends checksums of its own. Some S3 servers store `when_supported` ones inside the object."""

    sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    """Server-side encryption asked for with every object; null leaves it to the bucket."""

    kms_key_id: str | None = None
    """Key of `sse: aws:kms`; null takes the account's default key."""

    allow_link_local: bool = False
    """Allow an endpoint at a link-local or cloud-metadata address, where credentials are handed out."""

    patience_minutes: PositiveFloat = 10.0
    """How long the start of a run, its end, and a fetch wait for a store that does not answer. Training never waits."""

    stop_seconds: Annotated[NonNegativeFloat, Field(le=3600)] = 15.0
    """How long a run that was told to stop (SIGTERM) tries to publish its last checkpoint."""

    @model_validator(mode="after")
    def _keys_belong_together(self) -> "StorageSection":
        if self.kms_key_id is not None and not (self.sse or "").startswith("aws:kms"):
            raise ValueError("kms_key_id: needs sse: aws:kms")
        if self.publish_data and self.remote is None:
            raise ValueError("publish_data: needs remote")
        return self
