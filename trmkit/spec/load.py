"""Run file text to `RunFile` and back. Whatever is wrong is said once, with its line, all of it together."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from pydantic import ValidationError

from trmkit.errors import SpecError
from trmkit.spec.overrides import apply
from trmkit.spec.problems import problems
from trmkit.spec.run import RunFile
from trmkit.spec.yaml_read import MAX_BYTES, parse, plain
from trmkit.spec.yaml_write import write

SHOWN = 50


def load(path: str | PathLike[str], overrides: Sequence[str] = ()) -> RunFile:
    """Read the run file at `path`, changed by `overrides` (each as in `--set train.lr=3e-4`). Raises SpecError."""
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpecError(f"{name}: there is no such file", next="`trmctl init` writes a first run file") from None
    except (OSError, ValueError) as error:
        raise SpecError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return loads(decode(raw, name), name, overrides)


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
    """Read a run file's text; errors call it `name`. Raises SpecError."""
    root = parse(text, name)
    if root.value is None:
        root.value = {}
    apply(root, overrides)
    try:
        return RunFile.model_validate(plain(root))
    except ValidationError as error:
        count, found = problems(error, root, SHOWN)
    raise SpecError(
        together(name, count, found), next="`trmctl explain` lists the sections, `trmctl explain SECTION` its keys"
    )


def together(name: str, count: int, found: list[str]) -> str:
    """Return one message for everything that is wrong."""
    if count == 1:
        return found[0]
    rest = [f"and {count - len(found)} more"] if count > len(found) else []
    return "\n".join([f"{name}: {count} things are wrong", *(f"  {line}" for line in found + rest)])


def dump(run: RunFile) -> str:
    """Return the resolved run file: every key, in the order of the sections. `loads` gives back an equal RunFile."""
    return write(run.model_dump(mode="json"))
