"""No request goes where machines hand out credentials."""

import pytest
from pydantic import ValidationError

from trmkit.errors import StoreError
from trmkit.spec.storage import StorageSection
from trmkit.store.address import is_forbidden
from trmkit.store.open import open_store

METADATA = [
    "http://169.254.169.254",
    "http://169.254.169.254:80/latest",
    "http://2852039166",
    "http://0xa9fea9fe",
    "http://0251.0376.0251.0376",
    "http://[fe80::1]",
    "http://[::ffff:169.254.169.254]",
    "http://[fd00:ec2::254]",
    "http://100.100.100.200",
    "http://168.63.129.16",
]


@pytest.mark.parametrize("url", METADATA)
def test_a_metadata_address_is_refused_however_it_is_written(url: str) -> None:
    with pytest.raises(StoreError, match="link-local or metadata"):
        open_store(StorageSection(remote="s3://bucket/x", endpoint_url=url))


def test_it_is_refused_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://169.254.169.254")
    with pytest.raises(StoreError, match="link-local or metadata"):
        open_store(StorageSection(remote="s3://bucket/x"))


def test_it_may_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    options = StorageSection(remote="s3://bucket/x", endpoint_url="http://169.254.7.7", allow_link_local=True)
    assert open_store(options).url == "s3://bucket/x"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.7", "192.168.1.1", "52.216.0.1", "::1", "2600::1"])
def test_ordinary_addresses_are_fine(address: str) -> None:
    assert not is_forbidden(address)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("remote", "http://host/bucket"),
        ("remote", "s3://"),
        ("remote", "s3://UPPER/x"),
        ("remote", "s3://bucket/a/../b"),
        ("remote", "s3://bucket//b"),
        ("remote", "file:///etc"),
        ("remote", ""),
        ("endpoint_url", "ftp://host"),
        ("endpoint_url", "host:9000"),
        ("endpoint_url", "http://user:secret@host"),
        ("kms_key_id", "key"),
        ("publish_data", True),
    ],
)
def test_a_wrong_setting_is_refused_by_the_run_file(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as error:
        StorageSection.model_validate({key: value})
    assert "secret" not in str(error.value).replace("user:secret@", "")
