"""`trmctl sweep`."""

import sys

import click

from trmctl.options import Place, cluster_options, run_file_options, workflow_options
from trmctl.output import table, talk


@click.command("sweep")
@run_file_options
@click.option("--grid", metavar="KEY=A,B,…", multiple=True, required=True, help="Values of a key. May be given again.")
@click.option("--here", is_flag=True, help="One after the other on this machine, and a page that compares them.")
@workflow_options
@cluster_options
def command(
    config: str, overrides: tuple[str, ...], grid: tuple[str, ...], parallel: int, here: bool, yes: bool,
    dry_run: str | None, if_exists: str, follow: bool, timeout: float | None, where: Place,
) -> int:  # fmt: skip
    """Train a run file at every point of a grid, and compare.

    In a cluster that is an Argo workflow with a job for each point; --here does the same without a cluster.

    \b
    Example:
      trmctl sweep -c run.yaml --grid train.lr=1e-4,3e-4 --grid seed=0,1,2
      trmctl sweep -c run.yaml --grid model.H_cycles=1,2,3 --here
    """
    from trmctl.grid import checked, points
    from trmkit.spec.load import load
    from trmkit.store.layout import run_id

    wanted = points(grid)
    runs = checked(config, overrides, wanted)
    labels = [f"{run.name}/{run_id(run)}" for run in runs]
    table(("RUN", "SETTINGS"), [(label, " ".join(point)) for label, point in zip(labels, wanted, strict=True)])
    if here and dry_run:
        return 0
    if here:
        return run_here(config, [[*overrides, *point] for point in wanted], labels, runs[0].storage.path)
    from trmctl.commands.submit import How, hand_over, opened
    from trmctl.submission import sweep_submission

    cluster, run = opened(load(config, overrides), where)
    how = How(yes, dry_run, if_exists, follow, follow, timeout, pause=where.wait)
    return hand_over(cluster, sweep_submission(cluster, run, wanted, parallel), how)


def run_here(config: str, settings: list[list[str]], labels: list[str], folder: str) -> int:
    """Run every point on this machine, then write the page; return the exit code of the first that failed."""
    from trmctl.stages import run_one

    for number, (overrides, label) in enumerate(zip(settings, labels, strict=True), 1):
        talk(f"run {number} of {len(labels)}: {label}")
        changes = [word for override in overrides for word in ("--set", override)]
        code = run_one([sys.executable, "-m", "trmctl", "run", "-c", config, *changes])
        if code:
            return code
    if len(labels) < 2:
        return 0
    page = ["--runs", folder, "--page", "compare.html"]
    return run_one([sys.executable, "-m", "trmctl", "compare", *labels, *page])
