"""The options that several commands share."""

from collections.abc import Callable
from typing import TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])


def run_file_options(function: F) -> F:
    """Add `-c/--config` and `--set`: arguments `config` and `overrides`."""
    config = click.option("-c", "--config", metavar="FILE", default="run.yaml", show_default=True, help="The run file.")
    override = click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Change a key, as in --set train.lr=3e-4. May be given again.",
    )
    return config(override(function))


def output_option(*formats: str) -> Callable[[F], F]:
    """Add `-o/--output`: argument `output`; the first format is the default."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="How to print."
    )


runs_option = click.option(
    "--runs", metavar="FOLDER", default="runs", show_default=True, help="Where runs live (`storage.path`)."
)
"""Adds `--runs`: argument `runs`."""

publish_option = click.option(
    "--publish", is_flag=True, help="Ask the run's store for what is newer there, and publish what comes of it."
)
"""Adds `--publish`: argument `publish`."""
