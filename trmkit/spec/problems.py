"""What pydantic found wrong, said in the words of the run file: place, key, what was expected, what was found."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from trmkit.spec.base import Section
from trmkit.spec.run import RunFile
from trmkit.spec.tree import children, choice, did_you_mean, key_paths
from trmkit.spec.yaml_read import Node, shorten

EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "model_type": "a section: keys with values",
    "model_attributes_type": "a section: keys with values",
    "dict_type": "a section: keys with values",
    "tuple_type": "a list",
    "literal_error": "{expected}",
    "union_tag_invalid": "{expected_tags}",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
}
BOOLEANS_OF_YAML_1_1 = frozenset(["y", "n", "yes", "no", "on", "off"])


@dataclass(frozen=True)
class Spot:
    """Where one problem is: path, nearest place in the text, node, and the sections that may stand there."""

    path: tuple[str, ...]
    place: str
    node: Node | None
    owner: type[Section] | None
    here: tuple[type[Section], ...]
    top: type[Section]


def problems(error: ValidationError, root: Node, limit: int, top: type[Section] = RunFile) -> tuple[int, list[str]]:
    """Return how many things are wrong with a `top`, and the first `limit` of them in the order of the lines."""
    details = [detail for detail in error.errors(include_url=False) if not follows(detail, error)]
    spots = [locate(detail["loc"], root, top) for detail in details]
    pairs = sorted(zip(spots, details, strict=True), key=lambda pair: line_of(pair[0].place))
    return len(pairs), [describe(spot, detail) for spot, detail in pairs[:limit]]


def follows(detail: Any, error: ValidationError) -> bool:
    """Say whether a list is too short only because pydantic left out entries that are wrong."""
    place = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place
        for other in error.errors(include_url=False)
    )


def line_of(place: str) -> tuple[int, int]:
    """Return what places are sorted by: lines of the file first, then overrides."""
    match = re.search(r":(\d+)$", place)
    return (1, 0) if place.startswith("--set ") or match is None else (0, int(match.group(1)))


def locate(loc: tuple[int | str, ...], root: Node, top: type[Section]) -> Spot:
    """Follow pydantic's path through sections and text; in it, a union's choice looks like a key."""
    owner: type[Section] | None = None
    here: tuple[type[Section], ...] = (top,)
    path: list[str] = []
    node: Node | None = root
    place = root.place
    for part in loc:
        if isinstance(part, str) and len(here) > 1:
            here = tuple(section for section in here if choice(section)[1] == part)
            continue
        if part == "[key]":
            continue
        if isinstance(part, str):
            owner = here[0] if here else None
            here = children(owner, part) if owner else ()
        path.append(str(part))
        node = child(node, part)
        place = node.place if node is not None else place
    return Spot(tuple(path), place, node, owner, here, top)


def child(node: Node | None, part: int | str) -> Node | None:
    """Return the entry `part` of a mapping or list, if there is one."""
    if node is not None and isinstance(node.value, dict) and isinstance(part, str):
        return node.value.get(part)
    if node is not None and isinstance(node.value, list) and isinstance(part, int):
        return node.value[part]
    return None


def describe(spot: Spot, detail: Any) -> str:
    """Say one problem in one line."""
    kind, path, place = detail["type"], spot.path, spot.place
    if kind == "missing":
        text = f"missing{doc(spot)}"
    elif kind == "extra_forbidden":
        text = f"unknown key{suggest_key(spot)}"
    elif kind == "union_tag_not_found":
        tag = choice(spot.here[0])[0]
        given = spot.node.value if spot.node is not None and isinstance(spot.node.value, dict) else {}
        near = next((name for name in given if did_you_mean(name, [tag])), None)
        path = (*path, near or tag)
        text = "missing; expected " + alternatives([choice(section)[1] for section in spot.here])
        if near is not None:
            place, text = place_of(spot, (near,)), f"unknown key; did you mean {tag!r}?"
    elif kind == "union_tag_invalid":
        key = choice(spot.here[0])[0]
        path, place = (*path, key), place_of(spot, (key,))
        text = expected(detail, spot, detail["ctx"]["tag"])
    elif kind == "value_error":
        keys, text = rule(str(detail["ctx"]["error"]))
        path, place = (*path, *keys), place_of(spot, keys)
    else:
        text = expected(detail, spot, detail["input"])
    return f"{place}: {shorten('.'.join(path), 120) or 'the run file'}: {text}"


def expected(detail: Any, spot: Spot, value: object) -> str:
    """Say what was expected and what was found, and suggest what may have been meant."""
    kind, context = detail["type"], detail.get("ctx", {})
    template = EXPECTED.get(kind)
    wanted = template.format(**context) if template else detail["msg"]
    words = re.findall(r"'([^']*)'", wanted) if kind in ("literal_error", "union_tag_invalid") else []
    wanted = f"one of {alternatives(words)}" if len(words) > 1 else wanted
    if kind == "string_pattern_mismatch":
        wanted += doc(spot).replace("; ", " (", 1) + ")" if doc(spot) else ""
    return f"expected {wanted}, found {found(value)}{did_you_mean(value, words)}{hint(kind, value)}"


def hint(kind: str, value: object) -> str:
    """Return what to write instead, where a habit from YAML 1.1 or a missing quote is the likely cause."""
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f'; put it in quotes: "{found(value)}"'
    if kind == "bool_type" and isinstance(value, str) and value.lower() in BOOLEANS_OF_YAML_1_1:
        return "; write true or false"
    if kind.startswith("model") and value is None:
        return "; leave the key out, or write {}"
    return ""


def found(value: object) -> str:
    """Name a value as it would be written, cut when it is long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list | tuple):
        return "a list"
    return shorten(repr(value))


def rule(message: str) -> tuple[tuple[str, ...], str]:
    """Split the message of a rule over several keys, `key: what`, into the path of the key and the rest."""
    match = re.match(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*): (.*)", message, re.DOTALL)
    return (tuple(match.group(1).split(".")), match.group(2)) if match else ((), message)


def place_of(spot: Spot, keys: tuple[str, ...]) -> str:
    """Return the place of the last of `keys` that is written in the text, going down from `spot`."""
    node, place = spot.node, spot.place
    for key in keys:
        node = child(node, key)
        place = node.place if node is not None else place
    return place


def doc(spot: Spot) -> str:
    """Return the first sentence of what the key means, to be put behind a message."""
    from trmkit.spec.documented import documentation

    text = documentation(spot.owner).get(str(spot.path[-1]), "") if spot.owner else ""
    return "; " + re.split(r"(?<=[.?])\s", text)[0].rstrip(".") if text else ""


def suggest_key(spot: Spot) -> str:
    """Return what may have been meant by an unknown key: one like it here, or the same one in another section."""
    key = spot.path[-1]
    near = did_you_mean(key, spot.owner.model_fields if spot.owner else ())
    if near:
        return near
    here = ".".join(map(str, spot.path))
    elsewhere = [path for path in key_paths(spot.top) if path.rpartition(".")[2] == key and path != here]
    return f"; did you mean {elsewhere[0]!r}?" if elsewhere else ""


def alternatives(words: list[str]) -> str:
    """Return `a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
