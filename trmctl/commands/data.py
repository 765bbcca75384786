"""`trmctl data`."""

from collections.abc import Callable
from typing import TypeVar

import click

from trmctl.options import output_option
from trmctl.stages import Trainer, require_trainer, run_one

F = TypeVar("F", bound=Callable[..., object])


@click.group("data")
def command() -> None:
    """List, show and preview built data sets.

    WHERE is the folder of a data set, or the beginning of its name below --root; -c takes the one of a run file.

    \b
    Example:
      trmctl data preview -c run.yaml
    """


def place_options(function: F) -> F:
    """Add `-c/--config`, `--set` and `--root`."""
    config = click.option("-c", "--config", metavar="FILE", help="The data set of this run file.")
    override = click.option(
        "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Change a key of the run file."
    )
    root = click.option("--root", metavar="FOLDER", default="data", show_default=True, help="Where data sets are.")
    return config(override(root(function)))


@command.command("list")
@place_options
@output_option("table", "json")
def list_command(config: str | None, overrides: tuple[str, ...], root: str, output: str) -> int:
    """List the data sets that were built here: folder, source, rows, size, date."""
    return start("list", None, config, overrides, root, "-o", output)


@command.command("show")
@click.argument("where", required=False)
@place_options
@output_option("table", "json")
def show_command(where: str | None, config: str | None, overrides: tuple[str, ...], root: str, output: str) -> int:
    """Show one: its section, splits, counts, what was left out, and some of its identifiers."""
    return start("show", where, config, overrides, root, "-o", output)


@command.command("preview")
@click.argument("where", required=False)
@place_options
@click.option("--out", metavar="FILE", help="The page; NAME.html here if it is not given.")
@click.option("--rows", type=click.IntRange(1, 200), default=8, show_default=True, help="Puzzles of each split.")
def preview_command(
    where: str | None, config: str | None, overrides: tuple[str, ...], root: str, out: str | None, rows: int
) -> int:
    """Write a page with pictures of puzzles and their augmentations; print where it is."""
    extra = ["--out", out] if out else []
    return start("preview", where, config, overrides, root, "--rows", str(rows), *extra)


def start(
    action: str, where: str | None, config: str | None, overrides: tuple[str, ...], root: str, *extra: str
) -> int:
    """Run `python -m trainer data`; a wrong run file is refused before. Raises SpecError."""
    if config is not None:
        from trmkit.spec.load import load

        load(config, overrides)
        extra = (*extra, "-c", config, *(word for one in overrides for word in ("--set", one)))
    require_trainer()
    words = [action, *([where] if where is not None else []), "--root", root, *extra]
    return run_one(Trainer().command("data", *words))
