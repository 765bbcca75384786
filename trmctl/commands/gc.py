"""`trmctl gc`."""

import re
import time

import click

from trmctl.options import output_option
from trmctl.output import data, table, talk
from trmctl.stores import ask, opened, storage, store_options

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.command("gc")
@store_options
@click.option(
    "--older-than", default="1d", show_default=True, metavar="AGE", help="Leave what changed since: 90m, 2h, 3d."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@output_option("table", "json", "yaml")
def command(
    store: str | None, config: str | None, overrides: tuple[str, ...], older_than: str, dry_run: bool, output: str
) -> None:
    """Remove from a store what never finished.

    Whole checkpoints are never touched. Removed are uploads in parts that were never completed, checkpoints and data
    sets without a manifest, and outdated lines of the index. A publication that is running looks the same, so give it
    time: --older-than.

    \b
    Example:
      trmctl gc --dry-run --store s3://my-bucket/trm
    """
    from trmctl.times import age
    from trmkit.store.garbage import find, remove
    from trmkit.words import size

    place = opened(storage(store, config, overrides))
    found = ask(lambda: find(place, "", seconds(older_than)))
    if not dry_run:
        ask(lambda: remove(place, found))
    rows = [{"kind": one.kind, "key": one.key, "bytes": one.bytes, "changed": one.changed} for one in found]
    if output != "table":
        data({"removed": not dry_run, "garbage": rows}, output)
        return
    if found:
        now = time.time()
        table(["WHAT", "KEY", "SIZE", "AGE"], [[g.kind, g.key, size(g.bytes), age(now - g.changed)] for g in found])
    talk(f"{len(found)} {'to remove' if dry_run else 'removed'}, {size(sum(g.bytes for g in found))}")


def seconds(text: str) -> float:
    """Return a time such as `90m` in seconds. Raises click.UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not match:
        raise click.UsageError(f"--older-than: {text!r} is not a time such as 90m, 2h or 3d")
    return float(match[1]) * UNITS[match[2] or "s"]
