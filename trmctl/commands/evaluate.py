"""`trmctl evaluate`."""

from pathlib import Path

import click

from trmctl.options import publish_option, runs_option
from trmctl.stages import Trainer, require_trainer, run_one


@click.command("evaluate")
@click.argument("run")
@runs_option
@publish_option
@click.option(
    "--checkpoint",
    type=click.Choice(("last", "best")),
    default="last",
    show_default=True,
    help="Which checkpoint to score.",
)
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="N", help="Score so many rows or items; of ARC, whole tasks."
)
@click.option("--tasks", metavar="A,B,C", help="Score these tasks: of ARC, or of a language model.")
@click.option("--suite", metavar="A,B,C", help="Language models: algorithmic, longctx, ppl, depth, self_test or all.")
@click.option(
    "--with",
    "others",
    metavar="RUN",
    multiple=True,
    help="ARC: let this run vote together with that one. May be given again.",
)
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a key, as in --set evaluate.rollouts=8. May be given again.",
)
def command(
    run: str,
    runs: str,
    publish: bool,
    checkpoint: str,
    sample: int | None,
    tasks: str | None,
    suite: str | None,
    others: tuple[str, ...],
    overrides: tuple[str, ...],
) -> int:
    """Score a checkpoint of a run again, in whole or in part.

    RUN is a run directory, a name (its newest run), an id, or NAME/ID. What is scored in whole goes to eval.json of the
    run, a part to eval-partial.json, and what several runs found together, of whatever family, to ensemble.json.

    \b
    Example:
      trmctl evaluate sudoku-4x4 --checkpoint best --sample 100
      trmctl evaluate ladder-nano/1f2e3d4c --suite algorithmic,longctx
      trmctl evaluate arc1 --with arc1/1f2e3d4c
    """
    from trmctl.runs import find

    directory = find(run, Path(runs))
    require_trainer()
    extra = ["--checkpoint", checkpoint, *(["--sample", str(sample)] if sample else [])]
    extra += ["--tasks", tasks] if tasks is not None else []
    extra += ["--suite", suite] if suite is not None else []
    extra += [word for other in others for word in ("--with", str(find(other, Path(runs)).root))]
    extra += [] if publish else ["--here"]
    extra += [word for override in overrides for word in ("--set", override)]
    return run_one(Trainer().command("evaluate", str(directory.run_file), *extra))
