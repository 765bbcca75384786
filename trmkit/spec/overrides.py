"""`--set a.b=c`: changes to a run file before it is checked."""

import re
from collections.abc import Sequence

from trmkit.errors import SpecError
from trmkit.spec.yaml_read import Node, parse, shorten

KEY = re.compile(r"[A-Za-z_][-A-Za-z0-9_]*")
USAGE = "write --set SECTION.KEY=VALUE, for example --set train.lr=3e-4"


def apply(root: Node, overrides: Sequence[str]) -> None:
    """Put every override into the tree, in order; later ones win. Raises one SpecError for all that are malformed."""
    wrong = []
    for override in overrides:
        try:
            put(root, override)
        except SpecError as error:
            wrong.append(error)
    if wrong:
        raise SpecError("\n".join(error.message for error in wrong), next=wrong[0].next or USAGE)


def put(root: Node, override: str) -> None:
    """Put one override into the tree."""
    path, equals, text = override.partition("=")
    place = f"--set {shorten(override)}"
    keys = path.strip().split(".")
    if not equals:
        raise SpecError(f"{place!r}: there is no '=' in it")
    if not all(KEY.fullmatch(key) for key in keys):
        raise SpecError(f"{place!r}: {shorten(path)!r} is not a path of keys")
    parent = root
    for depth, key in enumerate(keys[:-1]):
        parent = step(parent, key, ".".join(keys[: depth + 1]), place)
    entries(parent, ".".join(keys[:-1]), place)[keys[-1]] = parse(text, place, lines=False)


def step(parent: Node, key: str, path: str, place: str) -> Node:
    """Go one key down; a missing or empty section is made."""
    section = entries(parent, path.rpartition(".")[0], place)
    if key not in section or section[key].value is None:
        section[key] = Node({}, place)
    return section[key]


def entries(node: Node, path: str, place: str) -> dict[str, Node]:
    """Return the entries of a section."""
    if isinstance(node.value, dict):
        return node.value
    kind = "a list; set the whole list, as in --set KEY=[1, 2]" if isinstance(node.value, list) else "a single value"
    raise SpecError(f"{place!r}: {path or 'the run file'} is {kind}")
