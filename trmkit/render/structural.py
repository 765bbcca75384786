"""A pydantic schema as Kubernetes wants it of a custom resource: a *structural* schema of OpenAPI v3.0, with CEL rules.

Every value has one type, nothing refers to anything else, and a choice among sections is one object with the keys of
all of them; rules then say which go together. Unknown keys are not forbidden here: the API server drops them, and says
so to who asks it to be strict, as kubectl does. Defaults are said in words and not filled in: they would count as given
by the user, and what is there would no longer be what was applied.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trmkit.spec.problems import alternatives
from trmkit.spec.yaml_write import flow

Schema = dict[str, Any]
KEPT = (
    "description", "type", "format", "pattern", "minLength", "maxLength", "minItems", "maxItems",
    "minimum", "maximum", "enum", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
)  # fmt: skip
"""What means the same in both, and stays."""
INT_OR_STRING = {"x-kubernetes-int-or-string": True}
ANYTHING = {"x-kubernetes-preserve-unknown-fields": True}


@dataclass(frozen=True)
class Rule:
    """Something that must hold of a section, in CEL with `self` for the section."""

    holds: str
    message: str
    field: str = ""
    """The key that is to be changed; empty: no one of them."""

    def written(self) -> Schema:
        """Return the rule as Kubernetes writes it."""
        place = {"fieldPath": f".{self.field}"} if self.field else {}
        return {"rule": self.holds, "message": self.message, **place}


@dataclass(frozen=True)
class Structural:
    """What it takes to turn a pydantic schema into a structural one."""

    definitions: Mapping[str, Schema]
    """Name of a section's class -> its schema."""

    rules: Callable[[str], list[Rule]]
    """Name of a section's class -> what must hold of it."""

    longest: Mapping[str, int]
    """Key of a list -> most entries it may have, without which an API server finds a rule about them too dear."""

    widest: Mapping[str, int]
    """Key of a text, or of a list of texts -> most characters, for the same reason."""

    def of(self, schema: Schema, key: str = "") -> Schema:
        """Return the structural schema of a value, `key` being what it stands under."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            about = {field: value for field, value in schema.items() if field != "$ref"}
            found = self.of({**self.definitions[name], **about}, key)
            return with_rules(found, self.rules(name))
        if "anyOf" in schema:
            return self.choice(schema, key)
        if "oneOf" in schema:
            return self.union(schema)
        found = {field: schema[field] for field in KEPT if field in schema} | limits(schema)
        if "description" in found and schema.get("default", {}) != {}:
            found["description"] += f" [default: {flow(schema['default'])}]"
        if "const" in schema:
            found["enum"] = [schema["const"]]
        if schema.get("type") == "integer":
            found["format"] = "int64"
        if schema.get("type") == "string" and key in self.widest:
            found.setdefault("maxLength", self.widest[key])
        if "items" in schema:
            found["items"] = self.of(schema["items"], key)
            if key in self.longest:
                found.setdefault("maxItems", self.longest[key])
        if "properties" in schema:
            found["properties"] = {name: self.of(below, name) for name, below in schema["properties"].items()}
            found |= {"required": schema["required"]} if schema.get("required") else {}
        elif schema.get("type") == "object":
            found["additionalProperties"] = self.of(values(schema))
        return found

    def choice(self, schema: Schema, key: str) -> Schema:
        """Return the schema of a value that may be null, or of several types."""
        about = {field: value for field, value in schema.items() if field != "anyOf"}
        parts = flat(schema["anyOf"])
        nullable = {"type": "null"} in parts
        parts = [part for part in parts if part != {"type": "null"}]
        kinds = {part.get("type") for part in parts}
        if len(parts) == 1:
            found = self.of({**parts[0], **about}, key)
        elif kinds == {"string", "number"}:
            text = next(part for part in parts if part["type"] == "string")
            found = {**self.of(about), "pattern": text["pattern"], "minimum": 0, **INT_OR_STRING}
        elif kinds == {"boolean", "string"}:
            words = [part["const"] for part in parts if "const" in part]
            found = {**self.of(about), "enum": [True, False, *words], **ANYTHING}
        else:
            raise ValueError(f"{key}: no structural schema has a value of the types {kinds}")
        if not nullable:
            return found
        if "enum" in found:  # an API server holds null, too, to be one of the enum
            found["pattern"] = f"^({'|'.join(map(re.escape, found.pop('enum')))})$"
        return {**found, "nullable": True}

    def union(self, schema: Schema) -> Schema:
        """Return one object for a choice among sections, with rules that say which keys go together."""
        chooser = schema["discriminator"]["propertyName"]
        names = {value: ref.rpartition("/")[2] for value, ref in schema["discriminator"]["mapping"].items()}
        members = {value: self.of(self.definitions[name]) for value, name in names.items()}
        keys = list(dict.fromkeys(key for member in members.values() for key in member["properties"]))
        merged = {
            key: together(
                {value: one["properties"][key] for value, one in members.items() if key in one["properties"]},
                len(members),
            )
            for key in keys
            if key != chooser
        }
        about = next(iter(members.values()))["properties"][chooser]["description"]
        choosing = {"description": about, "type": "string", "enum": list(members)}
        common = [key for key in keys if all(key in member.get("required", ()) for member in members.values())]
        rules = belonging(chooser, members) + [
            rule for value, name in names.items() for rule in guarded(self.rules(name), chooser, value)
        ]
        found = {key: schema[key] for key in ("description",) if key in schema}
        whole = {"type": "object", "properties": {chooser: choosing, **merged}, "required": common}
        return with_rules({**found, **whole}, rules)


def with_rules(schema: Schema, rules: list[Rule]) -> Schema:
    """Return a schema with rules added to those it has."""
    if not rules:
        return schema
    known = schema.get("x-kubernetes-validations", [])
    return {**schema, "x-kubernetes-validations": [*known, *(rule.written() for rule in rules)]}


def guarded(rules: list[Rule], chooser: str, value: str) -> list[Rule]:
    """Return rules that hold of one choice as rules of them all."""
    return [Rule(f"self.{chooser} != '{value}' || ({rule.holds})", rule.message, rule.field) for rule in rules]


def belonging(chooser: str, members: Mapping[str, Schema]) -> list[Rule]:
    """Return the rules that keep keys to the choices that have them, and choices to the keys that they need."""
    found = []
    keys = dict.fromkeys(key for member in members.values() for key in member["properties"])
    for key in keys:
        owners = [value for value, member in members.items() if key in member["properties"]]
        if len(owners) < len(members):
            those = ", ".join(f"'{owner}'" for owner in owners)
            found.append(
                Rule(f"!has(self.{key}) || self.{chooser} in [{those}]",
                     f"{key} is a key of {chooser} {alternatives(owners)} alone", key)
            )  # fmt: skip
        needing = [value for value in owners if key in members[value].get("required", ())]
        found += [
            Rule(f"self.{chooser} != '{value}' || has(self.{key})", f"{key} is missing, which {chooser} {value} needs")
            for value in (needing if len(needing) < len(members) else ())
        ]
    return found


def together(owners: Mapping[str, Schema], count: int) -> Schema:
    """Return the schema of a key of several sections, by the choice that has it; `count` of all choices.

    What they allow differently is left to rules. ValueError: they differ in type.
    """
    texts: dict[str, list[str]] = {}
    for value, one in owners.items():
        texts.setdefault(one["description"], []).append(value)
    parts = [f"{', '.join(which)}: {text}" if len(which) < count else text for text, which in texts.items()]
    first, *rest = [{key: value for key, value in one.items() if key != "description"} for one in owners.values()]
    for other in rest:
        if first.get("type") != other.get("type"):
            raise ValueError(f"a key has two types: {first} and {other}")
        nullable = {"nullable": True} if first.get("nullable") or other.get("nullable") else {}
        first = {key: value for key, value in first.items() if other.get(key) == value} | nullable
    return {"description": " ".join(parts), **first}


def limits(schema: Schema) -> Schema:
    """Return the limits that OpenAPI v3.0 writes otherwise: a limit, and that it is not reached."""
    found: Schema = {}
    for name, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if name in schema:
            found |= {bound: schema[name], name: True}
    return found


def values(schema: Schema) -> Schema:
    """Return the schema of a map's values. What its keys may be, no structural schema can say."""
    patterns: dict[str, Schema] = schema.get("patternProperties") or {"": schema["additionalProperties"]}
    return next(iter(patterns.values()))


def flat(parts: list[Schema]) -> list[Schema]:
    """Return the parts of a choice with those of choices in it."""
    return [one for part in parts for one in (flat(part["anyOf"]) if "anyOf" in part else [part])]
