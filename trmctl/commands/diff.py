"""`trmctl diff`."""

from pathlib import Path

import click

from trmctl.options import output_option, runs_option
from trmctl.output import data, table
from trmctl.stores import ask, storage, store_options
from trmkit.spec.run import RunFile


@click.command("diff")
@click.argument("first")
@click.argument("second")
@store_options
@runs_option
@output_option("table", "json", "yaml")
def command(
    first: str, second: str, store: str | None, config: str | None, overrides: tuple[str, ...], runs: str, output: str
) -> None:
    """Show the keys in which two runs differ.

    FIRST and SECOND are run files, runs on this machine, or runs in a store, which is asked for what is not here.
    """
    from trmctl.prepare import differences

    files = [resolved(text, Path(runs), store, config, overrides) for text in (first, second)]
    found = differences(*files)
    if output != "table":
        data({"differences": [{"key": key, "first": a, "second": b} for key, (a, b) in found.items()]}, output)
    elif found:
        table(["KEY", first, second], [[key, str(a), str(b)] for key, (a, b) in found.items()])
    else:
        click.echo("the run files say the same", err=True)


def resolved(text: str, runs: Path, store: str | None, config: str | None, overrides: tuple[str, ...]) -> RunFile:
    """Return the run file of a run, wherever that is. Raises StoreError: there is none."""
    from trmctl import runs as local
    from trmctl import stores
    from trmkit.errors import StoreError
    from trmkit.spec.load import load, loads

    if Path(text).is_file():
        return load(text)
    options = storage(store, config, overrides)
    try:
        return load(local.find(text, runs).run_file)
    except StoreError:
        if options.remote is None and not text.startswith("s3://"):
            raise
    found = stores.find(options, text)
    content = ask(lambda: found.store.read(f"{found.run.key}/run.yaml"))
    return loads(content.decode("utf-8", "replace"), f"{found.store.url}/{found.run.key}/run.yaml")
