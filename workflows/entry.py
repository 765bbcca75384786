"""Turns what ends a step into words on stderr and an exit code."""

import sys
from collections.abc import Callable

from trmkit.errors import TrmError


def exit_code(call: Callable[[], int]) -> int:
    """Run `call`; return its exit code, or that of the error it raised."""
    try:
        return call()
    except TrmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
