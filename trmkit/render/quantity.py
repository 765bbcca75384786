"""Kubernetes quantities as numbers."""

import re
from decimal import Decimal

SUFFIXES: dict[str, int | Decimal] = {
    "": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|[kMGTPE]i?|Ki)?")


def amount(quantity: str) -> Decimal:
    """Return a quantity such as `500m` or `16Gi` as a number. ValueError: it is none."""
    match = _QUANTITY.fullmatch(str(quantity))
    if match is None or (match[2] or "") not in SUFFIXES:
        raise ValueError(f"{quantity!r} is not a quantity such as 500m, 8 or 16Gi")
    return Decimal(match[1]) * SUFFIXES[match[2] or ""]
