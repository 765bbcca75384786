"""`trmctl controller`."""

import click

from trmctl.options import Place, cluster_options


@click.command("controller")
@click.option("-A", "--all-namespaces", is_flag=True, help="Keep the runs of every namespace.")
@click.option(
    "--resync", type=click.FloatRange(1.0), default=30.0, show_default=True, metavar="SECONDS",
    help="How often all runs are looked at, whatever was heard of them.",
)  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=9401, show_default=True, help="Of metrics and health.")
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json", show_default=True)
@cluster_options
def command(all_namespaces: bool, resync: float, port: int, log_format: str, where: Place) -> int:
    """Keep the TrmRuns of a namespace; runs in the cluster.

    It makes their jobs, starts them again after a pause, and ends them when it is time. The chart installs it
    (controller.enabled). Several replicas may run: one of them decides, the others wait. On /metrics it says what it
    does, on /healthz whether it is alive.

    \b
    Example:
      trmctl controller -n research
      trmctl controller --all-namespaces --resync 60
    """
    from trmkit.errors import ClusterNotConfiguredError

    try:
        from trmctl.controller.lease import ASKED
        from trmctl.controller.main import run
    except ImportError as missing:
        raise ClusterNotConfiguredError(
            f"the package {missing.name} is not installed", next="pip install 'trmctl[cluster,controller]'"
        ) from missing
    return run(where.open(), where.glance(ASKED), all_namespaces, resync, port, log_format)
