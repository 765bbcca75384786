"""What every section of the run file has in common."""

import hashlib
import json
from collections.abc import Collection
from typing import Annotated, TypeVar

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

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        defer_build=True,
        protected_namespaces=(),
    )


def section_hash(*sections: Section, version: int = 1, without: Collection[str] = ()) -> str:
    """Return 12 hex digits that name the content of `sections`, but for the keys `without`.

    `version` is the format of what is built from them.
    """
    content = [version, *(section.model_dump(mode="json", exclude=set(without)) for section in sections)]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
