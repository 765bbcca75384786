"""Words of a command line that stand for several things, or for a number."""

import argparse

from trmkit.spec.evaluate import SUITES
from trmkit.stages import NAMES


def count(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def words(text: str) -> tuple[str, ...]:
    """Return the words between commas, at least one."""
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise argparse.ArgumentTypeError("names no task")
    return found


def suites(text: str) -> tuple[str, ...]:
    """Return names of suites."""
    return _known(text, "suite", (*SUITES, "all"))


def stages(text: str) -> tuple[str, ...]:
    """Return names of stages."""
    return _known(text, "stage", NAMES)


def _known(text: str, what: str, known: tuple[str, ...]) -> tuple[str, ...]:
    found = words(text)
    for word in found:
        if word not in known:
            raise argparse.ArgumentTypeError(f"there is no {what} {word!r}; there are {', '.join(known)}")
    return found
