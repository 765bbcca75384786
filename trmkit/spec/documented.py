"""What stands under the keys of a section. Read from the source when somebody asks, not at every start."""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from functools import cache
from itertools import pairwise

from trmkit.spec.base import Section


@cache
def documentation(section: type[Section]) -> Mapping[str, str]:
    """Return the docstring under each key of a section, those of its base classes included."""
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if isinstance(base, type) and issubclass(base, Section) and base is not Section:
            found |= own(base)
    return found


def own(section: type[Section]) -> dict[str, str]:
    """Return the docstrings under the keys that a class itself declares; none where its source is not at hand."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(section)))
    except (OSError, TypeError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for declared, below in pairwise(body):
        if isinstance(declared, ast.AnnAssign) and isinstance(declared.target, ast.Name):
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
            if isinstance(text, str):
                found[declared.target.id] = inspect.cleandoc(text)
    return found
