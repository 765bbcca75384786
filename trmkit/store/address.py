"""Refuses addresses at which machines hand out credentials, before anything is sent there."""

import ipaddress
import socket
from urllib.parse import urlsplit

from trmkit.errors import StoreError

METADATA = ("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254")
"""Metadata services that are not link-local: Alibaba, Azure, AWS and Google over IPv6."""


def refuse_link_local(url: str) -> None:
    """StoreError: the host of `url` is, or its name stands for, a link-local or cloud-metadata address."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return  # no such name now: connecting will say so
    for entry in found:
        if is_forbidden(str(entry[4][0])):
            raise StoreError(
                f"{parts.scheme}://{parts.hostname}: is a link-local or metadata address ({entry[4][0]})",
                next="give the address of an S3 server, or set storage.allow_link_local if this really is one",
            )


def is_forbidden(address: str) -> bool:
    """Say whether an IP address is link-local or a metadata service."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_link_local or str(ip) in METADATA
