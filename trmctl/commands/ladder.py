"""`trmctl ladder`: run, submit, report."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trmctl.options import Place, cluster_options, run_file_options, workflow_options
from trmctl.output import talk

FAILED_EARLY = (2, 130, 143)
"""Exit codes after which no other rung is tried: nothing to run, or somebody wants it to stop."""


@click.group("ladder")
def command() -> None:
    """Train every rung of an ablation ladder, here or in a cluster, and write the answer.

    All rungs read the same rows in the same order, and are asked the same held-out items.

    \b
    Example:
      trmctl ladder run -c configs/ladder-nano.yaml --variants baseline,shared_loop --seeds 3
    """


def rung_options(function: Any) -> Any:
    """Add what says which rungs."""
    options = [
        run_file_options,
        click.option(
            "--variants",
            default="all",
            show_default=True,
            metavar="A,B,…",
            help="all, or some of baseline, shared_loop, latent, act, ssm, ssm_mem, nano_absolute.",
        ),
        click.option(
            "--seeds",
            type=click.IntRange(1),
            default=3,
            show_default=True,
            help="How many: the run file's, and those after it. Fewer than 3 give no verdict.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@command.command("run")
@rung_options
def run(config: str, overrides: tuple[str, ...], variants: str, seeds: int) -> int:
    """Train and score the rungs on this machine, one after the other, then write the report.

    What is done already is not done again, so the same command goes on after an interruption. A rung that fails does
    not keep the others from their turn; the exit code is that of the first that did.

    \b
    Example:
      trmctl ladder run -c configs/ladder-nano.yaml --variants all --seeds 3
    """
    from trmctl.stages import run_one
    from trmkit.ladder import settings

    wanted, failed = chosen(config, overrides, variants, seeds), 0
    for number, rung in enumerate(wanted, 1):
        talk(f"rung {number} of {len(wanted)}: {rung[0]}, seed {rung[1]}")
        code = run_one([sys.executable, "-m", "trmctl", "run", "-c", config, *sets([*overrides, *settings(rung)])])
        if code in FAILED_EARLY:
            return code
        failed = failed or code
    return write_report(config, overrides, variants, seeds, None, "table") or failed


@command.command("submit")
@rung_options
@workflow_options
@cluster_options
def submit(
    config: str, overrides: tuple[str, ...], variants: str, seeds: int, parallel: int, yes: bool, dry_run: str | None,
    if_exists: str, follow: bool, timeout: float | None, where: Place,
) -> int:  # fmt: skip
    """Train the rungs in a cluster, in one Argo workflow with a job for each, and publish the report.

    \b
    Example:
      trmctl ladder submit -c configs/ladder-nano.yaml --seeds 3 --parallel 6
    """
    from trmctl.commands.submit import How, hand_over, opened
    from trmctl.submission import ladder_submission
    from trmkit.spec.load import load

    wanted = chosen(config, overrides, variants, seeds)
    cluster, one = opened(load(config, overrides), where)
    how = How(yes, dry_run, if_exists, follow, follow, timeout, pause=where.wait)
    return hand_over(cluster, ladder_submission(cluster, one, wanted, parallel), how)


@command.command("report")
@rung_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the report; else beside the runs.")
@click.option("--fetch", is_flag=True, help="First take what is missing here from the runs' store.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def report(
    config: str, overrides: tuple[str, ...], variants: str, seeds: int, out: Path | None, fetch: bool, output: str
) -> int:
    """Put the rungs that were trained side by side; what is missing is said.

    \b
    Example:
      trmctl ladder report -c configs/ladder-nano.yaml --seeds 3 --fetch
    """
    wanted = chosen(config, overrides, variants, seeds)
    if fetch:
        from trmkit.ladder import take_results

        for line in take_results(config, overrides, wanted):
            talk(line)
    return write_report(config, overrides, variants, seeds, out, output)


def chosen(config: str, overrides: Sequence[str], variants: str, seeds: int) -> list[tuple[str, int]]:
    """Return the rungs. SpecError: there is no such variant, or one of them makes no valid run file."""
    from trmkit.errors import SpecError
    from trmkit.ladder import VARIANTS, rungs, settings, variants_of
    from trmkit.spec.load import load

    one = load(config, overrides)
    rungs(one, (), seeds)  # says what is wrong with a run file of another family
    names = variants_of(variants, config, overrides)
    left = [name for name in VARIANTS if name not in names]
    if variants.strip() == "all" and left:
        talk(f"left out, for this run file cannot be of them: {', '.join(left)}")
    found = rungs(one, names, seeds)
    for rung in found:
        try:
            load(config, [*overrides, *settings(rung)])
        except SpecError as error:
            raise SpecError(f"the rung {rung[0]} cannot be trained: {error.message}", next=error.next) from error
    return found


def sets(overrides: Sequence[str]) -> list[str]:
    """Return overrides as a command line has them."""
    return [word for override in overrides for word in ("--set", override)]


def write_report(
    config: str, overrides: Sequence[str], variants: str, seeds: int, out: Path | None, output: str
) -> int:
    """Have the trainer write the report; return its exit code."""
    from trmctl.stages import Trainer, require_trainer, run_one

    require_trainer()
    extra = ["--variants", variants, "--seeds", str(seeds), "-o", output, *(["--out", str(out)] if out else [])]
    return run_one(Trainer().command("ladder", config, *sets(overrides), *extra))
