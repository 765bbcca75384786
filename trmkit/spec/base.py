"""What every section of the run file has in common."""

import hashlib
import json
from collections.abc import Collection
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict

T = TypeVar("T")

Sequence = Annotated[tuple[T, ...], Strict(False)]
"""A YAML list, frozen. Only the container is converted; the items keep their strict types."""

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the run file: frozen, no unknown keys, no silent conversions, a docstring under every field."""

    later: ClassVar[frozenset[str]] = frozenset()
    """Keys that came after names were given: at their default they are no part of a name, so that names stay."""

    silent: ClassVar[frozenset[str]] = frozenset()
    """Keys that change how something is done and not what comes of it: never part of a name."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        defer_build=True,
        protected_namespaces=(),
    )


def section_hash(*sections: Section, version: int = 1, without: Collection[str] = ()) -> str:
    """Return 12 hex digits that name the content of `sections`, but for the keys `without` and those left unsaid.

    `version` is the format of what is built from them.
    """
    content = [version, *(_said(section, without) for section in sections)]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _said(section: Section, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the content of a section without its `silent` keys, and its `later` ones that are at their default."""
    kind = type(section)
    default = {name for name in kind.later if getattr(section, name) == kind.model_fields[name].default}
    found: dict[str, Any] = section.model_dump(mode="json", exclude=default | kind.silent | set(without))
    for name in found:
        value = getattr(section, name)
        if isinstance(value, Section):
            found[name] = _said(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            found[name] = [_said(one) for one in value]
    return found
