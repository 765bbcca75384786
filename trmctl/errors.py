"""Turns whatever ends a command into text on stderr and an exit code. The only place that does."""

import os
import sys
from collections.abc import Callable

import click

from trmkit.errors import TrmError


def exit_code(call: Callable[[], object]) -> int:
    """Run `call`; return its exit code (what it returns, when that is a number). `TRM_DEBUG=1` lets errors through."""
    try:
        result = call()
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if os.environ.get("TRM_DEBUG") == "1":
            raise
        click.echo(f"error: {error}\n  next: check the path and its permissions", err=True)
        return 1
    except TrmError as error:
        if os.environ.get("TRM_DEBUG") == "1":
            raise
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    return result if isinstance(result, int) else 0
