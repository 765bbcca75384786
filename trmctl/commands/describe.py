"""`trmctl describe`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from trmctl.options import output_option, run_file_options
from trmctl.stages import Trainer, require_trainer, run_one
from trmkit.store.local import write_whole


@click.command("describe")
@run_file_options
@output_option("table", "json")
@click.option("--gpu", metavar="NAME", help="Estimate the time on this GPU.")
@click.option("--rate", metavar="ROWS", help="Estimate the time from this many rows per second.")
def command(config: str, overrides: tuple[str, ...], output: str, gpu: str | None, rate: str | None) -> int:
    """Show the model of a run file: parts, sizes, what a step costs.

    \b
    Example:
      trmctl describe -c run.yaml --gpu H100
    """
    return describe(
        config, overrides, "-o", output, *(["--gpu", gpu] if gpu else []), *(["--rate", rate] if rate else [])
    )


def describe(config: str, overrides: Sequence[str], *options: str) -> int:
    """Have the trainer describe a run file; return its exit code."""
    from trmkit.spec.load import dump, load

    run = load(config, overrides)
    require_trainer()
    with tempfile.TemporaryDirectory(prefix="trmctl-") as folder:
        resolved = Path(folder) / "describe.yaml"
        write_whole(resolved, dump(run))
        return run_one(Trainer().command("describe", str(resolved), *options))
