"""What the commands on runs in a cluster share: the argument, its completion, ranks, waiting."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from trmkit.errors import TimedOutError, TrmError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., object])
TICK = 1.0


def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Return the names of runs in the cluster for the shell; nothing when it cannot be asked."""
    from click.shell_completion import CompletionItem

    from trmctl.jobs import jobs
    from trmctl.options import place

    said = context.params
    try:
        known = jobs(place(said.get("context"), said.get("namespace"), said.get("profile")).glance())
    except (TrmError, OSError):
        return []
    found = dict.fromkeys(name for job in known for name in (job.run_name, job.name) if name.startswith(incomplete))
    return [CompletionItem(name) for name in found]


run_argument = click.argument("run", shell_complete=complete)
"""Adds RUN: a job's name, a run's name, its id, or NAME/ID."""


def ranks(text: str) -> list[int] | None:
    """Return `0,3-5` as a list of numbers, `all` as None. click.BadParameter: it is neither."""
    if text == "all":
        return None
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part)
        if not match:
            raise click.BadParameter(f"{text!r} is neither 'all' nor ranks as in 0,3-5")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return sorted(set(found))


def wait_until(
    done: Callable[[], bool],
    what: str,
    timeout: float | None,
    wait: Callable[[float], None],
) -> None:
    """Look every second until `done`. TimedOutError: `what` has not happened in time."""
    waited = 0.0
    while not done():
        if timeout is not None and waited >= timeout:
            raise TimedOutError(f"{what}: not yet after {timeout:.0f} s", next="trmctl status shows how far it is")
        wait(TICK)
        waited += TICK
