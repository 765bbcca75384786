"""What the classes of the sections say about the tree of keys: which section is where, and the choices of a union."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args, get_origin

from trmkit.spec.base import Section


def sections(annotation: Any) -> tuple[type[Section], ...]:
    """Return the sections an annotation allows: one for a section, several for a choice, none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return (annotation,)
    return tuple(section for part in get_args(annotation) for section in sections(part))


def children(section: type[Section], key: str) -> tuple[type[Section], ...]:
    """Return the sections that may stand under `key`."""
    field = section.model_fields.get(key)
    return () if field is None else sections(field.annotation)


def choice(section: type[Section]) -> tuple[str, str]:
    """Return the key that chooses this section among others, and its value: `("source", "arc")`."""
    for name, field in section.model_fields.items():
        values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        if len(values) == 1 and field.is_required():
            return name, str(values[0])
    return "", ""


def key_paths(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every key, each once, whatever a choice may be."""
    seen = set()
    for name in section.model_fields:
        yield prefix + name
        for child in children(section, name):
            for path in key_paths(child, f"{prefix}{name}."):
                if path not in seen:
                    seen.add(path)
                    yield path


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return `; did you mean …?` when `word` resembles one of `known`, else nothing."""
    if not isinstance(word, str) or len(word) > 80:
        return ""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
