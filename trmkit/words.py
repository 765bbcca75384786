"""Numbers as people say them, the same wherever they are shown."""


def size(count: int) -> str:
    """Return bytes in words: `512 B`, `4.0 KiB`, `1.53 GiB`."""
    if count < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.2f} GiB"
