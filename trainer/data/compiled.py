"""One door to numba: `compiled` keeps the type of what it compiles and keeps the machine code between runs."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile `function` at its first call, to machine code that numba keeps on the disk where it may write.

    It runs without the interpreter's lock, so that threads that call it work at the same time.

    numba notices a change of the file a function stands in, not of functions it calls in other files: a compiled
    function here only calls compiled functions of its own file.
    """
    try:
        return cast(Function, njit(cache=True, nogil=True)(function))
    except RuntimeError:  # no folder to keep it in, for example a pod with a read-only root
        return cast(Function, njit(nogil=True)(function))
