"""`trmctl report`."""

from pathlib import Path

import click

from trmctl.options import publish_option, runs_option
from trmctl.stages import Trainer, require_trainer, run_one


@click.command("report")
@click.argument("run")
@runs_option
@publish_option
def command(run: str, runs: str, publish: bool) -> int:
    """Make the report page of a run again.

    RUN is a run directory, a name (its newest run), an id, or NAME/ID.

    \b
    Example:
      trmctl report sudoku-4x4
    """
    from trmctl.runs import find

    directory = find(run, Path(runs))
    require_trainer()
    return run_one(Trainer().command("report", str(directory.run_file), *([] if publish else ["--here"])))
