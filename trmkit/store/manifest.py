"""The manifest of a folder that is never changed: its files with size and SHA-256. Written last, checked first.

A plain hash beside the files guards against damage, not against someone who may write there: what is read behind it is
still parsed as hostile.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trmkit.store.base import SMALL
from trmkit.store.local import sha256

FORMAT = 1
MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_FILES = 100_000
MOST_BYTES = 1 << 44


@dataclass(frozen=True)
class Member:
    """A file of the folder."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a folder has to hold."""

    step: int
    files: Mapping[str, Member]
    about: Mapping[str, Any]
    """Everything else it says: where the files come from."""
    sha256: str
    """Of the manifest itself."""

    @property
    def bytes(self) -> int:
        """Bytes of all files together."""
        return sum(member.bytes for member in self.files.values())


def write(step: int, files: Mapping[str, Member], about: Mapping[str, Any]) -> str:
    """Return the text of a manifest."""
    listed = {name: {"bytes": member.bytes, "sha256": member.sha256} for name, member in sorted(files.items())}
    return json.dumps({"format": FORMAT, "step": step, **about, "files": listed}, indent=1)


def parse(content: bytes) -> Manifest:
    """Return what a manifest says. ValueError, with the reason: it is none, or lists what is no plain file."""
    if len(content) > SMALL:
        raise ValueError(f"the manifest has more than {SMALL:,} bytes")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the manifest cannot be read ({error})") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"the manifest is not of format {FORMAT}")
    files, step = found.pop("files", None), found.pop("step", None)
    if type(step) is not int or not 0 <= step < 1 << 53 or not isinstance(files, dict) or len(files) > MOST_FILES:
        raise ValueError("the manifest does not list the files of a step")
    known = {name: member(name, entry) for name, entry in files.items()}
    if any(name.partition("/")[0] in known for name in known if "/" in name):
        raise ValueError("the manifest lists something that is both a file and a folder")
    return Manifest(step, known, found, _hash(content))


def member(name: str, entry: Any) -> Member:
    """Return what a manifest says of the file `name`. ValueError: it is no plain file, or not described."""
    parts = name.split("/")
    if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts) or not isinstance(entry, dict):
        raise ValueError("the manifest lists something that is no plain file")
    size, digest = entry.get("bytes"), entry.get("sha256")
    if type(size) is not int or not 0 <= size <= MOST_BYTES:
        raise ValueError(f"the manifest gives {name} an impossible size")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ValueError(f"the manifest gives {name} no SHA-256")
    return Member(size, digest)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def members(folder: Path) -> dict[str, Member]:
    """Return every file in `folder` and in its folders, as a manifest lists them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): Member(path.stat().st_size, sha256(path)) for path in files}


def read(folder: Path) -> Manifest:
    """Return the manifest of a folder on this machine. ValueError, with the reason: there is none, or it is wrong."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            content = file.read(SMALL + 1)
    except FileNotFoundError:
        raise ValueError("there is no manifest") from None
    except OSError as error:
        raise ValueError(f"the manifest cannot be read ({error.strerror})") from error
    return parse(content)


def check(folder: Path, files: Mapping[str, Member]) -> None:
    """Compare every byte in `folder` with `files`. ValueError, with the reason: one is missing or differs."""
    for name, expected in files.items():
        check_file(folder / name, name, expected)


def check_file(path: Path, name: str, expected: Member) -> None:
    """Compare one file. ValueError, with the reason: it is missing, a link, or differs."""
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{name} is missing")
    if path.stat().st_size != expected.bytes:
        raise ValueError(f"{name} has {path.stat().st_size} bytes instead of {expected.bytes}")
    if sha256(path) != expected.sha256:
        raise ValueError(f"{name} has another SHA-256 than its manifest")
