"""Objects against the operators' own definitions, strictly: a field they do not know is an error."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

FOLDER = os.environ.get("TRM_CRDS")
needs_crds = pytest.mark.skipif(FOLDER is None, reason="TRM_CRDS names no folder with the operators' definitions")


@cache
def definition(kind: str, release: str) -> Any:
    """Return the validator of a kind as `release`, a folder, defines it."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # some definitions have 3 MB
    for path in (Path(FOLDER or "") / release).glob(f"*_{kind.lower()}s.yaml"):
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
        schema = found["spec"]["versions"][-1]["schema"]["openAPIV3Schema"]
        return Draft202012Validator(strict(schema, top=True))
    raise AssertionError(f"{release} has no definition of {kind}")


def strict(schema: Any, *, top: bool = False) -> Any:
    """Return a schema that takes no unknown field, as `fieldValidation=Strict` does."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items() if key not in ("properties", "default")}
    if schema.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    if schema.get("format") in ("int32", "int64", "date-time"):
        found.pop("format")
    if "properties" in schema:
        found["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        if not open_ended:
            found["additionalProperties"] = False
    if top:
        found["properties"]["metadata"] = {"type": "object"}
    return found


def refusals(found: dict[str, Any], release: str) -> list[str]:
    """Return why a release would not take an object."""
    return [
        f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message[:300]}"
        for error in definition(found["kind"], release).iter_errors(found)
    ]
