"""What an API server holds a definition's schema to before it serves it, and what it says to an object under it."""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
KNOWN = {
    "description", "type", "format", "pattern", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "enum", "nullable", "properties", "required", "items",
    "additionalProperties", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
}  # fmt: skip
"""Of all that Kubernetes knows, what is used here: nothing that refers, combines or forbids."""
TYPES = {"object", "array", "string", "integer", "number", "boolean"}


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield every schema in a schema, with its place."""
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from nodes(below, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def violations(schema: Schema) -> list[str]:
    """Return what is against the rules of structural schemas (KEP 1693 and the validation of apiextensions/v1)."""
    return [f"{path}: {wrong}" for path, node in nodes(schema) for wrong in of_node(path, node)]


def of_node(path: str, node: Schema) -> Iterator[str]:
    """Yield what is wrong with one schema by itself."""
    yield from (f"{key} is not known" for key in set(node) - KNOWN)
    either, anything = node.get("x-kubernetes-int-or-string"), node.get("x-kubernetes-preserve-unknown-fields")
    if either or anything:
        if "type" in node:
            yield "a type beside an extension that stands for one"
    elif node.get("type") not in TYPES:
        yield f"type {node.get('type')!r}"
    if "properties" in node and "additionalProperties" in node:
        yield "properties and additionalProperties"
    if node.get("type") == "array" and "items" not in node:
        yield "a list of nobody knows what"
    if node.get("type") == "object" and path != ".metadata" and not {"properties", "additionalProperties"} & set(node):
        yield "an object whose keys would all be dropped"
    if set(node.get("required", ())) - set(node.get("properties", ())):
        yield "what is required is not there"
    if node.get("nullable") and "enum" in node:
        yield "null would not be one of the enum"
    for key in ("exclusiveMinimum", "exclusiveMaximum"):
        if key in node and node[key] is not True:
            yield f"{key} is no boolean, as in OpenAPI v3.0"
    if path and "description" not in node and not path.endswith(("[]", "{}", ".metadata")):
        yield "no description"
    if node.get("x-kubernetes-list-type") == "map":
        keys = set(node["x-kubernetes-list-map-keys"])
        if not keys <= set(node["items"].get("required", ())):
            yield "keys of a list that are not required"


def translated(schema: Schema, *, strict: bool = True) -> Schema:
    """Return the schema as JSON schema has it; `strict` takes no unknown key, as `fieldValidation=Strict` does."""
    found = {
        key: schema[key]
        for key in ("type", "pattern", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "enum",
                    "required")
        if key in schema
    }  # fmt: skip
    for key, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if schema.get(key):
            found[key] = found.pop(bound)
    if schema.get("x-kubernetes-int-or-string"):
        found["type"] = ["integer", "string"]
    if "properties" in schema:
        found["properties"] = {name: translated(below, strict=strict) for name, below in schema["properties"].items()}
        if strict:
            found["additionalProperties"] = False
    if "items" in schema:
        found["items"] = translated(schema["items"], strict=strict)
    if "additionalProperties" in schema:
        found["additionalProperties"] = translated(schema["additionalProperties"], strict=strict)
    if schema.get("nullable") and "type" in found:
        kinds = found["type"] if isinstance(found["type"], list) else [found["type"]]
        found["type"] = [*kinds, "null"]
    return found


def later_refuses(old: Schema, new: Schema, path: str = "") -> Iterator[str]:
    """Yield what an object that the older schema took may be refused for, or lose, under the newer one."""
    if old.get("type") != new.get("type"):
        yield f"{path}: {old.get('type')} became {new.get('type')}"
        return
    yield from (f"{path}: {key} is now required" for key in set(new.get("required", ())) - set(old.get("required", ())))
    if "enum" in new and not set(map(str, old.get("enum", ["anything"]))) <= set(map(str, new["enum"])):
        yield f"{path}: enum is narrower"
    if old.get("nullable") and not new.get("nullable"):
        yield f"{path}: may no longer be null"
    for key in ("minimum", "minLength", "minItems"):
        if new.get(key, float("-inf")) > old.get(key, float("-inf")):
            yield f"{path}: {key} is higher"
    for key in ("maximum", "maxLength", "maxItems"):
        if new.get(key, float("inf")) < old.get(key, float("inf")):
            yield f"{path}: {key} is lower"
    if new.get("pattern", old.get("pattern")) != old.get("pattern"):
        yield f"{path}: pattern is another"
    for name, below in old.get("properties", {}).items():
        if name not in new.get("properties", {}):
            yield f"{path}.{name}: is gone"
        else:
            yield from later_refuses(below, new["properties"][name], f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in old:
            yield from later_refuses(old[key], new.get(key, {}), f"{path}.{key}")
