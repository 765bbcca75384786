"""A strict YAML reader: 1.2 core scalars, no aliases, tags or duplicate keys, capped, and every value knows its line.

PyYAML only splits the text into events. What a plain scalar means is decided here, and nothing here recurses.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from trmkit.errors import SpecError

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 10_000
MAX_SHOWN = 50
NEXT = "a run file is plain YAML: no aliases, anchors or tags, every key text and there once"

INTEGER = re.compile(r"[-+]?[0-9]+")
OCTAL = re.compile(r"0o[0-7]+")
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

Scalar = str | int | float | bool | None


@dataclass(slots=True)
class Node:
    """A value and the place where it is written, such as `run.yaml:12` (of an entry: the place of its key)."""

    value: "Scalar | list[Node] | dict[str, Node]"
    place: str


@dataclass(slots=True)
class Open:
    """A list or mapping whose end has not come yet."""

    node: Node
    key: str | None = None
    key_place: str = ""
    first: dict[str, str] = field(default_factory=dict)


def parse(text: str, name: str, *, lines: bool = True) -> Node:
    """Read one YAML document. Places are `name:line`, or just `name` without `lines`. Raises SpecError."""
    found = CONTROL.search(text.replace("\r\n", "\n"))
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise SpecError(f"{name}:{line}: the control character {found.group()!r} is not allowed")
    if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
        raise SpecError(f"{name}: larger than 1 MiB, which no run file needs to be")
    composer = Composer(name, lines)
    try:
        root = composer.compose(text)
    except yaml.YAMLError as error:
        raise SpecError(syntax_message(error, name, lines), next="correct the YAML at this line") from None
    if composer.wrong:
        raise SpecError("\n".join(composer.wrong[:MAX_SHOWN]), next=NEXT)
    return root


class Composer:
    """Builds nodes from YAML events."""

    def __init__(self, name: str, lines: bool) -> None:
        self.name = name
        self.lines = lines
        self.stack: list[Open] = []
        self.root: Node | None = None
        self.count = 0
        self.documents = 0
        self.wrong: list[str] = []

    def compose(self, text: str) -> Node:
        """Return the root of the only document of `text`."""
        for event in events(text):
            self.take(event)
        if self.root is None:
            return Node(None, self.place(1))
        return self.root

    def place(self, line: int) -> str:
        """Return how an error names this line."""
        return f"{self.name}:{line}" if self.lines else self.name

    def take(self, event: Any) -> None:
        """Take one event."""
        place = self.place(event.start_mark.line + 1)
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise SpecError(f"{place}: a second document starts here; a run file holds one")
        elif isinstance(event, yaml.CollectionEndEvent):
            self.stack.pop()
        elif isinstance(event, yaml.NodeEvent):
            self.refuse_extras(event, place)
            if isinstance(event, yaml.ScalarEvent):
                self.add_scalar(event, place)
            elif isinstance(event, yaml.AliasEvent):
                self.attach(Node(None, place))
            else:
                self.open(Node({} if isinstance(event, yaml.MappingStartEvent) else [], place))

    def refuse_extras(self, event: Any, place: str) -> None:
        """Refuse what plain data does not need, and more of it than a run file can hold."""
        self.count += 1
        if self.count > MAX_NODES:
            raise SpecError(f"{place}: more than {MAX_NODES:,} values, which no run file needs")
        if isinstance(event, yaml.AliasEvent):
            self.wrong.append(
                f"{place}: the alias *{shorten(str(event.anchor))} is not allowed; write the value out again"
            )
            return
        if event.anchor is not None:
            self.wrong.append(f"{place}: the anchor &{shorten(event.anchor)} is not allowed")
        if event.tag is not None:
            self.wrong.append(f"{place}: the tag {shorten(event.tag)} is not allowed")

    def open(self, node: Node) -> None:
        """Start a list or a mapping."""
        if len(self.stack) == MAX_DEPTH:
            raise SpecError(f"{node.place}: nested more than {MAX_DEPTH} deep")
        self.attach(node)
        self.stack.append(Open(node))

    def add_scalar(self, event: Any, place: str) -> None:
        """Take a scalar: a key, or a value."""
        if control := CONTROL.search(event.value):
            self.wrong.append(f"{place}: the control character {control.group()!r} is not allowed")
        value = event.value
        if event.implicit[0]:
            try:
                value = resolve(event.value)
            except OverflowError as error:
                self.wrong.append(f"{place}: {error}")
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.node.value, dict) and top.key is None:
            self.take_key(top, event.value, isinstance(value, str), place)
        else:
            self.attach(Node(value, place))

    def take_key(self, top: Open, key: str, is_text: bool, place: str) -> None:
        """Remember a key until its value comes."""
        if not is_text:
            self.wrong.append(f"{place}: the key {shorten(key) or 'null'} is not text; put it in quotes")
        elif key in top.first:
            self.wrong.append(f"{place}: the key {shorten(key)} is here a second time; first in {top.first[key]}")
        top.first[key] = place
        top.key, top.key_place = key, place

    def attach(self, node: Node) -> None:
        """Put a node where it belongs: in the open list or mapping, or at the root."""
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        if isinstance(top.node.value, list):
            top.node.value.append(node)
        elif isinstance(top.node.value, dict):
            if top.key is None:
                raise SpecError(f"{node.place}: a list or a mapping cannot be a key")
            node.place = top.key_place
            top.node.value[top.key] = node
            top.key = None


def events(text: str) -> Iterator[Any]:
    """Yield PyYAML's events, from libyaml where PyYAML was built with it."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return iter(yaml.parse(text, Loader=loader))


def resolve(text: str) -> Scalar:
    """Return what a plain scalar means in the core schema of YAML 1.2. Raises OverflowError beyond 64 bits."""
    if text in WORDS:
        return WORDS[text]
    for pattern, base in ((INTEGER, 10), (OCTAL, 8), (HEXADECIMAL, 16)):
        if pattern.fullmatch(text):
            return whole_number(text, base)
    if FLOAT.fullmatch(text):
        return float(text)
    if INFINITY.fullmatch(text):
        return -math.inf if text.startswith("-") else math.inf
    return text


def whole_number(text: str, base: int) -> int:
    """Return the integer; everything that fits in 64 bits is allowed."""
    digits = text[2:] if base != 10 else text
    number = int(digits, base) if len(digits) <= 64 else 1 << 64
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError(f"the number {shorten(text)} does not fit in 64 bits")
    return number


def plain(node: Node) -> Any:
    """Return the bare data of a node: dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def syntax_message(error: yaml.YAMLError, name: str, lines: bool) -> str:
    """Say in one line what the parser stumbled over."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"{name}:{mark.line + 1}" if mark is not None and lines else name
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
    context = getattr(error, "context", None)
    start = getattr(error, "context_mark", None)
    since = f" from line {start.line + 1}" if start is not None and lines else ""
    return f"{place}: not valid YAML: {problem}" + (f" ({context}{since})" if context else "")


def shorten(text: str, width: int = 60) -> str:
    """Return a long text with its middle left out."""
    return text if len(text) <= width else f"{text[: width // 2]}…{text[-width // 4 :]}"
