"""`trmctl compare`."""

from pathlib import Path

import click

from trmctl.options import output_option, runs_option
from trmctl.stages import Trainer, require_trainer, run_one


@click.command("compare")
@click.argument("first")
@click.argument("others", nargs=-1, required=True)
@runs_option
@output_option("table", "json")
@click.option("--page", metavar="FILE", help="Also write a page with the curves over each other.")
def command(first: str, others: tuple[str, ...], runs: str, output: str, page: str | None) -> int:
    """Put runs side by side.

    Each RUN is a run directory, a name (its newest run), an id, or NAME/ID.

    \b
    Example:
      trmctl compare runs/a/1f2e3d4c runs/b/5a6b7c8d --page compare.html
    """
    from trmctl.runs import find

    directories = [str(find(run, Path(runs)).root) for run in (first, *others)]
    require_trainer()
    extra = ["--page", page] if page else []
    return run_one(Trainer().command("compare", *directories, "-o", output, *extra))
