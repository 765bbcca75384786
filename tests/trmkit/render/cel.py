"""CEL rules of a structural schema, compiled with its types and evaluated by the C++ implementation of CEL.

An API server gives `self` the types of the schema, so that a rule about a key that is not there, or one that compares a
whole number with a fraction, is refused when the definition is applied. Here the schema becomes messages of protobuf,
which CEL checks in the same way.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.trmkit.render.structural import Schema, nodes

cel = pytest.importorskip("cel_expr_python.cel", reason="cel-expr-python is not installed: it evaluates CEL")
from google.protobuf import descriptor_pb2, descriptor_pool, struct_pb2  # noqa: E402

FIELD = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "string": FIELD.TYPE_STRING,
    "integer": FIELD.TYPE_INT64,
    "number": FIELD.TYPE_DOUBLE,
    "boolean": FIELD.TYPE_BOOL,
}
PACKAGE, ANYTHING = "trm", ".google.protobuf.Value"


def message_name(path: str) -> str:
    """Return what the message of the object at this place is called."""
    return "Root" + path.replace(".", "_").replace("[]", "_item").replace("{}", "_value")


def messages(schema: Schema) -> descriptor_pb2.FileDescriptorProto:
    """Return a message for every object with known keys."""
    file = descriptor_pb2.FileDescriptorProto(name="trm.proto", package=PACKAGE, syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    for path, node in nodes(schema):
        if "properties" not in node:
            continue
        made = file.message_type.add(name=message_name(path))
        for number, (name, below) in enumerate(node["properties"].items(), 1):
            place, many = f"{path}.{name}", below.get("type") == "array"
            inner, where = (below["items"], f"{place}[]") if many else (below, place)
            label = FIELD.LABEL_REPEATED if many else FIELD.LABEL_OPTIONAL
            if place == ".metadata":
                inner = {"properties": {}}
            if "properties" in inner:
                kind = {"type": FIELD.TYPE_MESSAGE, "type_name": f".{PACKAGE}.{message_name(where)}"}
            elif inner.get("type") in SCALARS:
                kind = {"type": SCALARS[inner["type"]]}
            else:
                kind = {"type": FIELD.TYPE_MESSAGE, "type_name": ANYTHING}
            made.field.add(name=name, number=number, label=label, **kind)
    meta = file.message_type.add(name=message_name(".metadata"))
    meta.field.add(name="name", number=1, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
    return file


def type_errors(schema: Schema) -> list[str]:
    """Return the rules that an API server would refuse, with what CEL says."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(messages(schema))
    found = []
    for path, node in nodes(schema):
        rules = node.get("x-kubernetes-validations", ())
        if not rules:
            continue
        variables = {"self": cel.Type(f"{PACKAGE}.{message_name(path)}")}
        typed = cel.NewEnv(descriptor_pool=pool, variables=variables)
        for rule in rules:
            try:
                kind = str(typed.compile(rule["rule"]).return_type())
            except RuntimeError as error:
                found.append(f"{path}: {rule['rule']}: {error}")
            else:
                found += [f"{path}: {rule['rule']} is {kind}"] if kind != "BOOL" else []
    return found


@cache
def compiled(rule: str) -> Any:
    """Return a rule that can be evaluated."""
    return cel.NewEnv(variables={"self": cel.Type.DYN}).compile(rule)


def broken(schema: Schema, value: Any, path: str = "") -> Iterator[str]:
    """Yield the message of every rule that does not hold of a value, and of what is in it, with its place."""
    if value is None:
        return
    for rule in schema.get("x-kubernetes-validations", ()):
        answer = compiled(rule["rule"]).eval(data={"self": seen(schema, value)}).value()
        if answer is not True:
            said = rule["message"] if answer is False else f"{answer}: {rule['rule']}"
            yield f"{path}{rule.get('fieldPath', '')}: {said}"
    for name, below in schema.get("properties", {}).items():
        if isinstance(value, dict) and name in value:
            yield from broken(below, value[name], f"{path}.{name}")
    if "items" in schema and isinstance(value, list):
        for number, one in enumerate(value):
            yield from broken(schema["items"], one, f"{path}[{number}]")


def seen(schema: Schema, value: Any) -> Any:
    """Return a value as a rule sees it: a key that is null is not there, and a number is a fraction."""
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return {key: seen(known[key], below) for key, below in value.items() if below is not None and key in known} or {
            "": ""
        }
    if schema is not None and schema.get("type") == "object" and "properties" not in schema:
        return value or {"": ""}
    if isinstance(value, list):
        return [seen(schema.get("items", {}), one) for one in value]
    return float(value) if schema.get("type") == "number" else value
