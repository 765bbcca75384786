"""`trmctl list`."""

import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trmctl.options import Place, cluster_options, output_option
from trmctl.stores import storage, store_options

if TYPE_CHECKING:
    from trmctl.screens.listing import Row, Samples
    from trmkit.spec.storage import StorageSection

REFRESH = 5.0
"""Seconds between two looks with --watch."""


@click.command("list")
@click.argument("pattern", default="*")
@store_options
@cluster_options
@click.option("-A", "--all-namespaces", is_flag=True, help="Runs in every namespace of the cluster.")
@click.option("--store-only", is_flag=True, help="Do not ask a cluster.")
@click.option("--local", is_flag=True, help="The runs on this machine.")
@click.option("-w", "--watch", is_flag=True, help="Show the list again every few seconds.")
@output_option("table", "wide", "json", "yaml", "name")
def command(
    pattern: str,
    store: str | None,
    config: str | None,
    overrides: tuple[str, ...],
    where: Place,
    all_namespaces: bool,
    store_only: bool,
    local: bool,
    watch: bool,
    output: str,
) -> None:
    """List the runs in a cluster and in a store.

    Both are joined: phase, GPUs and age from the cluster, updates and best score from the store, and from both how
    long a run will still take. PATTERN is a name such as 'arc-*'. Where neither is configured, the runs on this
    machine are listed.

    \b
    Example:
      trmctl list 'sudoku*' --watch
      trmctl list --store s3://models/runs --store-only
    """
    options = storage(store or (None if config else where.profile.store), config, overrides)

    def gather(before: "Samples") -> tuple[list["Row"], bool]:
        found, cluster = ([], False) if store_only or local else in_cluster(where, options, all_namespaces, before)
        if not cluster:
            found = outside(options, local)
        return [row for row in found if fits(row, pattern)], cluster

    if watch:
        keep_showing(gather, where.wait)
        return
    show(*gather({}), output)


def fits(row: "Row", pattern: str) -> bool:
    """Say whether a row is asked for."""
    return any(fnmatchcase(row.get(name) or "", pattern) for name in ("name", "run", "job"))


def in_cluster(
    where: Place, options: "StorageSection", everywhere: bool, before: "Samples"
) -> tuple[list["Row"], bool]:
    """Return the runs in the cluster, joined with those in the store; False: there is no cluster to ask."""
    from trmctl.output import talk
    from trmctl.progress import storage as store_of
    from trmctl.screens.listing import cluster_rows, jobs_of, join, publisher, stored_rows
    from trmkit.errors import ClusterError, ClusterNotConfiguredError, StoreError

    try:
        cluster = where.open()
        jobs = jobs_of(cluster, everywhere)
    except ClusterNotConfiguredError:
        if where.context is not None:
            raise
        return [], False
    except ClusterError as error:
        if options.remote is None:
            raise
        talk(f"without the cluster: {error.message}")
        return [], False
    if options.remote is None and (job := publisher(jobs)) is not None:
        options = store_of(cluster, job) or options
    stored: list[Any] = []
    if options.remote is not None:
        try:
            stored = stored_rows(options)
        except StoreError as error:
            talk(f"without the store: {error.message}")
    return join(cluster_rows(jobs), stored, before), True


def outside(options: "StorageSection", local: bool) -> list["Row"]:
    """Return the runs in the store, or where there is none, on this machine."""
    from trmctl.screens.listing import stored_rows

    return local_runs(Path(options.path)) if local or options.remote is None else stored_rows(options)


def local_runs(folder: Path) -> list["Row"]:
    """Return the runs on this machine."""
    from trmctl.runs import every, label, last_change, progress

    found = sorted(every(folder), key=last_change, reverse=True)
    return [
        {"run": label(run), "name": run.root.parent.name, **progress(run), "updated": last_change(run)} for run in found
    ]


def show(rows: list["Row"], cluster: bool, output: str) -> None:
    """Print the list once."""
    from trmctl.output import data, table
    from trmctl.screens.listing import lines

    if output in ("json", "yaml"):
        data({"runs": rows}, output)
    elif output == "name":
        for row in rows:
            click.echo(row["run"])
    elif rows:
        table(*lines(rows, time.time(), wide=output == "wide", cluster=cluster))
    else:
        click.echo("no runs", err=True)


def keep_showing(gather: Callable[["Samples"], tuple[list["Row"], bool]], wait: Callable[[float], None]) -> None:
    """Show the list until Ctrl-C; what was seen before tells how fast runs are."""
    from rich.live import Live

    from trmctl.output import console, plain, tabled
    from trmctl.screens.listing import lines, samples
    from trmkit.errors import ClusterUnreachableError, StoreUnavailableError

    before: Samples = {}
    with Live(console=console(), auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            try:
                rows, cluster = gather(before)
            except (ClusterUnreachableError, StoreUnavailableError) as error:
                live.console.print(f"still trying: {plain(error.message)}", markup=False, highlight=False)
            else:
                before = samples(rows, before)
                live.update(tabled(*lines(rows, time.time(), wide=False, cluster=cluster)), refresh=True)
            wait(REFRESH)
