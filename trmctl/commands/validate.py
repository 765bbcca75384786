"""`trmctl validate`."""

import click

from trmctl import output as out
from trmctl.options import output_option, run_file_options


@click.command("validate")
@run_file_options
@output_option("table", "yaml", "json", "name")
def command(config: str, overrides: tuple[str, ...], output: str) -> None:
    """Check a run file; say everything that is wrong with it at once.

    -o yaml prints the resolved run file: every key with its value. -o name prints NAME/RUN-ID.
    """
    from trmkit.spec.load import dump, load
    from trmkit.store.layout import run_id

    run = load(config, overrides)
    if output == "yaml":
        click.echo(dump(run), nl=False)
    elif output == "json":
        out.data(run.model_dump(mode="json"), "json")
    elif output == "name":
        click.echo(f"{run.name}/{run_id(run)}")
    else:
        click.echo(f"ok: {run.name} ({run_id(run)})")
