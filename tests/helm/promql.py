"""Just enough of PromQL to check queries: which metrics are asked for, with which labels, inside which function."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
NAME = re.compile(r"(?<![\w:.$])[A-Za-z_:][\w:]*(?![\w:])")
RANGE = re.compile(r"\[[^\]]*\]")
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "Inf"}


@dataclass(frozen=True)
class Use:
    """A metric in an expression."""

    name: str
    matched: frozenset[str]
    """Labels in its braces."""
    inside: str
    """The function whose argument it is, or empty."""


def uses(expr: str) -> Iterator[Use]:
    """Yield every metric of an expression."""
    plain = TEXT.sub(lambda found: '"' + " " * (len(found[0]) - 2) + '"', expr)
    plain = LABELS.sub(lambda found: " " * len(found[0]), plain)
    plain = RANGE.sub(lambda found: "[" + " " * (len(found[0]) - 2) + "]", plain)
    plain = re.sub(r"\boffset\s+[$\w]+", lambda found: " " * len(found[0]), plain)
    braces = [(found.start(), found.end()) for found in re.finditer(r"\{[^}]*\}", plain)]
    for found in NAME.finditer(plain):
        if found[0] in WORDS or any(begin < found.start() < end for begin, end in braces):
            continue
        after = plain[found.end() :].lstrip()
        if after.startswith("("):  # a function
            continue
        own = re.match(r"\{([^}]*)\}", after)
        matched = frozenset(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", own[1])) if own else frozenset()
        before = re.search(r"(\w+)\s*\(\s*$", plain[: found.start()])
        yield Use(found[0], matched, before[1] if before else "")


def grouped(expr: str) -> set[str]:
    """Return the labels that an expression groups and joins by."""
    return {name.strip() for found in LABELS.finditer(TEXT.sub('""', expr)) for name in found[1].split(",")} - {""}
