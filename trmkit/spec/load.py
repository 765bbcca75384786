"""Text of a run file, or of a TrmRun, to `RunFile` and back. What is wrong is said once, with its line, all of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trmkit.errors import SpecError
from trmkit.spec.overrides import apply
from trmkit.spec.problems import problems
from trmkit.spec.run import RunFile
from trmkit.spec.trmrun import TrmRun
from trmkit.spec.yaml_read import MAX_BYTES, Node, parse, plain
from trmkit.spec.yaml_write import write

SHOWN = 50


@dataclass(frozen=True)
class Said:
    """What a file says: a run file, or a TrmRun with one in it."""

    run: RunFile
    given: dict[str, Any]
    """Keys of the run file that are written, in their order."""
    around: dict[str, Any] | None = None
    """The whole TrmRun as it is written; None: the file is a run file."""


def load(path: str | PathLike[str], overrides: Sequence[str] = ()) -> RunFile:
    """Read the run file at `path`, changed by `overrides` (each as in `--set train.lr=3e-4`). Raises SpecError."""
    return load_said(path, overrides).run


def load_said(path: str | PathLike[str], overrides: Sequence[str] = ()) -> Said:
    """Read the file at `path`, which is a run file or a TrmRun. Raises SpecError."""
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpecError(f"{name}: there is no such file", next="`trmctl init` writes a first run file") from None
    except (OSError, ValueError) as error:
        raise SpecError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return read(decode(raw, name), name, overrides)


def decode(raw: bytes, name: str) -> str:
    """Return the text of a file."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(raw) > MAX_BYTES:
            raise SpecError(f"{name}: larger than 1 MiB, which no run file needs to be") from None
        line = raw.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{name}:{line}: not UTF-8 text", next="save the file as UTF-8") from None


def loads(text: str, name: str = "run file", overrides: Sequence[str] = ()) -> RunFile:
    """Read a run file's text, or that of a TrmRun; errors call it `name`. Raises SpecError."""
    return read(text, name, overrides).run


def read(text: str, name: str, overrides: Sequence[str] = ()) -> Said:
    """Read a file's text; `overrides` are changes to the run file in it. Raises SpecError."""
    root = parse(text, name)
    if root.value is None:
        root.value = {}
    whole = isinstance(root.value, dict) and "apiVersion" in root.value
    apply(down(root, "spec", "run") if whole else root, overrides)
    given, top = plain(root), TrmRun if whole else RunFile
    try:
        found = top.model_validate(given)
    except ValidationError as error:
        count, wrong = problems(error, root, SHOWN, top)
    else:
        if isinstance(found, TrmRun):
            return Said(found.spec.run, given["spec"]["run"], given)
        return Said(found, given)
    raise SpecError(
        together(name, count, wrong), next="`trmctl explain` lists the sections, `trmctl explain SECTION` its keys"
    )


def down(root: Node, *keys: str) -> Node:
    """Return what is below these keys; where there is nothing, something that is not looked at again."""
    for key in keys:
        below = root.value.get(key) if isinstance(root.value, dict) else None
        root = below if below is not None and isinstance(below.value, dict) else Node({}, root.place)
    return root


def together(name: str, count: int, found: list[str]) -> str:
    """Return one message for everything that is wrong."""
    if count == 1:
        return found[0]
    rest = [f"and {count - len(found)} more"] if count > len(found) else []
    return "\n".join([f"{name}: {count} things are wrong", *(f"  {line}" for line in found + rest)])


def dump(run: RunFile) -> str:
    """Return the resolved run file: every key, in the order of the sections. `loads` gives back an equal RunFile."""
    return write(run.model_dump(mode="json"))
