"""Times that have passed, and times to wait, as people write them."""

import re

import click

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration(text: str) -> float:
    """Return `90s`, `30m`, `2h` or `3d` in seconds; a bare number is seconds. click.BadParameter: it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not match:
        raise click.BadParameter(f"{text!r} is not a time such as 90s, 30m, 2h or 3d")
    return float(match[1]) * UNITS[match[2] or "s"]


def age(seconds: float) -> str:
    """Return a time that has passed as people say it."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"
