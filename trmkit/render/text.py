"""Kubernetes objects as YAML text in the layout of kubectl: blocks, and texts of several lines as they are.

Written for a thousand objects at once: it appends to one list, and every word is quoted once.
"""

from collections.abc import Iterable
from typing import Any

from trmkit.spec.yaml_write import scalar, text


def write_all(objects: Iterable[dict[str, Any]]) -> str:
    """Return objects as one YAML stream."""
    out: list[str] = []
    for number, found in enumerate(objects):
        if number:
            out.append("---")
        mapping(found, "", "", out)
    return "\n".join(out) + "\n"


def mapping(data: dict[str, Any], first: str, indent: str, out: list[str]) -> None:
    """Append the lines of a mapping; the first one begins with `first`, the others with `indent`."""
    lead = first
    for key, value in data.items():
        head = f"{lead}{text(key)}:"
        lead = indent
        kind = type(value)
        if kind is dict and value:
            out.append(head)
            mapping(value, indent + "  ", indent + "  ", out)
        elif kind is list and value:
            out.append(head)
            sequence(value, indent, out)
        elif kind is str and value.endswith("\n") and literal(value):
            out.append(f"{head} |\n{indent}  " + value[:-1].replace("\n", f"\n{indent}  "))
        else:
            out.append(f"{head} {single(value)}")


def sequence(items: list[Any], indent: str, out: list[str]) -> None:
    """Append the items of a list."""
    for item in items:
        if type(item) is dict and item:
            mapping(item, f"{indent}- ", indent + "  ", out)
        else:
            out.append(f"{indent}- {single(item)}")


def literal(value: str) -> bool:
    """Say whether a text that ends a line can stand as a block as it is."""
    return value[0] not in " \n" and "\n\n" not in value and value.replace("\n", "").isprintable()


def single(value: Any) -> str:
    """Return what fits on one line: a scalar, or something empty."""
    if type(value) in (dict, list):
        return "{}" if type(value) is dict else "[]"
    return scalar(value)
