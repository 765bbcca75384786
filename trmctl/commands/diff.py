"""`trmctl diff`."""

from pathlib import Path
from typing import NamedTuple

import click

from trmctl.options import Place, cluster_options, output_option, runs_option
from trmctl.output import data, table
from trmctl.stores import ask, storage, store_options
from trmkit.spec.run import RunFile


class Side(NamedTuple):
    """One of the two that are compared."""

    run: RunFile
    place: str
    """`file`, `machine`, `store` or `cluster`."""


@click.command("diff")
@click.argument("first")
@click.argument("second", required=False)
@store_options
@runs_option
@cluster_options
@output_option("table", "json", "yaml")
def command(
    first: str,
    second: str | None,
    store: str | None,
    config: str | None,
    overrides: tuple[str, ...],
    runs: str,
    output: str,
    where: Place,
) -> None:
    """Show the keys in which two runs differ.

    FIRST and SECOND are run files, runs on this machine, in a store, or in a cluster, asked in this order. A run file
    alone is compared with the run of that name in the cluster. Beside a run in the cluster, a run file is taken as it
    would be submitted: with what the profile and the namespace's defaults say.

    \b
    Example:
      trmctl diff run.yaml
      trmctl diff run.yaml my-run --store s3://bucket/runs
    """
    from trmctl.prepare import differences

    one = resolved(first, Path(runs), store, config, overrides, where)
    if second is None:
        second = one.run.name if one.place == "file" else first
        other = Side(live(second, where, one.run), "cluster")
    else:
        other = resolved(second, Path(runs), store, config, overrides, where)
    found = differences(beside(one, other, where), beside(other, one, where))
    if output != "table":
        data({"differences": [{"key": key, "first": a, "second": b} for key, (a, b) in found.items()]}, output)
    elif found:
        table(["KEY", first, second], [[key, str(a), str(b)] for key, (a, b) in found.items()])
    else:
        click.echo("the run files say the same", err=True)


def resolved(
    text: str, runs: Path, store: str | None, config: str | None, overrides: tuple[str, ...], where: Place
) -> Side:
    """Return the run file of a run, wherever that is. Raises StoreError, ClusterMissingError: there is none."""
    from trmctl import runs as local
    from trmctl import stores
    from trmkit.errors import ClusterNotConfiguredError, StoreError
    from trmkit.spec.load import load, loads

    if Path(text).is_file():
        return Side(load(text), "file")
    options = storage(store, config, overrides)
    try:
        return Side(load(local.find(text, runs).run_file), "machine")
    except StoreError:
        if options.remote is None and not text.startswith("s3://"):
            try:
                return Side(live(text, where), "cluster")
            except ClusterNotConfiguredError:
                pass
            raise
    found = stores.find(options, text)
    content = ask(lambda: found.store.read(f"{found.run.key}/run.yaml"))
    return Side(loads(content.decode("utf-8", "replace"), f"{found.store.url}/{found.run.key}/run.yaml"), "store")


def beside(side: Side, other: Side, where: Place) -> RunFile:
    """Return the run file of a side; that of a file beside a run in the cluster as it would be submitted there."""
    from trmctl.commands.submit import opened

    return opened(side.run, where)[1] if (side.place, other.place) == ("file", "cluster") else side.run


def live(text: str, where: Place, like: RunFile | None = None) -> RunFile:
    """Return the run file of a run in the cluster, first of `like`'s own job. ClusterMissingError: there is none."""
    from trmctl import jobs
    from trmkit.errors import ClusterMissingError
    from trmkit.render.names import job_name
    from trmkit.spec.load import loads

    cluster = where.open(like.cluster.namespace if like else None)
    names = [text] if like is None else [job_name(like), text]
    for number, name in enumerate(names, 1):
        try:
            job = jobs.find(cluster, name)
        except ClusterMissingError:
            if number == len(names):
                raise
            continue
        content = jobs.run_file(cluster, job)
        if content is not None:
            return loads(content, f"{job.kind.kind} {job.name}")
    raise ClusterMissingError(f"{text}: its run file is not in the cluster", next="compare with the store: --store")
