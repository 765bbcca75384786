"""Writes plain data as YAML that `yaml_read` reads back to equal data."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from trmkit.spec.yaml_read import resolve

PLAIN = re.compile(r"(\.{0,2}/|[A-Za-z_])[-A-Za-z0-9_./@+]*(:[-A-Za-z0-9_./@+]+)*")
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
BOOLEANS_OF_YAML_1_1 = frozenset(["y", "n", "yes", "no", "on", "off"])


def write(data: dict[str, Any]) -> str:
    """Return `data` as YAML text: block mappings, and lists of scalars on one line."""
    out: list[str] = []
    block(data, "", out)
    return "\n".join(out or ["{}"]) + "\n"


def block(data: dict[str, Any], indent: str, out: list[str]) -> None:
    """Append the lines of a mapping. Written for a thousand run files at once: the commonest case comes first."""
    for key, value in data.items():
        kind = type(value)
        if kind is not dict and kind is not list:
            out.append(f"{indent}{text(key)}: {scalar(value)}")
        elif kind is dict and value:
            out.append(f"{indent}{text(key)}:")
            block(value, indent + "  ", out)
        elif kind is list and any(type(item) in (dict, list) for item in value):
            out.append(f"{indent}{text(key)}:")
            out += [f"{indent}- {flow(item)}" for item in value]
        else:
            out.append(f"{indent}{text(key)}: {flow(value)}")


def flow(value: Any) -> str:
    """Return a value on one line."""
    kind = type(value)
    if kind is dict:
        return "{" + ", ".join([f"{scalar(key)}: {flow(item)}" for key, item in value.items()]) + "}"
    if kind is list:
        return "[" + ", ".join([flow(item) for item in value]) + "]"
    return scalar(value)


def scalar(value: str | int | float | bool | None) -> str:
    """Return a scalar; text is quoted where it could be taken for something else, also by a YAML 1.1 reader."""
    return SCALARS[type(value)](value)


@lru_cache(maxsize=4096)
def text(value: str) -> str:
    """Return text, quoted where needed; the same words come again and again."""
    return value if is_plain(value) else quote(value)


def fraction(value: float) -> str:
    """Return a number that YAML 1.1 readers also take for a number: `1.0e-05`, not `1e-05`."""
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


SCALARS: dict[type, Callable[[Any], str]] = {
    str: text,
    int: repr,
    float: fraction,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): lambda _: "null",
}


def is_plain(text: str) -> bool:
    """Say whether text can stand without quotes."""
    if not PLAIN.fullmatch(text) or text.lower() in BOOLEANS_OF_YAML_1_1:
        return False
    try:
        return isinstance(resolve(text), str)
    except OverflowError:
        return False


def quote(text: str) -> str:
    """Return text in double quotes."""
    return '"' + "".join(ESCAPES.get(char) or escape(char) for char in text) + '"'


def escape(char: str) -> str:
    """Return one character, escaped when it cannot be seen."""
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 1 << 16 else f"\\U{ord(char):08x}"
