"""What a step tells the next ones: small files, one for each output. Needs no Hera."""

from collections.abc import Mapping
from pathlib import Path

OUTPUTS = "/tmp/outputs"
"""Folder in a step's pod."""


def leave(values: Mapping[str, object], folder: str = OUTPUTS) -> None:
    """Write a file for each value."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (place / name).write_text(str(value), encoding="utf-8")
