"""What the sections say about themselves: what `trmctl explain` and the reference page show, and the JSON schema."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trmkit.errors import SpecError
from trmkit.spec.base import Section
from trmkit.spec.documented import documentation
from trmkit.spec.run import RunFile
from trmkit.spec.tree import children, choice, did_you_mean
from trmkit.spec.trmrun import TrmRun
from trmkit.spec.yaml_write import flow


@dataclass(frozen=True)
class Key:
    """One key of the run file."""

    path: str
    when: str
    """The choice that makes the key possible, as in `source: arc`, or nothing."""
    type: str
    default: str | None
    """As it would be written; None: the key must be given."""
    doc: str


@dataclass(frozen=True)
class Page:
    """One section of the run file; several pages where a key such as `data.source` chooses among sections."""

    path: str
    when: str
    """What chooses this section, as in `source: arc`, or nothing."""
    doc: str
    keys: tuple[Key, ...]


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a run file."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    found = RunFile.model_json_schema()
    describe(found, RunFile)
    for section in sections(RunFile):
        if section.__name__ in found["$defs"]:
            describe(found["$defs"][section.__name__], section)
    return head | found | {"title": "Run file"}


def describe(schema: dict[str, Any], section: type[Section]) -> None:
    """Put what stands under the keys of a section into its JSON schema."""
    for name, text in documentation(section).items():
        schema["properties"][name]["description"] = text


def sections(top: type[Section]) -> Iterator[type[Section]]:
    """Yield every section below `top`, each once."""
    seen: set[type[Section]] = {top}
    waiting = [top]
    while waiting:
        section = waiting.pop()
        new = [below for name in section.model_fields for below in children(section, name) if below not in seen]
        seen.update(new)
        waiting += new
        yield from dict.fromkeys(new)


def pages(path: str = "", here: tuple[type[Section], ...] = (RunFile,)) -> Iterator[Page]:
    """Yield a page for the section at `path` and for every section below it, in the order of the run file.

    The sections in a list of their own kind, as `data.parts` has them, have had their page.
    """
    for section in here:
        yield page(path, section, chosen=len(here) > 1)
        for name in section.model_fields:
            below = children(section, name)
            if below and not set(below) <= set(here):
                yield from pages(f"{path}.{name}" if path else name, below)


def page(path: str, section: type[Section], chosen: bool) -> Page:
    """Return the page of one section."""
    properties = section.model_json_schema()["properties"]
    when = ": ".join(choice(section)) if chosen else ""
    keys = tuple(key(path, when, section, name, properties[name]) for name in section.model_fields)
    return Page(path, when, inspect.cleandoc(section.__doc__ or ""), keys)


def key(path: str, when: str, section: type[Section], name: str, schema: dict[str, Any]) -> Key:
    """Return one key of a section."""
    field = section.model_fields[name]
    default = None if field.is_required() else flow(plain_default(field.get_default(call_default_factory=True)))
    doc = " ".join(documentation(section).get(name, "").split())
    return Key(f"{path}.{name}" if path else name, when, words(schema), default, doc)


def plain_default(value: Any) -> Any:
    """Return a default as plain data; a section shows as an empty one, because its keys are explained on their own."""
    if isinstance(value, Section):
        return {}
    if isinstance(value, tuple):
        return [one.model_dump(mode="json", exclude_none=True) if isinstance(one, Section) else one for one in value]
    return value


def explain(path: str) -> list[Page] | list[Key]:
    """Return what there is to say about a dotted path: pages for a section, keys otherwise. Raises SpecError.

    A path that begins with `spec` is one of a TrmRun.
    """
    here: tuple[type[Section], ...] = (TrmRun if path.partition(".")[0] == "spec" else RunFile,)
    keys: list[Key] = []
    walked = ""
    for part in path.split(".") if path else []:
        chosen = tuple(section for section in here if len(here) > 1 and choice(section)[1] == part)
        if chosen:
            here = chosen
            continue
        owners = [section for section in here if part in section.model_fields]
        if not owners:
            raise unknown(walked, part, here)
        candidates = [one for owner in owners for one in page(walked, owner, len(here) > 1).keys]
        keys = merged([one for one in candidates if one.path.rpartition(".")[2] == part])
        here = children(owners[0], part)
        walked = f"{walked}.{part}" if walked else part
    return [page(walked, section, len(here) > 1) for section in here] or keys


def merged(keys: list[Key]) -> list[Key]:
    """Return the keys of several choices with those that mean the same made into one."""
    groups: dict[tuple[str | None, str], list[Key]] = {}
    for one in keys:
        groups.setdefault((one.default, one.doc), []).append(one)
    return [
        Key(
            group[0].path,
            group[0].when if len(group) == 1 else "",
            ", or ".join(dict.fromkeys(one.type for one in group)),
            group[0].default,
            group[0].doc,
        )
        for group in groups.values()
    ]


def unknown(walked: str, part: str, here: tuple[type[Section], ...]) -> SpecError:
    """Return the error for a path that leads nowhere."""
    names = [name for section in here for name in section.model_fields]
    names += [choice(section)[1] for section in here if len(here) > 1]
    where = f"{walked!r} has no key {part!r}" if walked else f"there is no section or key {part!r}"
    place = f" {walked}" if here and walked else ""
    return SpecError(f"{where}{did_you_mean(part, names)}", next=f"`trmctl explain{place}` lists what there is")


def words(schema: dict[str, Any]) -> str:
    """Say in words what values a JSON schema allows."""
    if "const" in schema:
        return flow(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(flow(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(words(part) for part in schema["anyOf"]))
    if "oneOf" in schema:
        return f"section, chosen by `{schema['discriminator']['propertyName']}`"
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return ("whole number" if kind == "integer" else "number") + bounds(schema)
    if kind == "array":
        return list_words(schema)
    if kind == "object":
        return "map of text to text"
    return {"boolean": "true or false", "string": "text", "null": "null", None: "section"}[kind]


def bounds(schema: dict[str, Any]) -> str:
    """Say the limits of a number."""
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if low is not None and below is not None:
        return f" from {low:g} to below {below:g}"
    if above is not None:
        return f" above {above:g}" + (f" and up to {high:g}" if high is not None else "")
    return f", {low:g} or more" if low is not None else ""


def list_words(schema: dict[str, Any]) -> str:
    """Say what a list holds."""
    low, high = schema.get("minItems"), schema.get("maxItems")
    count = f" of {low}" if low is not None and low == high else ""
    least = f", at least {low}" if low and low != high else ""
    return f"list{count}: {words(schema['items'])}{least}" if count else f"list of {words(schema['items'])}{least}"
