"""The only place that imports boto3: files in a bucket."""

from pathlib import Path
from urllib.parse import urlsplit

from trmkit.errors import StoreError


def download(url: str, target: Path) -> None:
    """Copy the object `s3://bucket/key` into the file `target`.

    Endpoint and credentials come from the SDK's own chain (AWS_ENDPOINT_URL and so on). StoreError: it cannot be read.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    parts = urlsplit(url)
    try:
        boto3.client("s3").download_file(parts.netloc, parts.path.lstrip("/"), str(target))
    except (BotoCoreError, ClientError, ValueError) as error:
        raise StoreError(
            f"{url}: cannot be read ({error})", next="check the address, AWS_ENDPOINT_URL and the credentials"
        ) from error
