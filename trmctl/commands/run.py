"""`trmctl run`."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from trmctl.options import run_file_options
from trmctl.output import talk
from trmctl.stages import Trainer, require_trainer, run_stages

if TYPE_CHECKING:
    from trmkit.spec.run import RunFile


@click.command("run")
@run_file_options
@click.option("--resume", is_flag=True, help="Go on in the newest run of this name although the run file changed.")
@click.option("--nproc", type=click.IntRange(1), default=1, show_default=True, help="Processes that train together.")
def command(config: str, overrides: tuple[str, ...], resume: bool, nproc: int) -> int:
    """Build, train, evaluate and report here; go on where it stopped.

    The run lives in STORAGE.PATH/NAME/RUN-ID, where the id names the content of model, data, train and seed: the same
    run file always goes on in the same place. Ctrl-C saves and stops; the same command goes on.

    --resume allows changes to train (but not its optimizer and batch_size), evaluate, storage and cluster.

    \b
    Example:
      trmctl run -c run.yaml --set train.lr=3e-4
      trmctl run -c run.yaml --nproc 4
    """
    require_trainer()
    return run(config, overrides, resume, nproc, Trainer())


def run(config: str, overrides: Sequence[str], resume: bool, processes: int, trainer: Trainer) -> int:
    """Do the work of `trmctl run` with this trainer; return the exit code."""
    from trmctl.prepare import finished, prepare
    from trmkit.errors import SpecError
    from trmkit.spec.load import load
    from trmkit.stages import stages_of

    spec = load(config, overrides)
    if spec.train.batch_size % (processes * spec.train.accumulate):
        raise SpecError(
            f"train.batch_size: {spec.train.batch_size} rows cannot be divided over {processes} processes"
            f" in {spec.train.accumulate} parts",
            next="choose --nproc, or a batch size, so that they can",
        )
    directory = prepare(spec, resume)
    if not finished(directory, spec):
        talk(f"run {directory.root}")
        command = again(config, overrides, resume, processes)
        followed = following(spec, processes) if spec.evaluate.mode == "job" else None
        code = run_stages(directory.run_file, stages_of(spec), trainer, processes, command, followed=followed)
        if code:
            return code
    click.echo(f"done, see {directory.report}")
    return 0


def following(spec: "RunFile", processes: int) -> list[str]:
    """Return the options of who follows a training of so many processes: as many rows at once as one of them has."""
    share = max(1, spec.train.batch_size // (processes * spec.train.accumulate))
    return [] if spec.evaluate.batch_size else ["--set", f"evaluate.batch_size={share}"]


def again(config: str, overrides: Sequence[str], resume: bool, processes: int) -> str:
    """Return the command line that goes on with a run."""
    words = ["trmctl", "run", "-c", config]
    words += [word for override in overrides for word in ("--set", override)]
    words += ["--resume"] if resume else []
    words += ["--nproc", str(processes)] if processes > 1 else []
    return shlex.join(words)
